//! Chores of the project: `cargo xtask help` lists them.
//!
//! One entry point for a person and for CI. Each command says what it runs before it runs it, does its own set-up,
//! and may be repeated at any time: what is there already is left alone.

mod bench;
mod codegen;
mod command;
mod demo;
mod long;
mod parity;
mod setup;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Chores of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch what building and testing need: compiler, linker, test runner, packages, interpreters.
    Setup,
    /// Set up, build in release, record a shipped example and show what came out.
    Demo,
    /// Set up, then check the format, lint, and run every test, unprivileged and root.
    Test(test::Options),
    /// Set up, then measure what a traced allocation costs beside programs that do nothing. Needs root.
    Bench(bench::Options),
    /// Set up, then compare the figures of real programs with those of memray 1.20. Needs root.
    Parity(parity::Options),
    /// Check what no compiler checks: imports, module docs, sizes, licences, text.
    Tidy,
    /// Write the files that are made from code.
    Codegen {
        /// Fail if a file differs from what would be written.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let Arguments { task } = Arguments::parse();
    let result = Workspace::find().and_then(|workspace| match task {
        Task::Setup => setup::for_tests(&workspace),
        Task::Demo => demo::run(&workspace),
        Task::Test(options) => test::run(&workspace, options),
        Task::Bench(options) => bench::run(&workspace, &options),
        Task::Parity(options) => parity::run(&workspace, &options),
        Task::Tidy => tidy::run(&workspace),
        Task::Codegen { check } => codegen::run(&workspace, check),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::report(&error);
            ExitCode::FAILURE
        }
    }
}
