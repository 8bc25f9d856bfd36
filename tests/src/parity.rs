//! Agreement with memray 1.20 on real programs, to the byte and to the allocation, at every line.
//!
//! A program is recorded three times: by us, by memray, and by both at once, we from outside of a process in which memray
//! runs. The third recording is the evidence: two accounts of the same events, so what differs between them is what one
//! of the two does not see; and beside the first, what memray's presence makes the program do. From it each rule takes
//! its amounts. What no rule explains is a fault, ours or the comparison's.

mod account;
mod call_objects;
mod checks;
mod evidence;
mod picture;
mod programs;
mod recordings;
mod rules;
mod table;
mod tables;

pub use checks::Verdict;
pub use programs::{PROGRAMS, Program};
pub use recordings::{Recordings, python};
pub use table::{json, summary, table};
