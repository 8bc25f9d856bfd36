//! Which C library a file is: on it depends where the values of pthread keys are.
//!
//! glibc says its version in `gnu_get_libc_version`, whose code is followed to the text that it returns. musl says
//! nothing; Alpine's has a name of its own (`libc.musl-x86_64.so.1`), Debian's has none, and both are known by their code.

use super::{accessor, musl};
use crate::target::elf::ElfFile;

/// `2.36`, or `2.31.9000` of a development version.
const MAX_VERSION_BYTES: usize = 16;
/// The function is one load and a return.
const CODE_BYTES: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CLibrary {
    Glibc {
        /// None if its code is of an unknown form.
        version: Option<String>,
    },
    Musl,
}

/// The C library that this file is or, if it is linked statically, contains.
pub fn c_library(file: &ElfFile) -> Option<CLibrary> {
    let Some(function) = file.symbol("gnu_get_libc_version") else {
        return musl::thread_layout(file).map(|_| CLibrary::Musl);
    };
    let version = file.bytes_up_to(function.svma, CODE_BYTES).and_then(|code| {
        let address = accessor::constants(&code, function.svma).into_iter().next()?;
        let bytes = file.bytes_up_to(address, MAX_VERSION_BYTES)?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let text = std::str::from_utf8(&bytes[..end]).ok()?;
        let is_version = text.contains('.') && text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
        is_version.then(|| text.to_owned())
    });
    Some(CLibrary::Glibc { version })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::target::process::Process;

    #[test]
    fn this_process() {
        let process = Process::open(std::process::id()).unwrap();
        let objects = process.objects().unwrap();
        let found: Vec<_> = objects
            .iter()
            .filter_map(|object| c_library(&ElfFile::open(&object.open_path).unwrap()))
            .collect();
        let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let version = told.trim().strip_prefix("glibc ").map(str::to_owned);
        assert!(version.is_some(), "{told}");
        assert_eq!(found, [CLibrary::Glibc { version }]);
    }
}
