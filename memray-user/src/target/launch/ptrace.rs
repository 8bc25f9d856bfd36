//! The ptrace and wait calls that nix cannot make: it has no `PTRACE_LISTEN`, and it has no type for real-time
//! signals, which a traced program may well use.

use std::{io, mem::offset_of, ptr};

use nix::{
    sys::ptrace::{self as nix_ptrace, Options},
    unistd::Pid,
};

use super::LaunchError;

/// The debug registers that hold addresses are 0 to 3; 6 says which one fired, 7 switches them on (Intel SDM vol. 3,
/// 19.2).
pub(super) const STATUS_REGISTER: usize = 6;
pub(super) const CONTROL_REGISTER: usize = 7;

/// `si_code` of a SIGTRAP from a debug register (`TRAP_HWBKPT`, uapi/asm-generic/siginfo.h).
pub(super) const TRAP_HARDWARE: i32 = 4;

/// Attaches without stopping the process.
pub(super) fn seize(pid: i32, options: Options) -> Result<(), LaunchError> {
    nix_ptrace::seize(Pid::from_raw(pid), options).map_err(failed("PTRACE_SEIZE"))
}

pub(super) fn set_options(pid: i32, options: Options) -> Result<(), LaunchError> {
    nix_ptrace::setoptions(Pid::from_raw(pid), options).map_err(failed("PTRACE_SETOPTIONS"))
}

pub(super) fn detach(pid: i32) -> Result<(), LaunchError> {
    nix_ptrace::detach(Pid::from_raw(pid), None).map_err(failed("PTRACE_DETACH"))
}

/// `si_code` of the signal that the process has stopped for.
pub(super) fn signal_code(pid: i32) -> Result<i32, LaunchError> {
    let info = nix_ptrace::getsiginfo(Pid::from_raw(pid)).map_err(failed("PTRACE_GETSIGINFO"))?;
    Ok(info.si_code)
}

pub(super) fn read_debug_register(pid: i32, register: usize) -> Result<u64, LaunchError> {
    let value = nix_ptrace::read_user(Pid::from_raw(pid), debug_register(register))
        .map_err(failed("PTRACE_PEEKUSER"))?;
    Ok(value.cast_unsigned())
}

pub(super) fn write_debug_register(pid: i32, register: usize, value: u64) -> Result<(), LaunchError> {
    nix_ptrace::write_user(Pid::from_raw(pid), debug_register(register), value.cast_signed())
        .map_err(failed("PTRACE_POKEUSER"))
}

/// Lets the process run on, with a signal if it is not 0.
pub(super) fn resume(pid: i32, signal: i32) -> Result<(), LaunchError> {
    request(libc::PTRACE_CONT, "PTRACE_CONT", pid, signal)
}

/// Leaves the process in its group-stop, as it would be without a tracer, until somebody sends SIGCONT.
pub(super) fn listen(pid: i32) -> Result<(), LaunchError> {
    request(libc::PTRACE_LISTEN, "PTRACE_LISTEN", pid, 0)
}

/// What waitpid(2) says without blocking: a status, or none if nothing has happened.
#[expect(
    unsafe_code,
    reason = "waitpid of libc; nix refuses statuses with real-time signals"
)]
pub(super) fn wait_status(pid: i32) -> Result<Option<i32>, LaunchError> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable for the time of the call.
        let waited = unsafe {
            libc::waitpid(
                pid,
                &raw mut status,
                libc::__WALL | libc::WNOHANG | libc::WUNTRACED,
            )
        };
        match waited {
            0 => return Ok(None),
            -1 => {
                let source = io::Error::last_os_error();
                if source.kind() != io::ErrorKind::Interrupted {
                    return Err(LaunchError::Wait { pid, source });
                }
            }
            _ => return Ok(Some(status)),
        }
    }
}

#[expect(unsafe_code, reason = "ptrace requests that nix does not have")]
fn request(number: libc::c_uint, name: &'static str, pid: i32, signal: i32) -> Result<(), LaunchError> {
    let data = ptr::without_provenance_mut::<libc::c_void>(usize::try_from(signal).unwrap_or(0));
    // SAFETY: neither request reads or writes memory of ours; `data` is a number.
    let result = unsafe { libc::ptrace(number, pid, ptr::null_mut::<libc::c_void>(), data) };
    let source = io::Error::last_os_error();
    // A process that was killed meanwhile is no error of the request: waiting for it tells.
    if result != -1 || source.raw_os_error() == Some(libc::ESRCH) {
        return Ok(());
    }
    Err(LaunchError::Trace {
        request: name,
        source,
    })
}

fn debug_register(register: usize) -> *mut libc::c_void {
    ptr::without_provenance_mut(offset_of!(libc::user, u_debugreg) + register * size_of::<u64>())
}

fn failed(request: &'static str) -> impl FnOnce(nix::Error) -> LaunchError {
    move |errno| LaunchError::Trace {
        request,
        source: io::Error::from(errno),
    }
}
