//! Programs that do nothing, to measure what the probes alone cost (`cargo xtask bench`). Never loaded otherwise.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

#[uprobe]
pub(super) fn floor_entry(_context: ProbeContext) -> u32 {
    0
}

#[uretprobe(sleepable)]
pub(super) fn floor_return(_context: RetProbeContext) -> u32 {
    0
}
