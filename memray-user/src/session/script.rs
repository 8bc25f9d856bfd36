//! Which part of a Python's command line is the program.

use std::ffi::OsString;

use crate::ingest::ScriptStart;

/// Options of CPython that take the next word, if their value is not in the same one (`Modules/getopt.c`,
/// `SHORT_OPTS`; 3.8 to 3.15).
const WITH_VALUE: [char; 2] = ['W', 'X'];
/// Long options that take the next word.
const LONG_WITH_VALUE: [&str; 1] = ["--check-hash-based-pycs"];

/// Where counting begins in a process with these arguments. Without a program (an interactive session, a program
/// on standard input), and if start-up is to be counted, at once.
pub(super) fn script_start(leave_startup_out: bool, arguments: &[OsString]) -> ScriptStart {
    if !leave_startup_out {
        return ScriptStart::Immediately;
    }
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if LONG_WITH_VALUE.contains(&&*word) {
            words.next();
            continue;
        }
        if word == "-" {
            return ScriptStart::Immediately;
        }
        if word == "--" {
            break;
        }
        let Some(options) = word.strip_prefix('-').filter(|options| !options.starts_with('-')) else {
            if word.starts_with("--") {
                continue;
            }
            return ScriptStart::File(word.into_owned());
        };
        // Letters can share a dash: `-Bc code`, `-Xdev`, `-IX dev`.
        for (index, option) in options.char_indices() {
            match option {
                'c' => return ScriptStart::CommandString,
                'm' => return ScriptStart::Module,
                _ if WITH_VALUE.contains(&option) => {
                    if index + option.len_utf8() == options.len() {
                        words.next();
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    words.next().map_or(ScriptStart::Immediately, |word| {
        ScriptStart::File(word.into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_command_lines() {
        let file = |name: &str| ScriptStart::File(name.to_owned());
        for (line, expect) in [
            ("python3", ScriptStart::Immediately),
            ("python3 -", ScriptStart::Immediately),
            ("python3 a.py -c x", file("a.py")),
            ("python3 -u -B a.py", file("a.py")),
            ("python3 -W error a.py", file("a.py")),
            ("python3 -Werror a.py", file("a.py")),
            ("python3 -IX dev a.py", file("a.py")),
            ("python3 -c print", ScriptStart::CommandString),
            ("python3 -Bc print", ScriptStart::CommandString),
            ("python3 -m timeit", ScriptStart::Module),
            ("python3 -mtimeit", ScriptStart::Module),
            ("python3 -X dev -m timeit", ScriptStart::Module),
            ("python3 --check-hash-based-pycs always a.py", file("a.py")),
            ("python3 -- -a.py", file("-a.py")),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(script_start(true, &words), expect, "{line}");
            assert_eq!(script_start(false, &words), ScriptStart::Immediately);
        }
    }
}
