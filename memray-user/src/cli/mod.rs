//! The command line: arguments in, settings out, one call. One file for each command, and no logic of the domain.
//!
//! Names, defaults and meanings are memray's wherever memray has them. Exit codes are in `docs/concepts/exit-codes.md`.

mod attach;
mod capture_file;
mod delivery;
mod detach;
mod doctor;
mod ending;
mod flamegraph;
mod memory_interval;
mod output;
mod owner;
mod reading;
mod recover;
mod run;
mod stats;
mod summary;
mod table;
mod terminal;
mod tree;

use std::{
    env,
    ffi::OsString,
    panic::{self, PanicHookInfo},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    error::{Blame, CommandError},
    printer::{Printer, Talk},
    target::launch::InheritedSignals,
};

/// Memory profiler for Python programs that works from outside the process.
#[derive(Parser)]
#[command(
    name = "memray",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "A recording is an SQLite database: any tool that reads one can be used on it.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Attach(attach::Arguments),
    Detach(detach::Arguments),
    Flamegraph(flamegraph::Arguments),
    Table(table::Arguments),
    Tree(tree::Arguments),
    Summary(summary::Arguments),
    Stats(stats::Arguments),
    Recover(recover::Arguments),
    Doctor(doctor::Arguments),
}

/// The whole program.
pub fn main() -> ExitCode {
    // What we were started with, before anything of ours changes it.
    let signals = InheritedSignals::capture();
    if env::var_os("RUST_BACKTRACE").is_none() {
        panic::set_hook(Box::new(report_panic));
    }
    let words: Vec<OsString> = env::args_os().collect();
    panic::catch_unwind(|| execute(&words, &signals)).unwrap_or(ExitCode::from(Blame::Unexpected.exit_code()))
}

fn execute(words: &[OsString], signals: &InheritedSignals) -> ExitCode {
    let result = match Arguments::try_parse_from(words) {
        Ok(Arguments { command }) => dispatch(command, words, signals),
        Err(error) => {
            // Help goes to standard output, whose reader may have gone.
            let _ignored = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Blame::Usage.exit_code()));
        }
    };
    match result {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            Printer::new(Talk::Normal).error(&error.render());
            ExitCode::from(error.blame.exit_code())
        }
    }
}

fn dispatch(
    command: Command,
    words: &[OsString],
    signals: &InheritedSignals,
) -> Result<ExitCode, CommandError> {
    match command {
        Command::Run(arguments) => run::execute(arguments, words, signals),
        Command::Attach(arguments) => attach::execute(arguments),
        Command::Detach(arguments) => detach::execute(&arguments),
        Command::Flamegraph(arguments) => flamegraph::execute(arguments),
        Command::Table(arguments) => table::execute(arguments),
        Command::Tree(arguments) => tree::execute(arguments),
        Command::Summary(arguments) => summary::execute(arguments),
        Command::Stats(arguments) => stats::execute(arguments),
        Command::Recover(arguments) => recover::execute(&arguments),
        Command::Doctor(arguments) => doctor::execute(&arguments),
    }
}

/// One line instead of a traceback.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("of an unknown kind");
    let place = panic
        .location()
        .map_or_else(String::new, |location| format!(" at {location}"));
    let error = CommandError::new(
        Blame::Unexpected,
        anyhow::anyhow!("internal error{place}: {message}"),
    )
    .hint("this is a fault of memray; please report it, with what RUST_BACKTRACE=1 adds");
    Printer::new(Talk::Normal).error(&error.render());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
