//! The course of the heap over time: per process in intervals of 10 ms or what was asked for, per site in longer ones.
//!
//! Intervals in which nothing happened have no row. A row's `ts` is the beginning of its interval. Rows are final:
//! an interval is closed when a later event has come, or when [`CLOSE_LAG_NS`] have passed, after which the clock
//! of `ingest` keeps late events out of it.

use std::num::NonZeroU32;

use super::totals::Totals;
use crate::model::{MappingKind, ProcessId, Resident, TimelineRow};

/// Length of the interval that one [`TimelineRow`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    ns: u64,
}

impl Interval {
    pub fn of_ms(ms: NonZeroU32) -> Self {
        Self {
            ns: u64::from(ms.get()) * 1_000_000,
        }
    }

    pub fn ns(self) -> u64 {
        self.ns
    }
}

impl Default for Interval {
    /// memray samples as often.
    fn default() -> Self {
        Self { ns: 10_000_000 }
    }
}

/// Shortest interval of the site timeline.
pub const SITE_INTERVAL_NS: u64 = 500_000_000;

/// The site timeline has about this many intervals at most for each doubling of the time recorded.
const SITE_INTERVALS: u64 = 1000;

/// How long after the end of an interval records that belong to it are still waited for. The collector reads the
/// ring each millisecond.
pub const CLOSE_LAG_NS: u64 = 100_000_000;

#[derive(Clone, Copy, Debug)]
struct Open {
    start: u64,
    max_bytes: u64,
    alloc_count: u64,
    alloc_bytes: u64,
    free_count: u64,
    free_bytes: u64,
    resident: Option<Resident>,
}

/// The timeline of one process.
#[derive(Debug, Default)]
pub struct Timeline {
    interval: Interval,
    open: Option<Open>,
    /// End of the open interval; 0 while none is open.
    end: u64,
    closed: Vec<TimelineRow>,
}

impl Timeline {
    pub fn new(interval: Interval) -> Self {
        Self {
            interval,
            ..Self::default()
        }
    }

    /// To be called with the totals before each change of them.
    pub fn before_change(&mut self, ts: u64, process_id: ProcessId, totals: &Totals) {
        if ts >= self.end {
            self.close(process_id, totals);
            self.begin(ts, totals);
        }
    }

    /// To be called after live bytes have grown.
    pub fn grown(&mut self, live_bytes: u64) {
        if let Some(open) = &mut self.open {
            open.max_bytes = open.max_bytes.max(live_bytes);
        }
    }

    pub fn sample_rss(&mut self, ts: u64, resident: Resident, process_id: ProcessId, totals: &Totals) {
        self.before_change(ts, process_id, totals);
        if let Some(open) = &mut self.open {
            open.resident = Some(resident);
        }
    }

    /// Closes the interval if it ended [`CLOSE_LAG_NS`] before `ts`. Returns the end of what has been closed: no
    /// later event may come before it.
    pub fn close_before(&mut self, ts: u64, process_id: ProcessId, totals: &Totals) -> Option<u64> {
        let end = self.end;
        (self.open.is_some() && end.saturating_add(CLOSE_LAG_NS) <= ts).then(|| {
            self.close(process_id, totals);
            end
        })
    }

    pub fn close(&mut self, process_id: ProcessId, totals: &Totals) {
        self.end = 0;
        let Some(open) = self.open.take() else { return };
        let mapped = totals.mapped.live_bytes();
        let mapped = |kind: MappingKind| Some(mapped[kind as usize]);
        self.closed.push(TimelineRow {
            process_id,
            ts: open.start,
            live_bytes: totals.live_bytes,
            live_count: totals.live_count,
            max_bytes: open.max_bytes,
            alloc_count: totals.alloc_count - open.alloc_count,
            alloc_bytes: totals.alloc_bytes.wrapping_sub(open.alloc_bytes),
            free_count: totals.free_count - open.free_count,
            free_bytes: totals.free_bytes().wrapping_sub(open.free_bytes),
            rss_bytes: open.resident.map(|resident| resident.rss_bytes),
            rss_anon_bytes: open.resident.map(|resident| resident.anon_bytes),
            rss_file_bytes: open.resident.map(|resident| resident.file_bytes),
            rss_shmem_bytes: open.resident.map(|resident| resident.shmem_bytes),
            mapped_reserved_bytes: mapped(MappingKind::Reserved),
            mapped_file_bytes: mapped(MappingKind::File),
            mapped_shared_file_bytes: mapped(MappingKind::SharedFile),
            mapped_stack_bytes: mapped(MappingKind::Stack),
        });
    }

    pub fn take_rows(&mut self, rows: &mut Vec<TimelineRow>) {
        rows.append(&mut self.closed);
    }

    fn begin(&mut self, ts: u64, totals: &Totals) {
        let start = ts - ts % self.interval.ns;
        self.end = start.saturating_add(self.interval.ns);
        self.open = Some(Open {
            start,
            max_bytes: totals.live_bytes,
            alloc_count: totals.alloc_count,
            alloc_bytes: totals.alloc_bytes,
            free_count: totals.free_count,
            free_bytes: totals.free_bytes(),
            resident: None,
        });
    }
}

