//! The priority of the calling thread.

/// `setpriority(2)`: the most favored there is.
const HIGHEST: i32 = -20;

/// Puts the calling thread above ordinary ones. Without the privilege it stays where it is.
#[expect(unsafe_code, reason = "setpriority has no safe form in nix 0.31")]
pub fn raise_priority() {
    // SAFETY: takes numbers; 0 is the calling thread.
    let _refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, HIGHEST) };
}
