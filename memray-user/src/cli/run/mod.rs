//! `memray run`: traces a program from its first instruction to its end.
//!
//! The program sees nothing of it, and neither does who started us: what memray says goes to standard error, and its
//! end is the program's end, by exit code or by signal.

mod owner;
mod program;
mod recording;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use clap::{Args, ValueHint};

use self::{program::Program, recording::Recording};
use crate::{
    error::{Blame, CommandError},
    printer::Talk,
    target::launch::InheritedSignals,
};

const USAGE: &str = "memray run [OPTIONS] FILE [ARGS]...
       memray run [OPTIONS] -m MODULE [ARGS]...
       memray run [OPTIONS] -c CODE [ARGS]...
       memray run [OPTIONS] -- COMMAND [ARGS]...";

/// Run a program and record its allocations
#[derive(Args)]
#[command(override_usage = USAGE)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the switches of the command line"
)]
pub(super) struct Arguments {
    /// Where the capture goes [default: memray-<program>.<pid>.db, beside the script]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Overwrite the output file
    #[arg(short, long)]
    force: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// The program is a module
    #[arg(short, conflicts_with = "code")]
    module: bool,

    /// The program is a string
    #[arg(short)]
    code: bool,

    /// The interpreter: a path, or a name to look for in PATH
    #[arg(long, value_name = "PYTHON", default_value = "python3", value_hint = ValueHint::CommandName)]
    python: OsString,

    /// Count in the reports what the interpreter allocates before the program's own code
    #[arg(long)]
    include_startup: bool,

    /// A script, a module or code with its arguments; after `--`, any command
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

pub(super) fn execute(
    arguments: Arguments,
    words: &[OsString],
    signals: &InheritedSignals,
) -> Result<ExitCode, CommandError> {
    let Arguments {
        output,
        force,
        quiet,
        module,
        code,
        python,
        include_startup,
        program,
    } = arguments;
    let talk = if quiet { Talk::Quiet } else { Talk::Normal };
    let kind = program::kind(module, code, is_command(words, &program))?;
    let program = Program::find(kind, &python, program)?;
    let output = output.unwrap_or_else(|| program.default_output(process::id()));
    check_output(&output, force)?;
    Recording {
        program,
        output,
        force,
        include_startup,
        talk,
    }
    .execute(signals)
}

/// Clap drops a `--`; all words after it, or after the first that is no option, are the program's.
fn is_command(words: &[OsString], program: &[OsString]) -> bool {
    let before = words
        .len()
        .checked_sub(program.len() + 1)
        .and_then(|index| words.get(index));
    before.is_some_and(|word| word == "--")
}

/// Refuses early what can be known before anything is started.
fn check_output(output: &Path, force: bool) -> Result<(), CommandError> {
    let name = output.display();
    if output.is_dir() {
        let error = CommandError::user(format!("output file `{name}` is a directory"));
        return Err(error.hint("name a file with `--output`"));
    }
    // A terminal, a pipe, `/dev/null`: a database cannot be written there, with `--force` or without.
    if fs::metadata(output).is_ok_and(|metadata| !metadata.is_file()) {
        let error = CommandError::user(format!("output file `{name}` is not a regular file"));
        return Err(error.hint("a capture is a database: name a file for it with `--output`"));
    }
    if !force && fs::symlink_metadata(output).is_ok() {
        let error = CommandError::user(format!("output file `{name}` exists already"));
        return Err(error.hint("overwrite it with `--force`, or name another file with `--output`"));
    }
    let folder = output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            Err(folder_error(folder, error).hint("name another file with `--output`"))
        }
        Err(error) => {
            Err(folder_error(folder, error)
                .hint("create the directory first, or name another with `--output`"))
        }
    }
}

fn folder_error(folder: &Path, error: io::Error) -> CommandError {
    let text = format!("cannot write the capture into `{}`", folder.display());
    CommandError::new(Blame::User, anyhow::Error::new(error).context(text))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_double_dash_before_the_program_makes_it_a_command() {
        let check = |line: &str, n_program: usize, expect: bool| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(
                is_command(&words, &words[words.len() - n_program..]),
                expect,
                "{line}"
            );
        };
        check("memray run a.py", 1, false);
        check("memray run -- ls -l", 2, true);
        check("memray run -q -- ls", 1, true);
        check("memray run a.py -- x", 3, false);
    }

    #[test]
    fn options_end_where_the_program_begins() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let check = |line: &str, expect: Option<(bool, &[&str])>| {
            let words = std::iter::once("run").chain(line.split(' '));
            let parsed = Line::try_parse_from(words).ok().map(|line| line.arguments);
            let expect = expect.map(|(quiet, program)| (quiet, program.iter().map(OsString::from).collect()));
            assert_eq!(
                parsed.map(|arguments| (arguments.quiet, arguments.program)),
                expect,
                "{line}"
            );
        };
        check("-q a.py", Some((true, &["a.py"])));
        check(
            "a.py -q -- --force",
            Some((false, &["a.py", "-q", "--", "--force"])),
        );
        check("-m pip --version", Some((false, &["pip", "--version"])));
        check("-- ls -l", Some((false, &["ls", "-l"])));
        check("--fast a.py", None);
    }

    #[test]
    fn outputs_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let exists = folder.path().join("a.db");
        fs::write(&exists, "").unwrap();
        let check = |path: &Path, force: bool, expect: &str| {
            let text = check_output(path, force)
                .err()
                .map_or_else(String::new, |error| error.render());
            assert!(
                text.contains(expect) && text.is_empty() == expect.is_empty(),
                "{text}"
            );
        };
        check(&exists, false, "exists already");
        check(&exists, true, "");
        check(Path::new("/dev/null"), true, "not a regular file");
        check(Path::new("/dev/null"), false, "not a regular file");
        check(&folder.path().join("b.db"), false, "");
        check(
            &folder.path().join("none/b.db"),
            false,
            "create the directory first",
        );
        check(&exists.join("b.db"), false, "cannot write the capture into");
        check(Path::new("b.db"), false, "");
    }
}
