//! What the Rust runtime and libc change before `main`, as it was before. The first ignores SIGPIPE, and opens
//! `/dev/null` in the place of standard descriptors that are closed (library/std/src/sys/pal/unix/mod.rs, `init`, Rust
//! 1.95). The second, where the file has capabilities, takes `LD_LIBRARY_PATH` and its like out of the environment
//! (glibc 2.36 elf/rtld.c, `process_envvars_secure`); they concern memray and not the program, which has none.
//!
//! A constructor of the executable looks, since nothing of ours runs earlier. Read by the child between fork and exec,
//! hence atomics only.
#![expect(unsafe_code, reason = "a constructor and system calls of libc")]

use std::{
    ffi::CString,
    fs,
    hint::black_box,
    io,
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

/// The environment that we were started with, byte for byte.
pub(super) fn environment() -> io::Result<Vec<CString>> {
    // What exec has laid out on the stack; removing a variable only moves pointers to it.
    let block = fs::read("/proc/self/environ")?;
    Ok(entries(&block))
}

/// Each entry ends with a zero byte.
fn entries(block: &[u8]) -> Vec<CString> {
    let whole = block.split_inclusive(|&byte| byte == 0);
    whole
        .filter_map(|entry| CString::from_vec_with_nul(entry.to_vec()).ok())
        .collect()
}

/// Closes the standard descriptors that were closed when we started. Async-signal-safe.
pub(super) fn close_as_inherited() {
    let closed = CLOSED_DESCRIPTORS.load(Relaxed);
    for descriptor in (0..3).filter(|descriptor| closed >> descriptor & 1 != 0) {
        // SAFETY: closes what the runtime has opened; called where nothing uses it any more.
        unsafe { libc::close(descriptor) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments() {
        let check = |block: &[u8], expect: &[&[u8]]| {
            let entries = entries(block);
            let found: Vec<_> = entries.iter().map(CString::as_bytes).collect();
            assert_eq!(found, expect, "{block:?}");
        };
        check(b"", &[]);
        check(b"A=1\0", &[b"A=1"]);
        check(
            b"A=1\0\0no equals sign\0\xff=\xff\0",
            &[b"A=1", b"", b"no equals sign", b"\xff=\xff"],
        );
    }
}
