//! `memray attach`: records processes that run already.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueHint};

use super::{
    capture_file::check_output, delivery::DeliveryArguments, ending::Talker,
    memory_interval::MemoryIntervalArguments, owner::behind_sudo,
};
use crate::{
    error::CommandError,
    printer::{Printer, Talk},
    session::{self, AttachSettings, CaptureSettings, RecordedAttached},
    store::Overwrite,
};

/// Record processes that run already, until they end or you press Ctrl-C
///
/// Nothing is installed into a process, and it is not stopped. Memory that it has already is not counted.
#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the switches of the command line"
)]
pub(super) struct Arguments {
    /// Where the capture goes [default: memray-<pid>.<pid of memray>.db]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Overwrite the output file
    #[arg(short, long)]
    force: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// End the recording after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    duration: Option<Duration>,

    /// Record the processes that they start, and theirs, in the same capture
    #[arg(long)]
    follow_fork: bool,

    /// Record programs that are no Python too, and the Python that they may become
    #[arg(long)]
    any_program: bool,

    #[command(flatten)]
    memory: MemoryIntervalArguments,

    #[command(flatten)]
    delivery: DeliveryArguments,

    /// Numbers of the processes
    #[arg(value_name = "PID", required = true, value_parser = clap::value_parser!(u32).range(1..))]
    pids: Vec<u32>,
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        output,
        force,
        quiet,
        duration,
        follow_fork,
        any_program,
        memory,
        delivery,
        mut pids,
    } = arguments;
    let memory_interval = memory.interval()?;
    let delivery = delivery.check()?;
    let mut seen = std::collections::BTreeSet::new();
    pids.retain(|&pid| seen.insert(pid));
    let printer = Printer::new(if quiet { Talk::Quiet } else { Talk::Normal });
    let output = output.unwrap_or_else(|| default_output(&pids, std::process::id()));
    check_output(&output, force)?;
    let settings = AttachSettings {
        capture: CaptureSettings {
            output: output.clone(),
            overwrite: if force {
                Overwrite::Replace
            } else {
                Overwrite::Refuse
            },
            owner: behind_sudo(),
            command_line: String::new(),
            include_startup: true,
            delivery: delivery.delivery,
            bounds: delivery.bounds,
            ingest_bounds: delivery.ingest_bounds,
            follow_children: follow_fork,
            memory_interval,
        },
        duration,
        any_program,
        pids: pids.clone(),
    };
    let talker = Talker {
        printer,
        begun: ready(&pids, &output, duration),
        output: &output,
    };
    let RecordedAttached {
        losses,
        deaths,
        is_whole,
    } = session::record_attached(&settings, &talker)?;
    talker.tell_the_end(&losses, &deaths)?;
    if !is_whole {
        return Ok(talker.tell_not_whole(None));
    }
    talker.tell_whole();
    Ok(ExitCode::SUCCESS)
}

/// Seconds, which need not be whole.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_error| "not a number of seconds".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_error| "not a time".to_owned())?;
    if duration.is_zero() {
        return Err("no time at all".to_owned());
    }
    Ok(duration)
}

fn default_output(pids: &[u32], own_pid: u32) -> PathBuf {
    let first = pids.first().copied().unwrap_or_default();
    PathBuf::from(format!("memray-{first}.{own_pid}.db"))
}

fn ready(pids: &[u32], output: &Path, duration: Option<Duration>) -> String {
    let numbers: Vec<String> = pids.iter().map(u32::to_string).collect();
    let noun = if pids.len() == 1 { "process" } else { "processes" };
    let end = match duration {
        Some(duration) => format!("for {} s; Ctrl-C ends it before", duration.as_secs_f64()),
        None => "until Ctrl-C".to_owned(),
    };
    format!(
        "Recording {noun} {} into {}, {end}",
        numbers.join(", "),
        output.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "nan", "inf", "1e300", "1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_said_when_all_probes_are_in() {
        let output = Path::new("a.db");
        assert_eq!(
            ready(&[7], output, None),
            "Recording process 7 into a.db, until Ctrl-C"
        );
        assert_eq!(
            ready(&[7, 8], output, Some(Duration::from_millis(1500))),
            "Recording processes 7, 8 into a.db, for 1.5 s; Ctrl-C ends it before"
        );
        assert_eq!(default_output(&[7, 8], 9), PathBuf::from("memray-7.9.db"));
    }
}
