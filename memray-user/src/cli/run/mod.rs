//! `memray run`: traces a program from its first instruction to its end.
//!
//! The program sees nothing of it, and neither does who started us: what memray says goes to standard error, and its
//! end is the program's end, by exit code or by signal.

mod program;
mod recording;

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{self, ExitCode},
};

use clap::{Args, ValueHint};

use self::{program::Program, recording::Recording};
use super::{
    capture_file::check_output, delivery::DeliveryArguments, memory_interval::MemoryIntervalArguments,
};
use crate::{error::CommandError, printer::Talk, target::launch::InheritedSignals};

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

    /// Record the processes that the program starts, and theirs, in the same capture
    #[arg(long)]
    follow_fork: bool,

    #[command(flatten)]
    memory: MemoryIntervalArguments,

    #[command(flatten)]
    delivery: DeliveryArguments,

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
        follow_fork,
        memory,
        delivery,
        program,
    } = arguments;
    let memory_interval = memory.interval()?;
    let delivery = delivery.check()?;
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
        follow_fork,
        memory_interval,
        delivery,
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
}
