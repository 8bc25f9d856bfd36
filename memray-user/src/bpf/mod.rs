//! The only module that imports aya: what this kernel can do, the object's programs loaded and attached, the
//! ring and the counters read.
//!
//! aya 0.14 makes the maps and loads and attaches tracepoints and raw tracepoints. It knows no multi-uprobe
//! links, so programs on functions are loaded and linked here ([`multi`]) where the kernel has such links, and
//! by aya, one probe at a time, where it has not.

mod error;
mod features;
mod kernel_btf;
#[cfg(feature = "bpf-log")]
mod logging;
mod multi;
mod privileges;
mod programs;
mod recorder;
mod system;
mod tracepoints;
mod verified;

pub use error::BpfError;
pub use features::{KernelFeatures, Support, UprobeMulti, supports_uprobe_multi};
pub use privileges::Privileges;
pub use recorder::{Counters, Delivery, ProbeSite, Recorder, RingReader};
pub use verified::{VerifiedProgram, verify_programs};
