//! Memory beside the figures of the heap: what was resident, and what was mapped that is no heap.

use rustc_hash::FxHashMap;

use crate::model::{MappingKind, MappingTotalsRow, ProcessId, Resident, TimelineRow};

/// The most that was resident; of several processes each one's own, added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakResident {
    pub rss_bytes: u64,
    /// What it was made of; None in captures that do not know.
    pub parts: Option<Resident>,
}

/// None where it was never sampled.
pub fn peak_resident(rows: &[TimelineRow]) -> Option<PeakResident> {
    let mut highest: FxHashMap<ProcessId, TimelineRow> = FxHashMap::default();
    for row in rows.iter().filter(|row| row.rss_bytes.is_some()) {
        let highest = highest.entry(row.process_id).or_insert(*row);
        if row.rss_bytes > highest.rss_bytes {
            *highest = *row;
        }
    }
    let peaks = highest.values().map(|row| PeakResident {
        rss_bytes: row.rss_bytes.unwrap_or(0),
        parts: parts(row),
    });
    // Sums: in any order the same.
    peaks.reduce(|sum, peak| PeakResident {
        rss_bytes: sum.rss_bytes.saturating_add(peak.rss_bytes),
        parts: sum.parts.zip(peak.parts).map(|(sum, peak)| Resident {
            rss_bytes: sum.rss_bytes.saturating_add(peak.rss_bytes),
            anon_bytes: sum.anon_bytes.saturating_add(peak.anon_bytes),
            file_bytes: sum.file_bytes.saturating_add(peak.file_bytes),
            shmem_bytes: sum.shmem_bytes.saturating_add(peak.shmem_bytes),
        }),
    })
}

fn parts(row: &TimelineRow) -> Option<Resident> {
    Some(Resident {
        rss_bytes: row.rss_bytes?,
        anon_bytes: row.rss_anon_bytes?,
        file_bytes: row.rss_file_bytes?,
        shmem_bytes: row.rss_shmem_bytes?,
    })
}

/// Mappings of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedFigures {
    pub kind: MappingKind,
    /// The highest of each process, added up.
    pub highest_bytes: u64,
    /// What was there at the end.
    pub live_bytes: u64,
}

/// The kinds of which something was mapped, all processes together.
pub fn mapped(rows: &[MappingTotalsRow]) -> Vec<MappedFigures> {
    let of_kind = |kind: MappingKind| {
        let rows = rows.iter().filter(|row| row.kind == kind);
        let none = MappedFigures {
            kind,
            highest_bytes: 0,
            live_bytes: 0,
        };
        rows.fold(none, |sum, row| MappedFigures {
            kind,
            highest_bytes: sum.highest_bytes.saturating_add(row.highest_bytes),
            live_bytes: sum.live_bytes.saturating_add(row.live_bytes),
        })
    };
    MappingKind::ALL
        .into_iter()
        .map(of_kind)
        .filter(|figures| figures.highest_bytes > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(process_id: ProcessId, rss_bytes: Option<u64>, parts: Option<[u64; 3]>) -> TimelineRow {
        TimelineRow {
            process_id,
            rss_bytes,
            rss_anon_bytes: parts.map(|parts| parts[0]),
            rss_file_bytes: parts.map(|parts| parts[1]),
            rss_shmem_bytes: parts.map(|parts| parts[2]),
            ..TimelineRow::default()
        }
    }

    #[test]
    fn peaks_of_processes_add_up() {
        let check = |rows: &[TimelineRow], expect: Option<(u64, Option<[u64; 3]>)>| {
            let found = peak_resident(rows).map(|peak| {
                let parts = peak
                    .parts
                    .map(|parts| [parts.anon_bytes, parts.file_bytes, parts.shmem_bytes]);
                (peak.rss_bytes, parts)
            });
            assert_eq!(found, expect, "{rows:?}");
        };
        check(&[], None);
        check(&[row(1, None, None)], None);
        check(&[row(1, Some(5), None), row(1, Some(7), None)], Some((7, None)));
        check(
            &[
                row(1, Some(6), Some([1, 2, 3])),
                row(1, Some(5), Some([5, 0, 0])),
                row(1, None, None),
            ],
            Some((6, Some([1, 2, 3]))),
        );
        check(
            &[
                row(1, Some(6), Some([1, 2, 3])),
                row(2, Some(u64::MAX), Some([7, 8, 9])),
            ],
            Some((u64::MAX, Some([8, 10, 12]))),
        );
    }

    #[test]
    fn kinds_of_processes_add_up() {
        let row = |process_id, kind, highest_bytes, live_bytes| MappingTotalsRow {
            process_id,
            kind,
            map_count: 1,
            map_bytes: 1,
            live_count: 1,
            live_bytes,
            highest_bytes,
            highest_ts: 1,
            heap_peak_bytes: 0,
        };
        let rows = [
            row(1, MappingKind::Stack, 10, 0),
            row(1, MappingKind::File, 0, 0),
            row(2, MappingKind::Stack, 5, 5),
            row(2, MappingKind::Reserved, 1, 1),
        ];
        let found: Vec<_> = mapped(&rows)
            .iter()
            .map(|figures| (figures.kind, figures.highest_bytes, figures.live_bytes))
            .collect();
        assert_eq!(
            found,
            [(MappingKind::Reserved, 1, 1), (MappingKind::Stack, 15, 5)]
        );
    }
}
