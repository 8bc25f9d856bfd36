//! What the programs remember of each process, kept here too, so that it can be taken out when the process ends.
//!
//! The kernel's tables of stacks and code objects are keyed by what cannot be enumerated by process. A process adds to
//! them by records that pass through here.

use memray_ebpf::{event::RecordKind, limits::MAX_KNOWN_STACKS};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    bpf::{BpfError, Memories},
    ingest::decode::{Record, decode},
};

#[derive(Debug, Default)]
struct Life {
    number: u32,
    codes: FxHashSet<u64>,
    stacks: Vec<[u64; 2]>,
}

/// By pid.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    lives: FxHashMap<u32, Life>,
}

impl Remembered {
    /// A life of a process begins, with the number that the programs have for it.
    pub(super) fn begin(&mut self, pid: u32, number: u32) {
        self.lives.insert(
            pid,
            Life {
                number,
                ..Life::default()
            },
        );
    }

    /// Takes in a record of the ring; most are none of these.
    pub(super) fn note(&mut self, record: &[u8], memories: &Memories) {
        let Some(kind) = record.first().and_then(|&kind| RecordKind::from_raw(kind)) else {
            return;
        };
        if !matches!(
            kind,
            RecordKind::StackEnd | RecordKind::Code | RecordKind::CodeFreed
        ) {
            return;
        }
        let Ok(record) = decode(record) else {
            return;
        };
        let Some(life) = self.lives.get_mut(&record.header().pid) else {
            return;
        };
        match record {
            // A table that is full takes in no more, and says each stack again.
            Record::StackEnd(end, _) if life.stacks.len() < MAX_KNOWN_STACKS as usize => {
                life.stacks.push(end.hash);
            }
            Record::Code(code) => {
                life.codes.insert(code.code);
            }
            Record::CodeFreed(freed) => {
                life.codes.remove(&freed.code);
                // All stacks have new hashes from here on: those from before are not found again.
                let _left = memories.forget_stacks(&std::mem::take(&mut life.stacks));
            }
            _ => {}
        }
    }

    /// The life is over: the programs forget it.
    pub(super) fn end(&mut self, pid: u32, memories: &Memories) -> Result<(), BpfError> {
        let Some(life) = self.lives.remove(&pid) else {
            return Ok(());
        };
        let codes: Vec<_> = life.codes.iter().map(|&code| (pid, life.number, code)).collect();
        memories.forget_codes(&codes)?;
        memories.forget_stacks(&life.stacks)
    }
}
