//! The memory curve of a capture: all processes summed, thinned to what a plot can show.

use rustc_hash::FxHashMap;

use crate::model::{ProcessId, TimelineRow};

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

/// At most `limit` points. Where points are joined, the last state and the highest maximum are kept, so a peak never
/// disappears.
pub fn timeline(rows: &[TimelineRow], limit: usize) -> Vec<TimelinePoint> {
    let points = sum_processes(rows);
    let group = points.len().div_ceil(limit.max(1)).max(1);
    points
        .chunks(group)
        .map(|joined| TimelinePoint {
            max_bytes: joined.iter().map(|point| point.max_bytes).max().unwrap_or(0),
            ..joined[joined.len() - 1]
        })
        .collect()
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
        let resident: Vec<Option<u64>> = timeline(&rows, 10).iter().map(|point| point.rss_bytes).collect();
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
            timeline(&rows, limit)
                .iter()
                .map(|point| (point.ts, point.live_bytes, point.max_bytes))
                .collect()
        };
        assert_eq!(figures(10), [(10, 105, 150), (20, 55, 125), (30, 50, 59)]);
        assert_eq!(figures(2), [(20, 55, 150), (30, 50, 59)]);
        assert_eq!(figures(0), [(30, 50, 150)]);
        assert_eq!(timeline(&[], 10), []);
    }
}
