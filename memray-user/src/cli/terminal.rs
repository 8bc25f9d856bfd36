//! The size of the terminal that standard output goes to.

#![expect(unsafe_code, reason = "the kernel is asked by ioctl")]

use std::{io, os::fd::AsRawFd as _};

use nix::libc::{TIOCGWINSZ, winsize};

nix::ioctl_read_bad!(
    /// `ioctl_tty(2)`.
    read_window_size,
    TIOCGWINSZ,
    winsize
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: u16,
    pub(super) columns: u16,
}

/// None if standard output is no terminal, or one that does not know its size.
pub(super) fn size() -> Option<Size> {
    let mut window = winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one `winsize` to the pointer, which is to one that lives until the call returns.
    unsafe { read_window_size(io::stdout().as_raw_fd(), &raw mut window) }.ok()?;
    let winsize {
        ws_row: rows,
        ws_col: columns,
        ..
    } = window;
    (rows > 0 && columns > 0).then_some(Size { rows, columns })
}
