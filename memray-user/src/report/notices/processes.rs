//! What processes make of the figures: since when they count, and what the peak of several is.

use rustc_hash::FxHashSet;

use super::{Notice, NoticeKind};
use crate::{
    analysis::{
        Figures, ProcessFrames, Profile,
        one_process::pid_list,
        processes::{process_of_thread, wall_clock_ms},
    },
    model::{CaptureMetadata, ProcessId, ProcessOrigin, ProcessRow, View},
    units::{count_text, moment_text},
};

/// Pids that a sentence names.
const NAMED_PIDS: usize = 5;

pub(super) fn notices(metadata: &CaptureMetadata, profile: &Profile) -> impl Iterator<Item = Notice> {
    let notice = |kind| move |text| Notice { kind, text };
    let attached = attached(metadata).map(notice(NoticeKind::Attached));
    let advice = [peaks(metadata, profile), too_many(metadata, profile)];
    attached
        .into_iter()
        .chain(advice.into_iter().flatten().map(notice(NoticeKind::Advice)))
}

/// Memory that a process had before it was attached to is unknown to the recording.
fn attached(metadata: &CaptureMetadata) -> Option<String> {
    let rows: Vec<&ProcessRow> = metadata
        .processes
        .iter()
        .filter(|row| row.origin == ProcessOrigin::Attached)
        .collect();
    let pids = pid_list(rows.iter().map(|row| row.pid).collect(), NAMED_PIDS)?;
    let mut moments: Vec<String> = rows
        .iter()
        .filter_map(|row| wall_clock_ms(metadata, row.started_ns).map(moment_text))
        .collect();
    moments.sort_unstable();
    let (who, it) = if rows.len() == 1 {
        (format!("process {pids} was attached to while it ran"), "it")
    } else {
        (
            format!("processes {pids} were attached to while they ran"),
            "each",
        )
    };
    let before = match (moments.first(), moments.last()) {
        (Some(first), Some(last)) if first == last => format!("{first} UTC"),
        (Some(first), Some(last)) => format!("that, between {first} and {last} UTC,"),
        _ => "that".to_owned(),
    };
    Some(format!(
        "{who}: memory that {it} had before {before} is not in these figures"
    ))
}

/// The peak of a sum is not the sum of peaks.
fn peaks(metadata: &CaptureMetadata, profile: &Profile) -> Option<String> {
    if profile.view != View::HighWaterMark || metadata.processes.len() < 2 {
        return None;
    }
    let process_of_thread = process_of_thread(metadata);
    let involved: FxHashSet<ProcessId> = profile
        .sites
        .iter()
        .filter(|site| site.figures != Figures::default())
        .filter_map(|site| process_of_thread.get(&site.thread_id).copied())
        .collect();
    if involved.len() < 2 {
        return None;
    }
    let count = count_text(involved.len() as u64);
    let rows = &metadata.processes;
    let pids = rows
        .iter()
        .filter(|row| involved.contains(&row.process_id))
        .map(|row| row.pid);
    let pids: FxHashSet<u32> = pids.collect();
    Some(match pids.iter().next() {
        Some(pid) if pids.len() == 1 => format!(
            "these figures add up what each of {count} lives of process {pid} held at its own peak, one after the other; \
             at no time did it hold as much"
        ),
        _ => format!(
            "these figures add up what each of {count} processes held at its own peak; at no time did they hold more than \
             that together, and perhaps they never held as much"
        ),
    })
}

fn too_many(metadata: &CaptureMetadata, profile: &Profile) -> Option<String> {
    (profile.process_frames == ProcessFrames::TooMany).then(|| {
        format!(
            "the stacks of {} processes are too many to be told apart here and stand together; `--process PID` shows \
             those of one",
            count_text(metadata.processes.len() as u64)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{OneProcess, testing::prefork},
        model::CaptureSource,
    };

    fn texts(source: &dyn CaptureSource, view: View) -> Vec<String> {
        let profile = Profile::load(source, view).unwrap();
        notices(&source.metadata().unwrap(), &profile)
            .map(|notice| notice.text)
            .collect()
    }

    fn attached_at(starts_ns: &[u64]) -> CaptureMetadata {
        let mut metadata = prefork().metadata;
        let row = metadata.processes[0].clone();
        metadata.processes = (1000..)
            .zip(starts_ns)
            .map(|(pid, &started_ns)| ProcessRow {
                pid,
                started_ns,
                ..row.clone()
            })
            .collect();
        metadata
    }

    #[test]
    fn attached_processes_count_from_a_moment_on() {
        const SECOND: u64 = 1_000_000_000;
        let check = |starts_ns: &[u64], expect: &str| {
            assert_eq!(attached(&attached_at(starts_ns)).as_deref(), Some(expect));
        };
        check(
            &[3 * SECOND],
            "process 1000 was attached to while it ran: memory that it had before 2026-01-02 03:04:08 UTC is not in \
             these figures",
        );
        check(
            &[0, 1, 2],
            "processes 1000, 1001 and 1002 were attached to while they ran: memory that each had before 2026-01-02 \
             03:04:05 UTC is not in these figures",
        );
        let many: Vec<u64> = (0..300).map(|number| number * SECOND).collect();
        check(
            &many,
            "processes 1000, 1001, 1002, 1003, 1004 and 295 more were attached to while they ran: memory that each had \
             before that, between 2026-01-02 03:04:05 and 2026-01-02 03:09:04 UTC, is not in these figures",
        );
        let mut unknown = attached_at(&[5]);
        unknown.started_at_ms = 0;
        assert_eq!(
            attached(&unknown).as_deref(),
            Some(
                "process 1000 was attached to while it ran: memory that it had before that is not in these figures"
            )
        );
        unknown.processes[0].origin = ProcessOrigin::Launched;
        assert_eq!(attached(&unknown), None);
    }

    #[test]
    fn peaks_that_are_added_up_are_called_so() {
        let sum = "these figures add up what each of 4 processes held at its own peak; at no time did they hold more than \
                   that together, and perhaps they never held as much";
        let peaks = |source: &dyn CaptureSource, view| {
            let mut texts = texts(source, view);
            texts.retain(|text| text.contains("peak"));
            texts
        };
        assert_eq!(peaks(&prefork(), View::HighWaterMark), [sum]);
        assert!(peaks(&prefork(), View::Leaks).is_empty());
        let one = |pid| OneProcess::new(prefork(), pid).unwrap();
        assert!(peaks(&one(700), View::HighWaterMark).is_empty());
        assert_eq!(
            peaks(&one(702), View::HighWaterMark),
            [
                "these figures add up what each of 2 lives of process 702 held at its own peak, one after the other; at no \
                 time did it hold as much"
            ]
        );
        // Four processes, one of which held something.
        let mut quiet = prefork();
        quiet.sites.truncate(2);
        assert!(peaks(&quiet, View::HighWaterMark).is_empty());
    }

    #[test]
    fn stacks_that_stand_together_are_said_to() {
        let mut profile = Profile::load(&prefork(), View::All).unwrap();
        let metadata = prefork().metadata;
        assert_eq!(too_many(&metadata, &profile), None);
        profile.process_frames = ProcessFrames::TooMany;
        assert!(
            too_many(&metadata, &profile)
                .unwrap()
                .starts_with("the stacks of 4 processes are too many")
        );
    }
}
