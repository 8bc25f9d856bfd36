//! What this kernel can do for a recording, each feature tried out: distributions take features back and forth between
//! versions, so a version number says little.
//!
//! Trying loads programs of two instructions and makes a ring of one page, attaches nothing, and leaves nothing.

mod calls;

use std::{io, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

use super::{programs::TRACEPOINTS, recorder::task_fs_base_offset, tracepoints::Tracepoints};

/// What became of the attempt to use a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    No,
    /// The kernel did not let us try; the cause.
    Unknown(String),
}

/// What the kernel has of multi-uprobe links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UprobeMulti {
    No,
    /// Those of a process see one thread of it only (6.6 to 6.9 without the fix "bpf: fix multi-uprobe PID filtering
    /// logic"), which is of no use here.
    OneThread,
    Yes,
    /// The kernel did not let us try; the cause.
    Unknown(String),
}

/// All that a recording asks of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFeatures {
    /// `/sys/kernel/btf/vmlinux` is there and says what the programs need; else the cause.
    pub type_information: Result<(), String>,
    pub ring_buffer: Support,
    /// `bpf_loop`, without which a stack cannot be walked.
    pub bpf_loop: Support,
    /// `bpf_get_attach_cookie`, which tells a program at which function it is.
    pub attach_cookie: Support,
    /// `bpf_get_ns_current_pid_tgid`, which tells numbers as a nested pid namespace has them.
    pub namespace_ids: Support,
    pub raw_tracepoints: Support,
    /// Those of the system calls that map memory.
    pub tracepoints: Result<(), String>,
    /// Programs on functions that may wait.
    pub sleepable_uprobes: Support,
    pub uprobe_multi: UprobeMulti,
    /// Probes as perf events, one by one.
    pub uprobe_events: Support,
}

impl KernelFeatures {
    /// Tries everything. Without privilege most is [`Support::Unknown`].
    pub fn probe() -> Self {
        let helper = |helper| support(is_helper_supported(ProgramType::KProbe, helper));
        Self {
            type_information: task_fs_base_offset()
                .map(|_offset| ())
                .map_err(|error| with_cause(&error)),
            ring_buffer: support(is_map_supported(MapType::RingBuf)),
            bpf_loop: helper(BpfHelper::BPF_FUNC_loop),
            attach_cookie: helper(BpfHelper::BPF_FUNC_get_attach_cookie),
            namespace_ids: helper(BpfHelper::BPF_FUNC_get_ns_current_pid_tgid),
            raw_tracepoints: support(is_program_supported(ProgramType::RawTracePoint)),
            tracepoints: find_tracepoints(),
            sleepable_uprobes: sleepable_uprobes(),
            uprobe_multi: uprobe_multi(),
            uprobe_events: if Path::new("/sys/bus/event_source/devices/uprobe/type").exists() {
                Support::Yes
            } else {
                Support::No
            },
        }
    }
}

/// Whether the kernel has multi-uprobe links that see every thread of a process.
pub fn supports_uprobe_multi() -> bool {
    uprobe_multi() == UprobeMulti::Yes
}

fn uprobe_multi() -> UprobeMulti {
    let program = match calls::load_uprobe_program(calls::Wait::Never, calls::Links::Multi) {
        Ok(program) => program,
        Err(error) => return uprobe_multi_of(&error, None),
    };
    // `/` is no regular file, so a kernel that knows such links gets as far as to say so.
    let link = calls::link_error(&program, 0);
    let any_process = calls::link_error(&program, u32::MAX);
    uprobe_multi_of(&link, Some(&any_process))
}

/// From the error of a link to no file, and the same with a process that cannot be: kernels that tell processes from
/// threads look at its number first.
fn uprobe_multi_of(no_file: &io::Error, no_process: Option<&io::Error>) -> UprobeMulti {
    let of_process = no_process.and_then(io::Error::raw_os_error);
    match (no_file.raw_os_error(), of_process) {
        (Some(libc::EBADF), Some(libc::EINVAL)) => UprobeMulti::Yes,
        (Some(libc::EBADF), _) => UprobeMulti::OneThread,
        (Some(libc::EINVAL), _) => UprobeMulti::No,
        _ => UprobeMulti::Unknown(no_file.to_string()),
    }
}

fn sleepable_uprobes() -> Support {
    match calls::load_uprobe_program(calls::Wait::Allowed, calls::Links::Single) {
        Ok(_program) => Support::Yes,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Support::No,
        Err(error) => Support::Unknown(error.to_string()),
    }
}

fn find_tracepoints() -> Result<(), String> {
    let tracepoints = Tracepoints::open().map_err(|error| error.to_string())?;
    for (_, category, name) in TRACEPOINTS {
        tracepoints
            .id(category, name)
            .map_err(|error| format!("{category}/{name}: {error}"))?;
    }
    Ok(())
}

fn support<E: std::error::Error>(answer: Result<bool, E>) -> Support {
    match answer {
        Ok(true) => Support::Yes,
        Ok(false) => Support::No,
        Err(error) => Support::Unknown(with_cause(&error)),
    }
}

/// An error with what it comes from, in one line.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multi_links_are_told_by_how_they_fail() {
        let check = |no_file: i32, no_process: i32, expect: UprobeMulti| {
            let error = io::Error::from_raw_os_error;
            assert_eq!(uprobe_multi_of(&error(no_file), Some(&error(no_process))), expect);
        };
        check(libc::EBADF, libc::EINVAL, UprobeMulti::Yes);
        check(libc::EBADF, libc::EBADF, UprobeMulti::OneThread);
        check(libc::EBADF, libc::ESRCH, UprobeMulti::OneThread);
        check(libc::EINVAL, libc::EINVAL, UprobeMulti::No);
        let refused = "Operation not permitted (os error 1)".to_owned();
        check(libc::EPERM, libc::EPERM, UprobeMulti::Unknown(refused));
    }

    /// Whoever runs this: nothing panics, and without privilege nothing is taken for absent.
    #[test]
    fn trying_is_harmless() {
        let features = KernelFeatures::probe();
        let is_told = |support: &Support| *support != Support::No;
        assert!(is_told(&features.ring_buffer), "{features:?}");
        assert!(is_told(&features.bpf_loop), "{features:?}");
        assert!(is_told(&features.sleepable_uprobes), "{features:?}");
    }
}
