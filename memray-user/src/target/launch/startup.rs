//! What the Rust runtime changes before `main`, as it was before: it ignores SIGPIPE, and it opens `/dev/null` in the
//! place of standard descriptors that are closed (library/std/src/sys/pal/unix/mod.rs, `init`, Rust 1.95).
//!
//! A constructor of the executable looks, since nothing of ours runs earlier. Read by the child between fork and exec,
//! hence atomics only.
#![expect(unsafe_code, reason = "a constructor and system calls of libc")]

use std::{
    hint::black_box,
    mem::MaybeUninit,
    sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);
/// Bit `descriptor`.
static CLOSED_DESCRIPTORS: AtomicU8 = AtomicU8::new(0);

// The loader calls the functions in this section with arguments that this one does not look at; it uses atomics
// and async-signal-safe functions of libc, which is initialised by then.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = look;

extern "C" fn look() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; `action` is writable and of the right type.
    unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed memory is a valid action, and the call above has filled it in.
    let action = unsafe { action.assume_init() };
    SIGPIPE_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Relaxed);
    let closed = (0..3)
        // SAFETY: asks for flags and touches no memory.
        .filter(|&descriptor| unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1)
        .fold(0, |closed, descriptor| closed | 1 << descriptor);
    CLOSED_DESCRIPTORS.store(closed, Relaxed);
}

/// Whether whoever started us ignored SIGPIPE.
pub(super) fn sigpipe_was_ignored() -> bool {
    // The linker drops an object that nothing refers to, and the constructor with it.
    black_box(&CONSTRUCTOR);
    SIGPIPE_IGNORED.load(Relaxed)
}

/// Closes the standard descriptors that were closed when we started. Async-signal-safe.
pub(super) fn close_as_inherited() {
    let closed = CLOSED_DESCRIPTORS.load(Relaxed);
    for descriptor in (0..3).filter(|descriptor| closed >> descriptor & 1 != 0) {
        // SAFETY: closes what the runtime has opened; called where nothing uses it any more.
        unsafe { libc::close(descriptor) };
    }
}
