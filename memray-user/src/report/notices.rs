//! What the reader of a report has to know about its figures: losses, a recording without an end, processes that were
//! not seen from their beginning.

mod consequences;
mod processes;

use std::{collections::BTreeMap, io::Write};

use super::{
    ReportError,
    style::{Color, Style},
    view_title,
};
use crate::{
    analysis::Profile,
    escape::printable,
    model::{CaptureMetadata, CaptureSource, LossRow, ProcessRow, View},
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
    /// The figures of a process begin later than the process did.
    Attached,
    /// The figures are complete but easily misread.
    Advice,
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
    /// What there is to say in a report of `profile`.
    pub fn load(source: &dyn CaptureSource, profile: &Profile) -> Result<Self, ReportError> {
        Ok(Self::new(&source.metadata()?, &source.losses()?, profile))
    }

    pub fn new(metadata: &CaptureMetadata, losses: &[LossRow], profile: &Profile) -> Self {
        let mut notices = Vec::new();
        if !metadata.finished {
            let text =
                "the recording is still running or was cut off; the figures are those of its last commit";
            notices.push(Notice {
                kind: NoticeKind::Unfinished,
                text: text.to_owned(),
            });
        }
        if metadata.may_lack_log {
            let text = "the log that lies beside a capture while it is recorded (`-wal`) is not there; if this is a copy, \
                        copy the log too: it has what came last";
            notices.push(Notice {
                kind: NoticeKind::Unfinished,
                text: text.to_owned(),
            });
        }
        notices.extend(Self::of_losses(losses).0);
        notices.extend(processes::notices(metadata, profile));
        if profile.view == View::Leaks
            && !profile.is_empty()
            && let Some(text) = arena_advice(metadata)
        {
            notices.push(Notice {
                kind: NoticeKind::Advice,
                text,
            });
        }
        Self(notices)
    }

    /// What was lost, and nothing else: all there is to say at the end of a recording.
    pub fn of_losses(losses: &[LossRow]) -> Self {
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
        let consequences = consequences::of(|kind, reason| sums.contains_key(&(kind, reason)));
        let notice = |((kind, reason), (events, bytes, description)): ((_, &str), (u64, u64, &str))| {
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
            Notice { kind, text }
        };
        let mut notices: Vec<Notice> = sums.into_iter().map(notice).collect();
        notices.extend(consequences);
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
            kinds if kinds.contains(&NoticeKind::Lost) => Some("The recording is incomplete:"),
            kinds if kinds.contains(&NoticeKind::Degraded) => Some("Parts of the recording are not known:"),
            kinds if kinds.contains(&NoticeKind::Unfinished) => Some("This capture is not finished:"),
            _ => Some("Read these figures with care:"),
        }
    }

    /// Says that the view has nothing to show, then the notices.
    pub(super) fn write_empty(
        &self,
        view: View,
        color: Color,
        output: &mut dyn Write,
    ) -> Result<(), ReportError> {
        writeln!(output, "No allocations in this view ({}).", view_title(view))?;
        self.write(color, output)
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

/// Whether the capture's `meta` says that an option of the recording was on.
pub(super) fn has_option(metadata: &CaptureMetadata, key: &str) -> bool {
    let entry = metadata.entries.iter().find(|(name, _)| name == key);
    entry.is_some_and(|(_, value)| matches!(value.as_str(), "1" | "true"))
}

/// Python's small objects live in arenas that stay allocated while one object in them lives (Objects/obmalloc.c), so
/// an arena looks like a leak of whoever asked for it. With memory of single objects recorded, or with
/// `PYTHONMALLOC=malloc`, it does not.
fn arena_advice(metadata: &CaptureMetadata) -> Option<String> {
    let traced = has_option(metadata, "trace_python_allocators");
    let arenas = |process: &&ProcessRow| {
        ["pymalloc", "mimalloc"]
            .iter()
            .any(|name| process.python_allocator.starts_with(name))
    };
    let process = metadata.processes.iter().find(arenas).filter(|_| !traced)?;
    Some(format!(
        "Python's allocator ({}) takes memory in arenas and keeps them for reuse, so what looks like a leak can be an \
         arena; record with PYTHONMALLOC=malloc in the environment to see single objects",
        printable(&process.python_allocator)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{CaptureBuilder, small, unfinished};

    fn text(builder: &CaptureBuilder) -> String {
        text_of_view(builder, View::HighWaterMark)
    }

    fn text_of_view(builder: &CaptureBuilder, view: View) -> String {
        let mut output = Vec::new();
        Notices::load(builder, &Profile::load(builder, view).unwrap())
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
             \t- 1 stacks that could not be read to their end (stack_fault)\n\
             \t- what is missing is missing from every location: counts and bytes are at least those shown\n"
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
    fn leaks_of_arenas_are_explained() {
        for (allocator, traced, expect) in [
            ("pymalloc", "0", true),
            ("pymalloc_debug", "", true),
            ("mimalloc", "0", true),
            ("malloc", "0", false),
            ("", "0", false),
            ("pymalloc", "1", false),
        ] {
            let mut builder = small();
            allocator.clone_into(&mut builder.metadata.processes[0].python_allocator);
            builder.metadata.entries = vec![("trace_python_allocators".to_owned(), traced.to_owned())];
            let text = text_of_view(&builder, View::Leaks);
            assert_eq!(
                text.starts_with("⚠️  Read these figures with care:\n\t- Python's allocator"),
                expect
            );
            assert_eq!(text.is_empty(), !expect);
            assert_eq!(text_of_view(&builder, View::HighWaterMark), "");
            builder.leaks.clear();
            assert_eq!(text_of_view(&builder, View::Leaks), "");
        }
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
            "⚠️  The recording is incomplete:\n\t- 2,000 frees that are missing (free_ring_full)\n\
             \t- leaks are not reliable: of some blocks and mappings it is not known whether they have ended\n"
        );
    }
}
