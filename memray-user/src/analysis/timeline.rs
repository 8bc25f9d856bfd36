//! The memory curve of a capture: all processes summed, thinned to what a plot can show.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::model::{ProcessId, ProcessRow, TimelineRow};

/// The state of the heap from `ts` on, until the next point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelinePoint {
    /// Nanoseconds since the clock base.
    pub ts: u64,
    pub live_bytes: u64,
    /// Highest live bytes since the point before. With several processes: the others as they last were.
    pub max_bytes: u64,
    pub rss_bytes: Option<u64>,
}

/// At most `limit` points. What a process held is gone when it ends, and the others go on; what the last one held
/// stays, so that the curve of a single process ends with what it never freed. Where points are joined, the last state and the highest maximum are kept, so a peak never
/// disappears.
pub fn timeline(rows: &[TimelineRow], processes: &[ProcessRow], limit: usize) -> Vec<TimelinePoint> {
    let points = sum_processes(&with_ends(rows, processes));
    let group = points.len().div_ceil(limit.max(1)).max(1);
    points
        .chunks(group)
        .map(|joined| TimelinePoint {
            max_bytes: joined.iter().map(|point| point.max_bytes).max().unwrap_or(0),
            ..joined[joined.len() - 1]
        })
        .collect()
}

/// Where the curve is highest; of equal points the last.
pub fn highest(points: &[TimelinePoint]) -> Option<TimelinePoint> {
    points.iter().copied().max_by_key(|point| point.max_bytes)
}

/// The rows in order of time, and an empty one at the end of each process that others outlive.
fn with_ends<'rows>(rows: &'rows [TimelineRow], processes: &[ProcessRow]) -> Cow<'rows, [TimelineRow]> {
    let end = |row: &ProcessRow| row.ended_ns.unwrap_or(u64::MAX);
    let last_end = processes.iter().map(end).max().unwrap_or(0);
    let ends = processes.iter().filter(|row| end(row) < last_end);
    let mut last_ts: FxHashMap<ProcessId, u64> = ends.clone().map(|row| (row.process_id, end(row))).collect();
    if last_ts.is_empty() {
        return Cow::Borrowed(rows);
    }
    // A row behind the end is a damaged file's; what it says was so before the end.
    for row in rows {
        if let Some(last_ts) = last_ts.get_mut(&row.process_id) {
            *last_ts = row.ts.max(*last_ts);
        }
    }
    let ends = ends.map(|row| TimelineRow {
        process_id: row.process_id,
        ts: last_ts[&row.process_id],
        rss_bytes: Some(0),
        ..TimelineRow::default()
    });
    let mut all: Vec<TimelineRow> = rows.iter().copied().chain(ends).collect();
    // Stable: the end of a process stays behind its last row.
    all.sort_by_key(|row| row.ts);
    Cow::Owned(all)
}

