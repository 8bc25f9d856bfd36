//! Whether an unfinished capture is of one moment.
//!
//! A copy that was made while the file was written can be sound page by page and yet mix two moments, or a file and the
//! log of another moment; nothing in SQLite's format shows that. But every commit leaves the totals of the processes, of
//! the sites, of the sizes and of the single rows equal, so that a mixture is almost certain to contradict itself.
//!
//! Costs one pass over the rows, and that only where a recording has no end. A capture that was put together from a
//! damaged one says itself what it lacks.

use rustc_hash::FxHashMap;

use super::{CaptureReader, failure, sites::Ended};
use crate::{
    model::{
        CaptureError, FrameRow, LiveRow, LossRow, ProcessId, SiteRow, SizeHistogramRow, StackRow, StateRow,
    },
    store::meta_key,
};

/// Counters that say that there are fewer rows than allocations.
const WITHOUT_ROWS: &str = "disk_full";

/// What must be equal, of one process.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    alloc_count: u64,
    alloc_bytes: u64,
    live_count: u64,
    live_bytes: u64,
    peak_count: u64,
    peak_bytes: u64,
}

impl Sums {
    fn each(&self) -> [(&'static str, u64); 6] {
        [
            ("its allocations", self.alloc_count),
            ("their bytes", self.alloc_bytes),
            ("its live allocations", self.live_count),
            ("the live bytes", self.live_bytes),
            ("the allocations at its peak", self.peak_count),
            ("the bytes at its peak", self.peak_bytes),
        ]
    }
}

pub(super) fn check(reader: &CaptureReader) -> Result<(), CaptureError> {
    let entries = reader.rows::<(String, String)>()?;
    let is_set = |key: &str| entries.iter().any(|(name, value)| name == key && value == "1");
    if is_set(meta_key::FINISHED) || is_set(meta_key::RECOVERED) {
        return Ok(());
    }
    let states = reader.rows::<StateRow>()?;
    check_sites(reader, &states)?;
    check_sizes(reader, &states)?;
    check_names(reader)?;
    check_rows(reader, &states)
}

fn check_sites(reader: &CaptureReader, states: &[StateRow]) -> Result<(), CaptureError> {
    let process_of_thread = reader.process_of_thread()?;
    let peak_epochs = reader.peak_epochs()?;
    let mut sums: FxHashMap<ProcessId, Sums> = FxHashMap::default();
    reader.scan(|site: SiteRow, fields| {
        let Some(process_id) = process_of_thread.get(&site.thread_id) else {
            return Err(fields.damage_in("thread_id", site.thread_id.to_string()));
        };
        let sum = sums.entry(*process_id).or_default();
        let is_of_peak = peak_epochs.get(process_id) == Some(&site.peak_epoch);
        let (peak_count, peak_bytes) = if is_of_peak {
            (site.peak_count, site.peak_bytes)
        } else {
            (site.live_count, site.live_bytes)
        };
        for (total, part) in [
            (&mut sum.alloc_count, site.alloc_count),
            (&mut sum.alloc_bytes, site.alloc_bytes),
            (&mut sum.live_count, site.live_count),
            (&mut sum.live_bytes, site.live_bytes),
            (&mut sum.peak_count, peak_count),
            (&mut sum.peak_bytes, peak_bytes),
        ] {
            *total = total.saturating_add(part);
        }
        Ok(())
    })?;
    let with_state = states.iter().map(|state| state.process_id);
    for process_id in with_state.chain(sums.keys().copied()) {
        let found = sums.get(&process_id).copied().unwrap_or_default();
        let expected = states.iter().find(|state| state.process_id == process_id);
        let expected = expected.map(sums_of).unwrap_or_default();
        for ((what, found), (_, expected)) in found.each().into_iter().zip(expected.each()) {
            require(reader, what, found, expected)?;
        }
    }
    Ok(())
}

fn sums_of(state: &StateRow) -> Sums {
    Sums {
        alloc_count: state.alloc_count,
        alloc_bytes: state.alloc_bytes,
        live_count: state.live_count,
        live_bytes: state.live_bytes,
        peak_count: state.peak_count,
        peak_bytes: state.peak_bytes,
    }
}

fn check_sizes(reader: &CaptureReader, states: &[StateRow]) -> Result<(), CaptureError> {
    let mut bytes: u64 = 0;
    reader.scan(|row: SizeHistogramRow, _fields| {
        bytes = bytes.saturating_add(row.alloc_bytes);
        Ok(())
    })?;
    require(
        reader,
        "the bytes of all sizes",
        bytes,
        total(states, |state| state.alloc_bytes),
    )
}

/// Numbers of stacks and frames have no gaps, so the largest says which are there.
fn check_names(reader: &CaptureReader) -> Result<(), CaptureError> {
    let mut last_frame = 0;
    reader.scan(|frame: FrameRow, _fields| {
        last_frame = frame.frame_id;
        Ok(())
    })?;
    let mut last_stack = 0;
    reader.scan(|stack: StackRow, fields| {
        last_stack = stack.stack_id;
        if stack.frame_id > last_frame {
            return Err(fields.damage_in("frame_id", stack.frame_id.to_string()));
        }
        Ok(())
    })?;
    reader.scan(|site: SiteRow, fields| {
        if site.stack_id > last_stack {
            return Err(fields.damage_in("stack_id", site.stack_id.to_string()));
        }
        Ok(())
    })
}

fn check_rows(reader: &CaptureReader, states: &[StateRow]) -> Result<(), CaptureError> {
    let losses = reader.rows::<LossRow>()?;
    if losses
        .iter()
        .any(|loss| loss.reason == WITHOUT_ROWS && loss.events > 0)
    {
        return Ok(());
    }
    let mut live_bytes: u64 = 0;
    reader.scan(|row: LiveRow, _fields| {
        live_bytes = live_bytes.saturating_add(row.size);
        Ok(())
    })?;
    require(
        reader,
        "the bytes of live rows",
        live_bytes,
        total(states, |state| state.live_bytes),
    )?;
    let mut bytes = live_bytes;
    reader.scan(|row: Ended, _fields| {
        bytes = bytes.saturating_add(row.size);
        Ok(())
    })?;
    require(
        reader,
        "the bytes of all rows",
        bytes,
        total(states, |state| state.alloc_bytes),
    )
}

fn total(states: &[StateRow], part: impl Fn(&StateRow) -> u64) -> u64 {
    states.iter().map(part).fold(0, u64::saturating_add)
}

fn require(reader: &CaptureReader, what: &str, found: u64, expected: u64) -> Result<(), CaptureError> {
    if found == expected {
        return Ok(());
    }
    Err(failure::contradictory(&reader.path, what, found, expected))
}
