//! Records about processes and not about memory: what the supervisor acts on.

use memray_ebpf::{
    event::{RecordKind, flags},
    follow::HoldPlace,
};

use crate::ingest::decode::{Record, decode};

/// What has happened to a followed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlEvent {
    Forked {
        parent_pid: u32,
        child_pid: u32,
        shares_memory: bool,
        is_followed: bool,
    },
    /// Another program has begun.
    Executed {
        pid: u32,
        /// The thread that called exec was not the first of the process, which is gone.
        by_other_thread: bool,
    },
    /// A thread waits to be let go.
    Held {
        pid: u32,
        tid: u32,
        place: HoldPlace,
        argument: u64,
    },
    /// The first thread of a process has ended.
    LeaderEnded {
        pid: u32,
        /// As wait(2) has it.
        exit_code: u32,
        /// And with it, or before it, the others: what it says is how the process ends.
        of_all_threads: bool,
    },
}

impl ControlEvent {
    /// What a record of the ring says; none for all that is about memory, which is told by its first byte.
    pub(super) fn of(record: &[u8]) -> Option<Self> {
        let kind = RecordKind::from_raw(*record.first()?)?;
        if !matches!(
            kind,
            RecordKind::ProcessForked | RecordKind::ProcessExec | RecordKind::Held | RecordKind::LeaderExit
        ) {
            return None;
        }
        Some(match decode(record).ok()? {
            Record::ProcessForked(fork) => Self::Forked {
                parent_pid: fork.header.pid,
                child_pid: fork.child_pid,
                shares_memory: fork.header.flags & flags::SHARES_MEMORY != 0,
                is_followed: fork.header.flags & flags::IS_FOLLOWED != 0,
            },
            Record::ProcessExec(exec) => Self::Executed {
                pid: exec.header.pid,
                by_other_thread: exec.header.flags & flags::OTHER_THREAD != 0,
            },
            Record::Held(held) => Self::Held {
                pid: held.header.pid,
                tid: held.header.tid,
                place: HoldPlace::from_raw(u8::try_from(held.place).ok()?)?,
                argument: held.argument,
            },
            Record::LeaderExit(exit) => Self::LeaderEnded {
                pid: exit.header.pid,
                exit_code: u32::try_from(exit.thread_state).ok()?,
                of_all_threads: exit.header.flags & flags::WHOLE_PROCESS != 0,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use memray_ebpf::event::{HeldRecord, RecordHeader};
    use zerocopy::transmute;

    use super::*;

    fn held(kind: RecordKind, place: u32) -> HeldRecord {
        HeldRecord {
            header: RecordHeader {
                kind: kind as u8,
                allocator: 0,
                flags: 0,
                tid: 8,
                pid: 7,
                reserved: 0,
                time_ns: 1,
            },
            argument: 9,
            place,
            reserved: 0,
        }
    }

    fn of(record: HeldRecord) -> Option<ControlEvent> {
        let words: [u64; 5] = [
            u64::from(record.header.kind) | u64::from(record.header.tid) << 32,
            u64::from(record.header.pid),
            record.header.time_ns,
            record.argument,
            u64::from(record.place),
        ];
        let bytes: [u8; 40] = transmute!(words);
        // A ring aligns to 8; so does an array of words.
        let aligned: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        ControlEvent::of(zerocopy::IntoBytes::as_bytes(aligned.as_slice()))
    }

    #[test]
    fn held_threads() {
        assert_eq!(
            of(held(RecordKind::Held, 2)),
            Some(ControlEvent::Held {
                pid: 7,
                tid: 8,
                place: HoldPlace::Exec,
                argument: 9
            })
        );
        assert_eq!(of(held(RecordKind::Held, 9)), None);
        assert_eq!(of(held(RecordKind::Allocation, 2)), None);
        assert_eq!(ControlEvent::of(&[]), None);
    }
}
