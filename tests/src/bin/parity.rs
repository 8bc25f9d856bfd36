//! Compares our figures of real programs with memray's: what `cargo xtask parity` runs, as root.
//!
//! The tables go to standard output, a line for each program to standard error. The exit status is 1 if anything differs
//! that no rule explains.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the tables are data, the progress is talk"
)]

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use memray_tests::parity::{PROGRAMS, Program, Recordings, Verdict, json, python, summary, table};

/// `parity FOLDER [--again] [--json FILE] [PROGRAM...]`
struct Arguments {
    /// Where pictures of the recordings are left, a folder for each program.
    folder: PathBuf,
    /// Compares the pictures that are there already.
    again: bool,
    json: Option<PathBuf>,
    programs: Vec<Program>,
}

fn main() -> Result<ExitCode> {
    let Arguments {
        folder,
        again,
        json: json_path,
        programs,
    } = Arguments::parse()?;
    let python = python();
    let mut verdicts = Vec::new();
    for program in programs {
        eprintln!("{}", program.name);
        let folder = folder.join(program.name);
        let recordings = if again {
            Recordings::read(&python, program, &folder)
        } else {
            Recordings::make(&python, program, &folder)
        };
        let verdict = Verdict::new(program, &recordings);
        println!("{}", table(&verdict));
        verdicts.push(verdict);
    }
    if let Some(path) = json_path {
        let data: Vec<_> = verdicts.iter().map(json).collect();
        let text = serde_json::to_string_pretty(&data)?;
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    println!("{}", summary(&verdicts));
    let failed = verdicts.iter().filter(|verdict| !verdict.faults.is_empty());
    let failed: Vec<&str> = failed.map(|verdict| verdict.program.name).collect();
    if failed.is_empty() {
        println!("{} programs, all differences explained", verdicts.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{} programs, differences without a reason in: {}",
        verdicts.len(),
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let mut arguments = Self {
            folder: words
                .next()
                .context("the folder for the pictures is missing")?
                .into(),
            again: false,
            json: None,
            programs: Vec::new(),
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--again" => arguments.again = true,
                "--json" => arguments.json = Some(words.next().context("`--json` needs a file")?.into()),
                name => match Program::find(name) {
                    Some(program) => arguments.programs.push(program),
                    None => bail!("no program is named `{name}`; there are {}", names()),
                },
            }
        }
        if arguments.programs.is_empty() {
            arguments.programs = PROGRAMS.to_vec();
        }
        Ok(arguments)
    }
}

fn names() -> String {
    let names: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
    names.join(", ")
}
