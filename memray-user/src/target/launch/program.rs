//! The search for a program by name, as execvp(3) does it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::LaunchError;

/// Where execvp(3) looks without PATH (glibc: `confstr(_CS_PATH)`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file that `name` stands for. A name with a slash is a path; another is looked for in `path`, the value of
/// PATH. A file that may not be executed is only an error if no later directory has one that may.
pub fn find_program(name: &OsStr, path: Option<OsString>) -> Result<PathBuf, LaunchError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let mut forbidden = None;
    if !name.is_empty() {
        let path = path.unwrap_or_else(|| OsString::from(DEFAULT_PATH));
        for directory in env::split_paths(&path) {
            // An empty entry is the working directory; without a slash the kernel would be asked for the same file.
            let directory = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &directory
            };
            let candidate = directory.join(name);
            if !candidate.is_file() {
                continue;
            }
            match access(&candidate, AccessFlags::X_OK) {
                Ok(()) => return Ok(candidate),
                Err(errno) => {
                    forbidden.get_or_insert((candidate, io::Error::from(errno)));
                }
            }
        }
    }
    Err(match forbidden {
        Some((program, source)) => LaunchError::Execute { program, source },
        None => LaunchError::NotFound {
            name: PathBuf::from(name),
        },
    })
}

/// Whether the kernel runs the file by the interpreter that its first line names.
pub fn is_script(program: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(program)?.take(2).read_to_end(&mut start)?;
    Ok(start == b"#!")
}
