//! The signal mask and the ignored signals that memray was started with, to be handed on unchanged.
//!
//! exec(2) keeps both. memray blocks signals to read them one by one, and the Rust runtime ignores SIGPIPE, none of
//! which may reach the traced program; while `nohup` ignores SIGHUP on purpose, which must.

use std::mem::MaybeUninit;

use super::startup::sigpipe_was_ignored;

/// Signals are 1 to 64 on Linux; of these libc keeps 32 and 33 for itself and refuses to touch them.
pub(super) const LAST_SIGNAL: i32 = 64;

#[derive(Clone, Copy)]
pub struct InheritedSignals {
    mask: libc::sigset_t,
    /// Bit `signal - 1`.
    ignored: u64,
}

impl InheritedSignals {
    /// Looks at the calling thread.
    #[expect(unsafe_code, reason = "queries of the kernel's signal tables")]
    pub fn capture() -> Self {
        let mut mask = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: a null new set only asks; `mask` is writable and of the right type.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr()) };
        // SAFETY: zeroed memory is a valid (empty) set, and the call above has filled it in.
        let mask = unsafe { mask.assume_init() };
        let mut ignored = u64::from(sigpipe_was_ignored()) << (libc::SIGPIPE - 1);
        for signal in (1..=LAST_SIGNAL).filter(|&signal| signal != libc::SIGPIPE) {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: a null new action only asks; `action` is writable and of the right type.
            let failed = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
            // SAFETY: zeroed memory is a valid action, with SIG_DFL as its handler.
            let action = unsafe { action.assume_init() };
            if failed == 0 && action.sa_sigaction == libc::SIG_IGN {
                ignored |= 1 << (signal - 1);
            }
        }
        Self { mask, ignored }
    }

    /// Puts all of it back. Async-signal-safe: for use between fork and exec, with all signals blocked until the last
    /// step.
    #[expect(unsafe_code, reason = "changes of the kernel's signal tables")]
    pub(super) fn restore(&self) {
        for signal in 1..=LAST_SIGNAL {
            let is_ignored = self.ignored >> (signal - 1) & 1 != 0;
            set_action(signal, if is_ignored { libc::SIG_IGN } else { libc::SIG_DFL });
        }
        // SAFETY: `mask` is a valid set; a null old set is allowed.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask, std::ptr::null_mut()) };
    }
}

impl std::fmt::Debug for InheritedSignals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("InheritedSignals")
            .field("ignored", &format_args!("{:#x}", self.ignored))
            .finish_non_exhaustive()
    }
}

/// Sets a signal to `SIG_DFL` or `SIG_IGN`. Refusals (SIGKILL, SIGSTOP, 32 and 33) are as they should be.
#[expect(unsafe_code, reason = "a change of the kernel's signal tables")]
pub(super) fn set_action(signal: i32, handler: libc::sighandler_t) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroed memory is a valid action; the reference does not outlive the statement.
    unsafe { action.assume_init_mut() }.sa_sigaction = handler;
    // SAFETY: `action` is initialized; a null old action is allowed. SIG_DFL and SIG_IGN call no code of ours.
    unsafe { libc::sigaction(signal, action.as_ptr(), std::ptr::null_mut()) };
}
