//! The only module that imports aya: what this kernel can do, the object's programs loaded and attached, the
//! ring and the counters read.
//!
//! aya 0.14 makes the maps and loads and attaches tracepoints and raw tracepoints. It knows no multi-uprobe
//! links, so programs on functions are loaded and linked here ([`multi`]) where the kernel has such links, and
//! by aya, one probe at a time, where it has not.

mod counters;
mod error;
mod features;
mod kernel_btf;
mod linker;
#[cfg(feature = "bpf-log")]
mod logging;
mod lost_frees;
mod multi;
mod privileges;
mod processes;
mod programs;
mod recorder;
mod ring;
mod sites;
mod system;
mod tracepoints;
mod verified;

pub use counters::{Counters, Heartbeat};
pub use error::BpfError;
pub use features::{KernelFeatures, Support, UprobeMulti, supports_uprobe_multi};
pub use linker::{Link, Linker, Order, Scope, close};
pub use lost_frees::{LostFree, LostFrees};
pub use privileges::Privileges;
pub use processes::{LifeMemory, LiveCodes, Memories, Processes};
pub use recorder::{Bounds, Delivery, Recorder, RecorderOptions, is_in_initial_pid_namespace};
pub use ring::{Drained, RingPosition, RingReader};
pub use sites::{FileId, ProbeFile, ProbeSite};
pub use verified::{VerifiedProgram, verify_programs};
