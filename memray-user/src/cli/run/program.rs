//! Which program is run: from the words of the command line to an executable and its arguments.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    error::{Blame, CommandError},
    target::launch::{LaunchError, find_program},
};

/// What the words after the options mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Script,
    Module,
    Code,
    /// Any program, not through an interpreter of our choice.
    Command,
}

/// A program that can be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) kind: Kind,
    pub(super) executable: PathBuf,
    /// All of `argv`, its first word included.
    pub(super) arguments: Vec<OsString>,
    /// What the capture is named after.
    name: OsString,
    /// Where the capture lies by default; empty for the current directory.
    folder: PathBuf,
}

pub(super) fn kind(module: bool, code: bool, command: bool) -> Result<Kind, CommandError> {
    match (module, code, command) {
        (false, false, false) => Ok(Kind::Script),
        (true, _, false) => Ok(Kind::Module),
        (_, true, false) => Ok(Kind::Code),
        (false, false, true) => Ok(Kind::Command),
        (_, _, true) => Err(CommandError::usage(
            "`-m` and `-c` are for Python and do not go with `--`".to_owned(),
        )
        .hint("after `--`, write the whole command: `memray run -- python3 -m module`")),
    }
}

impl Program {
    /// `words` has at least one.
    pub(super) fn find(kind: Kind, python: &OsStr, words: Vec<OsString>) -> Result<Self, CommandError> {
        let path = env::var_os("PATH");
        let first = words.first().cloned().unwrap_or_default();
        if kind == Kind::Command {
            let executable = find_executable(
                &first,
                path,
                "command",
                "give its path, or a name that is in PATH",
            )?;
            let name = executable.file_name().unwrap_or_default().to_owned();
            return Ok(Self {
                kind,
                executable,
                arguments: words,
                name,
                folder: PathBuf::new(),
            });
        }
        let hint = "name one with `--python`: a path, or a name that is in PATH";
        let executable = find_executable(python, path, "interpreter", hint)?;
        let mut arguments = vec![python.to_owned()];
        let (name, folder) = match kind {
            Kind::Module => {
                arguments.push("-m".into());
                (first, PathBuf::new())
            }
            Kind::Code => {
                if Path::new(&first).is_file() {
                    let error = CommandError::usage(format!("`{}` is a file", first.display()));
                    return Err(error.hint("remove the option `-c` to run a file"));
                }
                arguments.push("-c".into());
                ("string".into(), PathBuf::new())
            }
            Kind::Script | Kind::Command => {
                let script = Path::new(&first);
                check_script(script)?;
                (
                    script.file_name().unwrap_or(&first).to_owned(),
                    script.parent().unwrap_or(Path::new("")).to_owned(),
                )
            }
        };
        arguments.extend(words);
        Ok(Self {
            kind,
            executable,
            arguments,
            name,
            folder,
        })
    }

    /// memray's name with our suffix: `memray-<script>.<pid>.db` beside the script.
    pub(super) fn default_output(&self, pid: u32) -> PathBuf {
        self.folder
            .join(format!("memray-{}.{pid}.db", self.name.to_string_lossy()))
    }
}

/// As a shell finds it; a file that cannot be started is told apart from one that is not there.
fn find_executable(
    name: &OsStr,
    path: Option<OsString>,
    what: &str,
    hint: &str,
) -> Result<PathBuf, CommandError> {
    let found = match find_program(name, path) {
        Ok(found) => Some(found).filter(|found| found.exists()),
        Err(LaunchError::Execute { program, .. }) => Some(program),
        Err(_not_found) => None,
    };
    match found {
        Some(found) if is_executable(&found) => Ok(found),
        Some(found) => {
            let error = CommandError::user(format!("`{}` is not executable", found.display()));
            Err(error.hint(if found.is_dir() {
                "it is a directory: name a program"
            } else {
                "run a script with `memray run SCRIPT`, or make it executable with `chmod +x`"
            }))
        }
        None => Err(CommandError::user(format!("there is no {what} `{}`", name.display())).hint(hint)),
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn starts_with(path: &Path, expected: &[u8]) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?
        .take(expected.len() as u64)
        .read_to_end(&mut start)?;
    Ok(start == expected)
}

fn unreadable(path: &Path, error: io::Error) -> CommandError {
    let error = anyhow::Error::new(error).context(format!("cannot read `{}`", path.display()));
    CommandError::new(Blame::User, error)
}

/// Says in our own words, and before anything is set up, what the interpreter would say too late. A folder or an
/// archive with a `__main__` is a script as well.
fn check_script(script: &Path) -> Result<(), CommandError> {
    let name = script.display();
    let metadata = fs::metadata(script).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CommandError::user(format!("there is no script `{name}`"))
            .hint("to run a command instead of a script, write `memray run -- COMMAND`"),
        _ => unreadable(script, error),
    })?;
    if metadata.is_dir() {
        return Ok(());
    }
    if starts_with(script, b"\x7fELF").map_err(|error| unreadable(script, error))? {
        return Err(
            CommandError::user(format!("`{name}` is not a Python script but a program"))
                .hint(format!("to trace a program, write `memray run -- {name}`")),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (module, code, command, expect) in [
            (false, false, false, Some(Kind::Script)),
            (true, false, false, Some(Kind::Module)),
            (false, true, false, Some(Kind::Code)),
            (false, false, true, Some(Kind::Command)),
            (true, false, true, None),
            (false, true, true, None),
        ] {
            assert_eq!(kind(module, code, command).ok(), expect);
        }
    }

    #[test]
    fn executables() {
        let check = |name: &str, path: &str, expect: Option<&str>| {
            assert_eq!(
                find_executable(name.as_ref(), Some(path.into()), "command", "").ok(),
                expect.map(PathBuf::from),
                "{name}"
            );
        };
        check("sh", "/nonexistent:/bin", Some("/bin/sh"));
        check("/bin/sh", "", Some("/bin/sh"));
        check("sh", "/nonexistent", None);
        check("/etc/passwd", "", None);
        check("", "/bin", None);
    }

    #[test]
    fn default_outputs() {
        let check = |kind: Kind, words: &[&str], expect: &str| {
            let words = words.iter().map(OsString::from).collect();
            let program = Program::find(kind, "/bin/sh".as_ref(), words).unwrap();
            assert_eq!(program.default_output(7), Path::new(expect));
        };
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("a.py");
        fs::write(&script, "pass\n").unwrap();
        let script = script.to_str().unwrap();
        check(
            Kind::Script,
            &[script, "x"],
            &format!("{}/memray-a.py.7.db", folder.path().display()),
        );
        check(Kind::Module, &["http.server", "1"], "memray-http.server.7.db");
        check(Kind::Code, &["pass"], "memray-string.7.db");
        check(Kind::Command, &["/bin/sh", "-c", "true"], "memray-sh.7.db");
    }

    #[test]
    fn arguments_are_those_of_plain_python() {
        let check = |kind: Kind, words: &[&str], expect: &[&str]| {
            let words = words.iter().map(OsString::from).collect();
            assert_eq!(
                Program::find(kind, "/bin/sh".as_ref(), words).unwrap().arguments,
                expect
            );
        };
        check(Kind::Module, &["m", "--x"], &["/bin/sh", "-m", "m", "--x"]);
        check(Kind::Code, &["pass", "-v"], &["/bin/sh", "-c", "pass", "-v"]);
        check(Kind::Command, &["/bin/sh", "--"], &["/bin/sh", "--"]);
    }
}
