//! fork and exec, with a tracer in place before exec and with exec's error brought home.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    ptr,
};

use nix::{fcntl::OFlag, sys::ptrace::Options, unistd::pipe2};

use super::{Launch, LaunchError, inherited::InheritedSignals, ptrace, startup};

/// A process that is traced and about to call execve(2).
pub(super) struct Spawned {
    pub(super) pid: i32,
    /// Where the child writes the error number if execve fails; ends when it succeeds.
    error: File,
}

impl Spawned {
    /// The error of execve, if it has failed. Call it only after exec or exit: it blocks until then.
    pub(super) fn exec_error(&mut self) -> Option<io::Error> {
        let mut number = [0; 4];
        self.error.read_exact(&mut number).ok()?;
        Some(io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
    }
}

/// Forks, attaches, and lets the child go on to execve.
pub(super) fn spawn(
    launch: &Launch,
    signals: &InheritedSignals,
    options: Options,
) -> Result<Spawned, LaunchError> {
    let forked = |errno: nix::Error| LaunchError::Fork {
        source: io::Error::from(errno),
    };
    let (go_read, go_write) = pipe2(OFlag::O_CLOEXEC).map_err(forked)?;
    let (error_read, error_write) = pipe2(OFlag::O_CLOEXEC).map_err(forked)?;
    let plan = ExecPlan::new(launch, signals, &go_read, &go_write, &error_write)?;
    let pid = fork(&plan).map_err(|source| LaunchError::Fork { source })?;
    drop(go_read);
    drop(error_write);
    if let Err(error) = ptrace::seize(pid, options) {
        // Without a word from us the child ends by itself.
        drop(go_write);
        reap(pid);
        return Err(error);
    }
    // A child that is gone already shows as its exit status.
    let _gone = File::from(go_write).write_all(&[1]);
    Ok(Spawned {
        pid,
        error: File::from(error_read),
    })
}

/// Waits for the end of a process that is about to end.
#[expect(unsafe_code, reason = "waitpid of libc, blocking")]
pub(super) fn reap(pid: i32) {
    loop {
        let mut status = 0;
        // SAFETY: `status` is writable for the time of the call.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        let is_over = libc::WIFEXITED(status) || libc::WIFSIGNALED(status);
        let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if (waited == pid && is_over) || (waited == -1 && !interrupted) {
            return;
        }
    }
}

/// All that the child needs, made before fork: after it, memory must not be reserved, since another thread may have
/// held the allocator's lock.
struct ExecPlan<'signals> {
    program: CString,
    /// Owns what `argument_pointers` points at.
    _arguments: Vec<CString>,
    argument_pointers: Vec<*const libc::c_char>,
    _environment: Vec<CString>,
    environment_pointers: Vec<*const libc::c_char>,
    signals: &'signals InheritedSignals,
    go_read: RawFd,
    go_write: RawFd,
    error_write: RawFd,
}

impl<'signals> ExecPlan<'signals> {
    fn new(
        launch: &Launch,
        signals: &'signals InheritedSignals,
        go_read: &OwnedFd,
        go_write: &OwnedFd,
        error_write: &OwnedFd,
    ) -> Result<Self, LaunchError> {
        let arguments = launch.arguments.iter().map(|argument| c_string(argument));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let environment = startup::environment().map_err(|source| LaunchError::Fork { source })?;
        Ok(Self {
            program: c_string(launch.program.as_os_str())?,
            argument_pointers: pointers(&arguments),
            _arguments: arguments,
            environment_pointers: pointers(&environment),
            _environment: environment,
            signals,
            go_read: go_read.as_raw_fd(),
            go_write: go_write.as_raw_fd(),
            error_write: error_write.as_raw_fd(),
        })
    }
}

/// The array that execve(2) takes, which ends with a null.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn c_string(text: &OsStr) -> Result<CString, LaunchError> {
    CString::new(text.as_bytes()).map_err(|_zero| LaunchError::ZeroByte {
        text: OsString::from(text),
    })
}

/// Forks with all signals blocked, so that no handler of ours runs in the child.
#[expect(unsafe_code, reason = "fork(2) and signal masks")]
fn fork(plan: &ExecPlan<'_>) -> io::Result<i32> {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut previous = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the pointer is valid for writes.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` is filled in above; `previous` is valid for writes.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), previous.as_mut_ptr()) };
    // SAFETY: the child calls async-signal-safe functions only, and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        run_child(plan);
    }
    let error = io::Error::last_os_error();
    // SAFETY: `previous` was filled in by the call above; a null old set is allowed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, previous.as_ptr(), ptr::null_mut()) };
    if pid < 0 { Err(error) } else { Ok(pid) }
}

/// The child: waits until it is traced, then becomes the program. Async-signal-safe throughout.
#[expect(unsafe_code, reason = "system calls of libc between fork and exec")]
fn run_child(plan: &ExecPlan<'_>) -> ! {
    // The writing end must be ours no more, or the end of the parent would not end the wait below.
    // SAFETY: closes a descriptor of this process, which nothing else in it uses.
    unsafe { libc::close(plan.go_write) };
    let mut byte = 0_u8;
    // SAFETY: one byte is writable. All signals are blocked, so the call is not interrupted.
    let read = unsafe { libc::read(plan.go_read, (&raw mut byte).cast(), 1) };
    if read == 1 {
        plan.signals.restore();
        startup::close_as_inherited();
        // SAFETY: strings and arrays end in zero and live in `plan`.
        unsafe {
            libc::execve(
                plan.program.as_ptr(),
                plan.argument_pointers.as_ptr(),
                plan.environment_pointers.as_ptr(),
            )
        };
        // Reads errno and nothing else.
        let number = io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(0)
            .to_ne_bytes();
        // SAFETY: four bytes are readable; four bytes into an empty pipe are written at once or not at all.
        unsafe { libc::write(plan.error_write, number.as_ptr().cast(), number.len()) };
    }
    // SAFETY: ends the process without running anything of ours.
    unsafe { libc::_exit(127) }
}
