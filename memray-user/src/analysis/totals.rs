//! The whole recording in a few numbers, all processes together.

use crate::model::CaptureMetadata;

/// Sums over the processes of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub alloc_count: u64,
    pub alloc_bytes: u64,
    pub free_count: u64,
    pub live_count: u64,
    pub live_bytes: u64,
    /// Each process's own peak; with several processes an upper bound of what they held at one time.
    pub peak_bytes: u64,
    pub peak_count: u64,
    /// When the peak was, where there is one process: nanoseconds since the clock base.
    pub peak_ts: Option<u64>,
    /// Smallest and largest allocation; both 0 while there is none.
    pub min_size: u64,
    pub max_size: u64,
    pub startup_count: u64,
    pub startup_bytes: u64,
    /// Time of the last commit, nanoseconds since the clock base.
    pub last_ts: u64,
}

impl Totals {
    pub fn new(metadata: &CaptureMetadata) -> Self {
        let mut totals = Self::default();
        let mut min_size = None;
        for state in &metadata.states {
            totals.alloc_count = totals.alloc_count.saturating_add(state.alloc_count);
            totals.alloc_bytes = totals.alloc_bytes.saturating_add(state.alloc_bytes);
            totals.free_count = totals.free_count.saturating_add(state.free_count);
            totals.live_count = totals.live_count.saturating_add(state.live_count);
            totals.live_bytes = totals.live_bytes.saturating_add(state.live_bytes);
            totals.peak_bytes = totals.peak_bytes.saturating_add(state.peak_bytes);
            totals.peak_count = totals.peak_count.saturating_add(state.peak_count);
            totals.startup_count = totals.startup_count.saturating_add(state.startup_count);
            totals.startup_bytes = totals.startup_bytes.saturating_add(state.startup_bytes);
            totals.max_size = totals.max_size.max(state.max_size);
            totals.last_ts = totals.last_ts.max(state.last_ts);
            if state.alloc_count > 0 {
                min_size = Some(min_size.map_or(state.min_size, |size: u64| size.min(state.min_size)));
            }
        }
        totals.min_size = min_size.unwrap_or(0);
        if let [state] = metadata.states.as_slice()
            && state.peak_bytes > 0
        {
            totals.peak_ts = Some(state.peak_ts);
        }
        totals
    }

    /// Milliseconds from start to end, or to the last commit of a recording that has no end.
    pub fn duration_ms(&self, metadata: &CaptureMetadata) -> u64 {
        match metadata.ended_at_ms {
            Some(ended_at_ms) => ended_at_ms.saturating_sub(metadata.started_at_ms),
            None => self.last_ts / 1_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StateRow;

    #[test]
    fn processes_add_up_and_idle_ones_have_no_smallest_size() {
        let state = |alloc_count, min_size, max_size, peak_bytes| StateRow {
            alloc_count,
            min_size,
            max_size,
            peak_bytes,
            peak_ts: 5,
            last_ts: 7_000_000,
            ..StateRow::default()
        };
        let mut metadata = CaptureMetadata {
            states: vec![state(2, 8, 100, 50), state(0, 0, 0, 0), state(1, 20, 20, 7)],
            ..CaptureMetadata::default()
        };
        let totals = Totals::new(&metadata);
        assert_eq!(
            (totals.alloc_count, totals.min_size, totals.max_size),
            (3, 8, 100)
        );
        assert_eq!((totals.peak_bytes, totals.peak_ts), (57, None));
        assert_eq!(totals.duration_ms(&metadata), 7);
        metadata.states.truncate(1);
        assert_eq!(Totals::new(&metadata).peak_ts, Some(5));
    }
}
