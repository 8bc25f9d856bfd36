//! `--memory-interval`, of the commands that record.

use std::num::NonZeroU32;

use clap::Args;

use crate::{error::CommandError, ingest::timeline::Interval};

/// The resident set is read from /proc once in each interval, which costs the collector some 20 microseconds a process; and
/// an interval is in the capture when it is over, so a killed recording has lost one at most.
const LONGEST_MS: u32 = 10_000;

#[derive(Args)]
pub(super) struct MemoryIntervalArguments {
    /// Length of the intervals of the memory curve, in which resident memory is sampled once
    #[arg(long, value_name = "MILLISECONDS", default_value = "10")]
    memory_interval: String,
}

impl MemoryIntervalArguments {
    pub(super) fn interval(&self) -> Result<Interval, CommandError> {
        let ms = self.memory_interval.parse::<NonZeroU32>().ok();
        ms.filter(|ms| ms.get() <= LONGEST_MS)
            .map(Interval::of_ms)
            .ok_or_else(|| {
                CommandError::usage(format!(
                    "cannot sample memory in intervals of `{}` milliseconds",
                    self.memory_interval.escape_debug()
                ))
                .hint(format!(
                    "give `--memory-interval` a whole number from 1 to {LONGEST_MS}"
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let check = |text: &str, expect_ns: Option<u64>| {
            let memory_interval = text.to_owned();
            let found = MemoryIntervalArguments { memory_interval }.interval();
            assert_eq!(found.ok().map(Interval::ns), expect_ns, "{text}");
        };
        check("1", Some(1_000_000));
        check("10", Some(10_000_000));
        check("10000", Some(10_000_000_000));
        for text in ["0", "10001", "-1", "1.5", "", "ten", "99999999999999999999"] {
            check(text, None);
        }
    }
}
