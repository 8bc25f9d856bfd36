//! Whose the capture is: behind sudo it belongs to the person and not to root.

use std::{env, ffi::OsString};

use nix::unistd::Uid;

/// User and group that called sudo, if that is how we came to be root.
pub(super) fn behind_sudo() -> Option<(u32, u32)> {
    owner(
        Uid::effective().is_root(),
        env::var_os("SUDO_UID"),
        env::var_os("SUDO_GID"),
    )
}

fn owner(is_root: bool, user: Option<OsString>, group: Option<OsString>) -> Option<(u32, u32)> {
    let number = |text: OsString| text.to_str()?.parse().ok();
    Some((number(user?)?, number(group?)?)).filter(|_ids| is_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let check = |is_root: bool, user: Option<&str>, group: Option<&str>, expect: Option<(u32, u32)>| {
            assert_eq!(
                owner(is_root, user.map(OsString::from), group.map(OsString::from)),
                expect
            );
        };
        check(true, Some("1000"), Some("100"), Some((1000, 100)));
        check(false, Some("1000"), Some("100"), None);
        check(true, None, Some("100"), None);
        check(true, Some("-1"), Some("100"), None);
        check(true, Some("ada"), Some("100"), None);
    }
}
