//! Brings the frees that found no room in the ring to `ingest`, at the right place in the order of events.
//!
//! A free is lost only while the ring is nearly full, so the reader of the ring is most of a ring behind it then. If the
//! table is looked at before each quarter of a ring, every free is known before its place in the ring is reached. While
//! frees are lost the ring is read to where it ended before the table was emptied, and the table is emptied again.

use memray_ebpf::stat::StatId;

use crate::{
    bpf::{BpfError, Counters, LostFrees, Recorder, RingPosition, RingReader},
    ingest::Ingest,
};

/// Turns after which what was taken out has taken effect.
pub(super) const TURNS: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct LostFreeReader {
    table: LostFrees,
    /// Frees that had been put into the table when it was last emptied.
    noted: u64,
    /// Turns to come until all that was taken out has taken effect.
    turns: u32,
    /// How far the ring is to be read before the table is looked at again.
    until: Option<RingPosition>,
    quarter_bytes: u64,
}

impl LostFreeReader {
    pub(super) fn new(recorder: &Recorder, ring_bytes: u32) -> Result<Self, BpfError> {
        Ok(Self {
            table: recorder.take_lost_frees()?,
            noted: 0,
            turns: 0,
            until: None,
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
        if let Some(until) = self.until.filter(|&until| !ring.has_passed(until)) {
            return until;
        }
        let end = ring.end();
        if self.turns > 0 {
            self.turns -= 1;
            ingest.turn_lost_frees();
        }
        self.take(counters, ingest);
        self.until = (self.turns > 0).then_some(end);
        self.until.unwrap_or_else(|| ring.ahead(self.quarter_bytes))
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
        self.turns = TURNS;
        for free in frees {
            ingest.lost_free(free.pid, free.address, free.time_ns);
        }
    }

    /// How far the ring must be read before the next turn, if there must be one.
    pub(super) fn until(&self) -> Option<RingPosition> {
        self.until
    }
}
