//! Files as a process names them: inside its root, whatever links there say.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};

use super::{elf::ElfFile, process::Process};

/// Longest first line of a script that the kernel reads (`BINPRM_BUF_SIZE`, include/uapi/linux/binfmts.h).
const FIRST_LINE_BYTES: u64 = 256;
/// Scripts whose interpreters are scripts (`exec_binprm`, fs/exec.c, allows five).
const MAX_INTERPRETERS: usize = 6;

/// Opens a file of a process. A relative path begins at its working directory, where absolute links lead
/// elsewhere in a process with another root than ours; an absolute one never leaves its root.
pub fn open_in_root(process: &Process, path: &Path) -> io::Result<File> {
    let (directory, resolve) = if path.is_absolute() {
        (
            "root",
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        )
    } else {
        ("cwd", ResolveFlag::RESOLVE_NO_MAGICLINKS)
    };
    let directory = File::open(process.proc_directory().join(directory))?;
    // To open a device can be an act. So it is looked at first, and opened when it is known to be a file.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(resolve);
    let found = File::from(openat2(&directory, path, how)?);
    if !found.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::open(path_of(&found))
}

/// The dynamic loader that comes with the program `path` if the process executes it. None for a static program, and for
/// what cannot be executed.
pub fn loader_of_program(process: &Process, path: &Path) -> Option<File> {
    let mut path = path.to_owned();
    for _ in 0..MAX_INTERPRETERS {
        let file = open_in_root(process, &path).ok()?;
        if let Some(interpreter) = script_interpreter(&file) {
            path = interpreter;
        } else {
            let loader = ElfFile::open(&path_of(&file)).ok()?.interpreter()?;
            return open_in_root(process, &loader).ok();
        }
    }
    None
}

/// A path to an open file, for this process alone.
pub fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The program in a `#!` line (`load_script`, `fs/binfmt_script.c`).
fn script_interpreter(file: &File) -> Option<PathBuf> {
    let mut line = Vec::new();
    file.take(FIRST_LINE_BYTES).read_to_end(&mut line).ok()?;
    interpreter_in(&line)
}

fn interpreter_in(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let name = line
        .trim_ascii_start()
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\0'))
        .next()
        .filter(|name| !name.is_empty())?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        for (start, expect) in [
            (b"#!/bin/sh\necho".as_slice(), Some("/bin/sh")),
            (b"#! /usr/bin/env  python3", Some("/usr/bin/env")),
            (b"#!\tpython3 -u\n", Some("python3")),
            (b"#!\n/bin/sh", None),
            (b"\x7fELF", None),
            (b"", None),
        ] {
            assert_eq!(interpreter_in(start), expect.map(PathBuf::from), "{start:?}");
        }
    }

    #[test]
    fn an_absolute_link_stays_in_the_root() {
        let ourselves = Process::open(std::process::id()).unwrap();
        let program = std::env::current_exe().unwrap();
        let file = open_in_root(&ourselves, &program).unwrap();
        assert_eq!(
            file.metadata().unwrap().len(),
            std::fs::metadata(&program).unwrap().len()
        );
        assert!(open_in_root(&ourselves, Path::new("/proc/self/exe")).is_err());
        assert!(open_in_root(&ourselves, Path::new("/")).is_err());
        assert!(open_in_root(&ourselves, Path::new("no-such-file")).is_err());
    }

    #[test]
    fn our_own_loader() {
        let ourselves = Process::open(std::process::id()).unwrap();
        let loader = loader_of_program(&ourselves, &std::env::current_exe().unwrap()).unwrap();
        assert!(
            ElfFile::open(&path_of(&loader))
                .unwrap()
                .symbol("_dl_debug_state")
                .is_some()
        );
    }
}
