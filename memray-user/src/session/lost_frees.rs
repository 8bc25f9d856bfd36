//! Brings the frees that found no room in the ring to `ingest`, at the right place in the order of events.
//!
//! A free is lost only while the ring is nearly full, so the reader of the ring is most of a ring behind it then. If the
//! table is looked at before each quarter of a ring, every free is known before its place in the ring is reached.

use memray_ebpf::stat::StatId;

use crate::{
    bpf::{BpfError, Counters, LostFrees, Recorder, RingPosition, RingReader},
    ingest::Ingest,
};

/// See the module.
#[derive(Debug)]
pub(super) struct LostFreeReader {
    table: LostFrees,
    /// Frees that had been put into the table when it was last emptied.
    noted: u64,
    /// Something was taken out since `settles_at` was set.
    has_taken: bool,
    /// Records from before what was taken out end here.
    settles_at: Option<RingPosition>,
    quarter_bytes: u64,
}

impl LostFreeReader {
    pub(super) fn new(recorder: &Recorder, ring_bytes: u32) -> Result<Self, BpfError> {
        Ok(Self {
            table: recorder.take_lost_frees()?,
            noted: 0,
            has_taken: false,
            settles_at: None,
            quarter_bytes: u64::from(ring_bytes / 4),
        })
    }

    /// To be called before records are taken; returns how far they may be taken until it is called again.
    pub(super) fn look(
        &mut self,
        ring: &RingReader,
        counters: &Counters,
        ingest: &mut Ingest,
    ) -> RingPosition {
        if let Some(end) = self.settles_at(ring) {
            if !ring.has_passed(end) {
                return end;
            }
            self.settles_at = None;
            ingest.settle_lost_frees();
        }
        self.take(counters, ingest);
        self.settles_at(ring).unwrap_or_else(|| ring.ahead(self.quarter_bytes))
    }

    /// Takes what is in the table. What cannot be read stays there and is tried again.
    pub(super) fn take(&mut self, counters: &Counters, ingest: &mut Ingest) {
        let Ok(noted) = counters.one(StatId::FreeNoted) else {
            return;
        };
        if noted == self.noted {
            return;
        }
        let Ok(frees) = self.table.take() else {
            return;
        };
        self.noted = noted;
        for free in frees {
            ingest.lost_free(free.pid, free.address, free.time_ns);
        }
        self.has_taken = true;
    }

    /// How far the ring must be read before all that was taken out can take effect.
    pub(super) fn settles_at(&mut self, ring: &RingReader) -> Option<RingPosition> {
        if std::mem::take(&mut self.has_taken) {
            self.settles_at = Some(ring.end());
        }
        self.settles_at
    }
}