fn sum_processes(rows: &[TimelineRow]) -> Vec<TimelinePoint> {
    let mut last: FxHashMap<ProcessId, TimelineRow> = FxHashMap::default();
    let mut live_bytes: u64 = 0;
    let mut rss_bytes: Option<u64> = None;
    let mut points: Vec<TimelinePoint> = Vec::with_capacity(rows.len());
    for &row in rows {
        let before = last.get(&row.process_id).copied().unwrap_or_default();
        // Not sampled in this interval: as it last was.
        let resident = row.rss_bytes.or(before.rss_bytes);
        last.insert(
            row.process_id,
            TimelineRow {
                rss_bytes: resident,
                ..row
            },
        );
        let others = live_bytes.saturating_sub(before.live_bytes);
        live_bytes = others.saturating_add(row.live_bytes);
        if let Some(resident) = resident {
            let others = rss_bytes
                .unwrap_or(0)
                .saturating_sub(before.rss_bytes.unwrap_or(0));
            rss_bytes = Some(resident.saturating_add(others));
        }
        let max_bytes = others.saturating_add(row.max_bytes.max(row.live_bytes));
        match points.last_mut() {
            Some(point) if point.ts >= row.ts => {
                *point = TimelinePoint {
                    ts: point.ts,
                    live_bytes,
                    max_bytes: max_bytes.max(point.max_bytes),
                    rss_bytes,
                };
            }
            _ => points.push(TimelinePoint {
                ts: row.ts,
                live_bytes,
                max_bytes,
                rss_bytes,
            }),
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(process_id: ProcessId, ts: u64, live_bytes: u64, max_bytes: u64) -> TimelineRow {
        TimelineRow {
            process_id,
            ts,
            live_bytes,
            max_bytes,
            ..TimelineRow::default()
        }
    }

    #[test]
    fn resident_bytes_last_until_the_next_sample() {
        let sampled = |process_id, ts, rss_bytes| TimelineRow {
            rss_bytes,
            ..row(process_id, ts, 0, 0)
        };
        let rows = [
            sampled(1, 10, Some(100)),
            sampled(1, 20, None),
            sampled(1, 30, Some(120)),
            sampled(2, 40, Some(7)),
            sampled(1, 50, None),
            sampled(2, 60, Some(5)),
        ];
        let resident: Vec<Option<u64>> = timeline(&rows, &[], 10)
            .iter()
            .map(|point| point.rss_bytes)
            .collect();
        assert_eq!(resident, [100, 100, 120, 127, 127, 125].map(Some));
    }

    #[test]
    fn processes_are_summed_and_peaks_survive_thinning() {
        let rows = [
            row(1, 10, 100, 150),
            row(2, 10, 5, 5),
            row(1, 20, 50, 120),
            row(2, 30, 0, 9),
        ];
        let figures = |limit| -> Vec<(u64, u64, u64)> {
            timeline(&rows, &[], limit)
                .iter()
                .map(|point| (point.ts, point.live_bytes, point.max_bytes))
                .collect()
        };
        assert_eq!(figures(10), [(10, 105, 150), (20, 55, 125), (30, 50, 59)]);
        assert_eq!(figures(2), [(20, 55, 150), (30, 50, 59)]);
        assert_eq!(figures(0), [(30, 50, 150)]);
        assert_eq!(timeline(&[], &[], 10), []);
    }

    #[test]
    fn processes_that_ended_hold_nothing() {
        let process = |process_id, ended_ns| ProcessRow {
            process_id,
            ended_ns,
            ..ProcessRow::default()
        };
        let rows = [
            row(1, 10, 100, 100),
            row(2, 20, 5, 5),
            row(1, 30, 80, 90),
            row(2, 40, 7, 7),
        ];
        let figures = |processes: &[ProcessRow]| -> Vec<(u64, u64, u64)> {
            timeline(&rows, processes, 10)
                .iter()
                .map(|point| (point.ts, point.live_bytes, point.max_bytes))
                .collect()
        };
        let begin = [(10, 100, 100), (20, 105, 105), (30, 85, 95)];
        let check = |ends: [Option<u64>; 2], expect: &[(u64, u64, u64)]| {
            let found = figures(&[process(1, ends[0]), process(2, ends[1])]);
            assert_eq!(found, [&begin, expect].concat(), "{ends:?}");
        };
        check([None, None], &[(40, 87, 87)]);
        check([Some(50), Some(50)], &[(40, 87, 87)]);
        check([Some(35), None], &[(35, 5, 5), (40, 7, 7)]);
        check([Some(35), Some(40)], &[(35, 5, 5), (40, 7, 7)]);
        check([Some(60), Some(50)], &[(40, 87, 87), (50, 80, 80)]);
        // An end before the row that tells of it.
        assert_eq!(
            figures(&[process(1, Some(25)), process(2, None)])[2..],
            [(30, 5, 95), (40, 7, 7)]
        );
        assert_eq!(figures(&[process(1, Some(35))])[3], (40, 87, 87));
    }

    #[test]
    fn resident_bytes_end_with_their_process() {
        let sampled = |process_id, ts, rss_bytes| TimelineRow {
            rss_bytes: Some(rss_bytes),
            ..row(process_id, ts, 0, 0)
        };
        let process = |process_id, ended_ns| ProcessRow {
            process_id,
            ended_ns,
            ..ProcessRow::default()
        };
        let rows = [sampled(1, 10, 100), sampled(2, 20, 30)];
        let points = timeline(&rows, &[process(1, Some(25)), process(2, None)], 10);
        let resident: Vec<_> = points.iter().map(|point| point.rss_bytes).collect();
        assert_eq!(resident, [100, 130, 30].map(Some));
    }
}
