//! The views of a capture, site by site.

use rustc_hash::FxHashMap;

use super::{CaptureReader, failure};
use crate::{
    model::{Allocator, CaptureError, FreedRow, SiteFigures, SiteRow, StackId, ThreadId, View},
    store::tables::{Damage, Fields, Table},
};

/// The threshold of temporary allocations whose totals every capture has: memray's default.
pub(super) const COUNTED_THRESHOLD: u64 = 1;

/// Of an allocation that has ended, what a threshold asks for: ten million of them are read at a time.
pub(super) struct Ended {
    stack_id: StackId,
    thread_id: ThreadId,
    allocator: Allocator,
    pub(super) size: u64,
    allocations_between: u64,
}

impl Table for Ended {
    const NAME: &'static str = FreedRow::NAME;
    const COLUMNS: &'static [&'static str] = &[
        "stack_id",
        "thread_id",
        "allocator_id",
        "size",
        "allocations_between",
    ];

    fn read(fields: &mut Fields<'_>) -> Result<Self, Damage> {
        Ok(Self {
            stack_id: fields.id()?,
            thread_id: fields.id()?,
            allocator: fields.allocator()?,
            size: fields.integer()?,
            allocations_between: fields.integer()?,
        })
    }
}

impl CaptureReader {
    pub(super) fn sites_from_totals(&self, view: View) -> Result<Vec<SiteFigures>, CaptureError> {
        let mut figures = Vec::new();
        self.scan(|site: SiteRow, _fields| {
            let (count, bytes) = match view {
                View::Leaks | View::HighWaterMark => (site.live_count, site.live_bytes),
                View::Temporary { .. } => (site.temp_count, site.temp_bytes),
                View::All => (site.alloc_count, site.alloc_bytes),
            };
            figures.extend(contribution(&site, count, bytes));
            Ok(())
        })?;
        Ok(figures)
    }

    /// Each process has its own peak. A site whose `peak_epoch` is not that of its process has not changed since
    /// the peak, so what lives now lived then; so has one whose process has no state.
    pub(super) fn sites_at_peak(&self) -> Result<Vec<SiteFigures>, CaptureError> {
        let process_of_thread = self.process_of_thread()?;
        let peak_epochs = self.peak_epochs()?;
        let mut figures = Vec::new();
        self.scan(|site: SiteRow, _fields| {
            let process_id = process_of_thread.get(&site.thread_id);
            let peak_epoch = process_id.and_then(|process_id| peak_epochs.get(process_id));
            let (count, bytes) = if peak_epoch == Some(&site.peak_epoch) {
                (site.peak_count, site.peak_bytes)
            } else {
                (site.live_count, site.live_bytes)
            };
            figures.extend(contribution(&site, count, bytes));
            Ok(())
        })?;
        Ok(figures)
    }

    /// Temporary allocations of any threshold, from every allocation that has ended: about a second for ten
    /// million.
    pub(super) fn sites_from_rows(&self, threshold: u64) -> Result<Vec<SiteFigures>, CaptureError> {
        let mut figures = Vec::new();
        let mut index_of_site: FxHashMap<(StackId, ThreadId, Allocator), usize> = FxHashMap::default();
        let mut freed_count: u64 = 0;
        self.scan(|site: SiteRow, _fields| {
            freed_count = freed_count.saturating_add(site.alloc_count.saturating_sub(site.live_count));
            index_of_site.insert((site.stack_id, site.thread_id, site.allocator), figures.len());
            figures.push(site_figures(&site, 0, 0));
            Ok(())
        })?;
        let mut row_count: u64 = 0;
        self.scan(|ended: Ended, fields| {
            row_count += 1;
            if ended.allocations_between > threshold {
                return Ok(());
            }
            let key = (ended.stack_id, ended.thread_id, ended.allocator);
            let Some(site) = index_of_site.get(&key).and_then(|index| figures.get_mut(*index)) else {
                return Err(fields.damage_in("stack_id", ended.stack_id.to_string()));
            };
            site.count = site.count.saturating_add(1);
            site.bytes = site.bytes.saturating_add(ended.size);
            Ok(())
        })?;
        if row_count < freed_count {
            return Err(failure::rows_missing(&self.path, threshold));
        }
        figures.retain(|site| site.count > 0 || site.bytes > 0);
        Ok(figures)
    }
}

fn contribution(site: &SiteRow, count: u64, bytes: u64) -> Option<SiteFigures> {
    (count > 0 || bytes > 0).then(|| site_figures(site, count, bytes))
}

fn site_figures(site: &SiteRow, count: u64, bytes: u64) -> SiteFigures {
    SiteFigures {
        stack_id: site.stack_id,
        thread_id: site.thread_id,
        allocator: site.allocator,
        bytes,
        count,
    }
}
