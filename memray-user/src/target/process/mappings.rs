//! `/proc/PID/maps`, read as bytes: a path in it need not be UTF-8, which rules out the procfs crate's parser.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One line of `/proc/PID/maps` (`proc_pid_maps(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Bytes before `start` in the file.
    pub file_offset: u64,
    pub permissions: Permissions,
    pub device: Device,
    /// 0 if no file is mapped.
    pub inode: u64,
    /// As the kernel names it, with ` (deleted)` at the end of a file that has no name any more; `[heap]` and the
    /// like for special mappings; none for anonymous memory.
    pub path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the four letters that the kernel prints"
)]
pub struct Permissions {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub shared: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

impl Mapping {
    /// The path of a mapped file, without the kernel's mark for a deleted one, and whether it was there.
    pub fn file_path(&self) -> Option<(&Path, bool)> {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let path = self
            .path
            .as_deref()
            .filter(|path| self.inode != 0 && path.is_absolute())?;
        let bytes = path.as_os_str().as_bytes();
        match bytes.strip_suffix(b" (deleted)") {
            Some(name) => Some((Path::new(OsStr::from_bytes(name)), true)),
            None => Some((path, false)),
        }
    }
}

/// Parses the whole file; the error is the line that is not one of its kind.
pub(super) fn parse_mappings(text: &[u8]) -> Result<Vec<Mapping>, String> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| parse_line(line).ok_or_else(|| String::from_utf8_lossy(line).into_owned()))
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut next = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (start, end) = next()?.split_once('-')?;
    let permissions = next()?.as_bytes();
    let file_offset = u64::from_str_radix(next()?, 16).ok()?;
    let (major, minor) = next()?.split_once(':')?;
    let inode = next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        file_offset,
        permissions: Permissions {
            read: permissions.first()? == &b'r',
            write: permissions.get(1)? == &b'w',
            execute: permissions.get(2)? == &b'x',
            shared: permissions.get(3)? == &b's',
        },
        device: Device {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
        },
        inode,
        path: (!path.is_empty()).then(|| PathBuf::from(OsString::from_vec(unescape(path)))),
    })
}

/// The kernel writes a newline in a path as `\012` and nothing else in that way (`seq_path` in `show_map_vma`,
/// `fs/proc/task_mmu.c`), so that a backslash in a path cannot be told from one of these: rare, and the file is then
/// opened through `map_files`.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}
