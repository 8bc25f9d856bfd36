//! What the reader of a report has to know about its figures: losses, and a recording without an end.

use std::{collections::BTreeMap, io::Write};

use super::{
    ReportError,
    escape::printable,
    style::{Color, Style},
};
use crate::{
    model::{CaptureMetadata, CaptureSource, LossRow},
    units::{count_text, size_text},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// The recording has no end: it runs, or was cut off.
    Unfinished,
    /// Events are missing.
    Lost,
    /// Events are there, but something about them is not known.
    Degraded,
}

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kind: NoticeKind,
    /// Fit for a terminal.
    pub text: String,
}

/// All that there is to say; nothing, if the figures are complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a report names its losses"]
pub struct Notices(pub Vec<Notice>);

impl Notices {
    pub fn load(source: &dyn CaptureSource) -> Result<Self, ReportError> {
        Ok(Self::new(&source.metadata()?, &source.losses()?))
    }

    pub fn new(metadata: &CaptureMetadata, losses: &[LossRow]) -> Self {
        let mut notices = Vec::new();
        if !metadata.finished {
            let text =
                "the recording is still running or was cut off; the figures are those of its last commit";
            notices.push(Notice {
                kind: NoticeKind::Unfinished,
                text: text.to_owned(),
            });
        }
        // Counters of several processes are one sentence.
        let mut sums: BTreeMap<(NoticeKind, &str), (u64, u64, &str)> = BTreeMap::new();
        for loss in losses {
            let kind = match loss.kind.as_str() {
                "lost" => NoticeKind::Lost,
                "degraded" => NoticeKind::Degraded,
                _ => continue,
            };
            if loss.events == 0 {
                continue;
            }
            let sum = sums
                .entry((kind, &loss.reason))
                .or_insert((0, 0, &loss.description));
            sum.0 = sum.0.saturating_add(loss.events);
            sum.1 = sum.1.saturating_add(loss.bytes);
        }
        for ((kind, reason), (events, bytes, description)) in sums {
            let bytes = if bytes == 0 {
                String::new()
            } else {
                format!(", {}", size_text(bytes))
            };
            let what = if description.is_empty() {
                reason
            } else {
                description
            };
            let text = format!(
                "{} {}{bytes} ({})",
                count_text(events),
                printable(what),
                printable(reason)
            );
            notices.push(Notice { kind, text });
        }
        Self(notices)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The head of the list: what the notices amount to.
    pub fn headline(&self) -> Option<&'static str> {
        match self
            .0
            .iter()
            .map(|notice| notice.kind)
            .collect::<Vec<_>>()
            .as_slice()
        {
            [] => None,
            [NoticeKind::Unfinished] => Some("This capture is not finished:"),
            kinds if kinds.contains(&NoticeKind::Lost) => Some("The recording is incomplete:"),
            _ => Some("Parts of the recording are not known:"),
        }
    }

    /// Writes the headline and a line for each notice, or nothing.
    pub fn write(&self, color: Color, output: &mut dyn Write) -> Result<(), ReportError> {
        let Some(headline) = self.headline() else {
            return Ok(());
        };
        writeln!(
            output,
            "{}",
            color.paint(Style::Warning, &format!("⚠️  {headline}"))
        )?;
        for notice in &self.0 {
            writeln!(output, "\t- {}", notice.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{CaptureBuilder, small, unfinished};

    fn text(builder: &CaptureBuilder) -> String {
        let mut output = Vec::new();
        Notices::load(builder)
            .unwrap()
            .write(Color::Never, &mut output)
            .unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn complete_captures_have_none() {
        assert_eq!(text(&small()), "");
    }

    #[test]
    fn losses_are_sentences_and_neutral_counters_are_not() {
        assert_eq!(
            text(&unfinished()),
            "⚠️  The recording is incomplete:\n\
             \t- the recording is still running or was cut off; the figures are those of its last commit\n\
             \t- 12 allocations that found the ring full and are missing, 3.000kB (allocation_ring_full)\n\
             \t- 1 stacks that could not be read to their end (stack_fault)\n"
        );
    }

    #[test]
    fn the_headline_is_as_bad_as_the_worst() {
        let mut builder = CaptureBuilder::new();
        builder.metadata.finished = false;
        assert!(text(&builder).starts_with("⚠️  This capture is not finished:\n"));
        builder.lose("degraded", "stack_fault", 3, 0, "");
        assert!(text(&builder).starts_with("⚠️  Parts of the recording are not known:\n"));
        assert!(text(&builder).ends_with("\t- 3 stack_fault (stack_fault)\n"));
        builder.lose("lost", "free_ring_full", 1, 0, "frees that are missing");
        assert!(text(&builder).starts_with("⚠️  The recording is incomplete:\n"));
    }

    #[test]
    fn processes_are_summed() {
        let mut builder = CaptureBuilder::new();
        for process_id in [1, 2] {
            builder.lose("lost", "free_ring_full", 1000, 0, "frees that are missing");
            builder.losses.last_mut().unwrap().process_id = Some(process_id);
        }
        builder.lose("degraded", "stack_fault", 0, 0, "nothing happened");
        assert_eq!(
            text(&builder),
            "⚠️  The recording is incomplete:\n\t- 2,000 frees that are missing (free_ring_full)\n"
        );
    }
}