/// The intervals of the site timeline: `max(500 ms, time recorded / 1000)` long, so that their number is bounded
/// however long the recording is.
#[derive(Debug, Default)]
pub struct SiteIntervals {
    start: u64,
    end: u64,
}

impl SiteIntervals {
    /// The beginning of the interval that ends because `ts` lies behind it, if one does; a new one is begun.
    pub fn advance(&mut self, ts: u64) -> Option<u64> {
        (ts >= self.end).then(|| {
            let ended = self.start;
            self.start = (ts - ts % SITE_INTERVAL_NS).max(self.end);
            self.end = self
                .start
                .saturating_add(SITE_INTERVAL_NS.max(ts / SITE_INTERVALS));
            ended
        })
    }

    /// The interval's beginning, if it ended [`CLOSE_LAG_NS`] before `ts`; a new one is begun, and no later event
    /// may come before its [`SiteIntervals::start`].
    pub fn close_before(&mut self, ts: u64) -> Option<u64> {
        let due = self.end > 0 && self.end.saturating_add(CLOSE_LAG_NS) <= ts;
        if due {
            self.advance(ts - CLOSE_LAG_NS)
        } else {
            None
        }
    }

    pub fn start(&self) -> u64 {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn resident(rss_bytes: u64) -> Resident {
        Resident {
            rss_bytes,
            ..Resident::default()
        }
    }

    /// Steps: time in ms and bytes, negative for a free.
    fn rows(steps: &[(u64, i64)]) -> Vec<(u64, u64, u64, u64, u64)> {
        let mut timeline = Timeline::default();
        let mut totals = Totals::default();
        for &(ms, bytes) in steps {
            timeline.before_change(ms * MS, 1, &totals);
            if bytes >= 0 {
                totals.grow(bytes.unsigned_abs(), ms * MS);
                timeline.grown(totals.live_bytes);
            } else {
                totals.shrink(bytes.unsigned_abs(), 1, ms * MS);
            }
        }
        timeline.close(1, &totals);
        let mut rows = Vec::new();
        timeline.take_rows(&mut rows);
        rows.iter()
            .map(|row| {
                (
                    row.ts / MS,
                    row.live_bytes,
                    row.max_bytes,
                    row.alloc_count,
                    row.free_bytes,
                )
            })
            .collect()
    }

    #[test]
    fn intervals_know_their_maximum_and_their_end() {
        assert_eq!(rows(&[]), []);
        assert_eq!(rows(&[(3, 10), (5, 20), (9, -20)]), [(0, 10, 30, 2, 20)]);
        assert_eq!(
            rows(&[(3, 10), (10, -10)]),
            [(0, 10, 10, 1, 0), (10, 0, 10, 0, 10)]
        );
        assert_eq!(
            rows(&[(3, 10), (9999, 5)]),
            [(0, 10, 10, 1, 0), (9990, 15, 15, 1, 0)]
        );
    }

    #[test]
    fn an_interval_is_closed_once_records_for_it_are_unlikely() {
        let (mut timeline, totals) = (Timeline::default(), Totals::default());
        timeline.sample_rss(3 * MS, resident(77), 1, &totals);
        assert_eq!(timeline.close_before(109 * MS, 1, &totals), None);
        assert_eq!(timeline.close_before(110 * MS, 1, &totals), Some(10 * MS));
        assert_eq!(timeline.close_before(999 * MS, 1, &totals), None);
        let mut rows = Vec::new();
        timeline.take_rows(&mut rows);
        assert_eq!((rows.len(), rows[0].rss_bytes), (1, Some(77)));
    }

    #[test]
    fn intervals_are_as_long_as_asked_for() {
        let mut timeline = Timeline::new(Interval::of_ms(NonZeroU32::new(250).unwrap()));
        let totals = Totals::default();
        for ms in [249, 251, 499, 1300] {
            timeline.sample_rss(ms * MS, resident(ms), 1, &totals);
        }
        timeline.close(1, &totals);
        let mut rows = Vec::new();
        timeline.take_rows(&mut rows);
        let rows: Vec<_> = rows.iter().map(|row| (row.ts / MS, row.rss_bytes)).collect();
        assert_eq!(rows, [(0, Some(249)), (250, Some(499)), (1250, Some(1300))]);
    }

    #[test]
    fn site_intervals_grow_with_the_time_recorded() {
        let mut intervals = SiteIntervals::default();
        assert_eq!(intervals.close_before(10_000 * MS), None);
        for (ms, ended, start, end) in [
            (7, Some(0), 0, 500),
            (499, None, 0, 500),
            (500, Some(0), 500, 1000),
            (2600, Some(500), 2500, 3000),
            (1_000_000, Some(2500), 1_000_000, 1_001_000),
            (1_000_999, None, 1_000_000, 1_001_000),
            (1_001_200, Some(1_000_000), 1_001_000, 1_002_001),
        ] {
            assert_eq!(intervals.advance(ms * MS), ended.map(|ms: u64| ms * MS), "{ms}");
            assert_eq!((intervals.start / MS, intervals.end / MS), (start, end), "{ms}");
        }
        assert_eq!(intervals.close_before(1_002_050 * MS), None);
        assert_eq!(intervals.close_before(1_003_000 * MS), Some(1_001_000 * MS));
    }
}
