//! Which allocator the interpreter uses for small objects, as its environment and options tell it.
//!
//! The rules are those of `PYTHONMALLOC` (Doc/using/cmdline.rst): development mode means `debug`, and `-E` and `-I`
//! make the interpreter deaf to its environment.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use crate::target::process::Process;

/// What a release build with the GIL uses if nobody says otherwise.
const DEFAULT: &str = "pymalloc";

/// Values of `PYTHONMALLOC` and the allocator that each means.
const NAMES: [(&str, &str); 8] = [
    ("default", DEFAULT),
    ("debug", "pymalloc_debug"),
    ("pymalloc", "pymalloc"),
    ("pymalloc_debug", "pymalloc_debug"),
    ("malloc", "malloc"),
    ("malloc_debug", "malloc_debug"),
    ("mimalloc", "mimalloc"),
    ("mimalloc_debug", "mimalloc_debug"),
];

/// The allocator by its name in `PYTHONMALLOC`, with `default` and `debug` resolved. Where we may not read the
/// environment, the default is taken.
pub(super) fn python_allocator(process: &Process) -> String {
    let environment = std::fs::read(process.proc_directory().join("environ")).unwrap_or_default();
    let command_line = process.command_line().unwrap_or_default();
    allocator_of(&environment, &command_line).to_owned()
}

/// `environment` as in `/proc/PID/environ`: `NAME=value`, each ended by a zero byte.
fn allocator_of(environment: &[u8], command_line: &[OsString]) -> &'static str {
    let options = Options::read(command_line);
    let variable = |name: &[u8]| {
        let mut variables = environment.split(|&byte| byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(name)?.strip_prefix(b"="));
        value.filter(|value| !options.ignore_environment && !value.is_empty())
    };
    if let Some(value) = variable(b"PYTHONMALLOC") {
        let known = NAMES.iter().find(|(name, _)| name.as_bytes() == value);
        return known.map_or(DEFAULT, |&(_, allocator)| allocator);
    }
    if options.development_mode || variable(b"PYTHONDEVMODE").is_some() {
        return "pymalloc_debug";
    }
    DEFAULT
}

/// The options of the interpreter that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    ignore_environment: bool,
    development_mode: bool,
}

impl Options {
    /// Reads as the interpreter does: up to the first argument that is no option, or to `-c` or `-m`, whose
    /// argument ends the options.
    fn read(command_line: &[OsString]) -> Self {
        let mut options = Self::default();
        let mut arguments = command_line.iter().skip(1).map(|argument| argument.as_bytes());
        while let Some(argument) = arguments.next() {
            let Some(letters) = argument.strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
                break;
            };
            // `--check-hash-based-pycs` takes an argument of its own; other long options end the program.
            if argument == b"--check-hash-based-pycs" {
                arguments.next();
                continue;
            }
            for (index, letter) in letters.iter().enumerate() {
                match letter {
                    b'E' | b'I' => options.ignore_environment = true,
                    b'c' | b'm' | b'-' => return options,
                    b'X' | b'W' => {
                        let attached = &letters[index + 1..];
                        let value = if attached.is_empty() {
                            arguments.next()
                        } else {
                            Some(attached)
                        };
                        options.development_mode |= *letter == b'X' && value == Some(b"dev");
                        break;
                    }
                    _ => {}
                }
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(environment: &str, command_line: &str, expect: &str) {
        let environment = environment.replace(' ', "\0");
        let arguments: Vec<_> = command_line.split(' ').map(OsString::from).collect();
        assert_eq!(
            allocator_of(environment.as_bytes(), &arguments),
            expect,
            "{environment:?} {command_line}"
        );
    }

    #[test]
    fn environment_and_options() {
        check("", "python3 app.py", "pymalloc");
        check("HOME=/ PYTHONMALLOC=malloc ", "python3 app.py", "malloc");
        check("PYTHONMALLOC=debug", "python3", "pymalloc_debug");
        check("PYTHONMALLOC=default", "python3 -X dev", "pymalloc");
        check("PYTHONMALLOC= PYTHONDEVMODE=1", "python3", "pymalloc_debug");
        check("XPYTHONMALLOC=malloc PYTHONMALLOCX=malloc", "python3", "pymalloc");
        check("", "python3 -Xdev app.py", "pymalloc_debug");
        check("", "python3 -uX dev app.py", "pymalloc_debug");
        check("", "python3 app.py -X dev", "pymalloc");
        check("", "python3 -c pass -X dev", "pymalloc");
        check("", "python3 -W -I -X dev", "pymalloc_debug");
        check("PYTHONMALLOC=malloc", "python3 -W -I -c pass", "malloc");
        check("PYTHONMALLOC=malloc", "python3 -sI app.py", "pymalloc");
        check(
            "PYTHONMALLOC=malloc",
            "python3 --check-hash-based-pycs always -E app.py",
            "pymalloc",
        );
        check("PYTHONMALLOC=malloc", "python3 -", "malloc");
        check("", "", "pymalloc");
    }
}
