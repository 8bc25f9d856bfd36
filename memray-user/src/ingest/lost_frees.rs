//! Frees that came without a record: the ring had no room, and the kernel kept address and time.
//!
//! They are told out of order, and take effect in the order of times: a free ends what was allocated at its address
//! before it. That order is exact, because an allocation has its time before its address can be freed, and a free
//! before its address can be handed out again. A free can be told before the record of its allocation has come out of
//! the ring, so it is kept until no older record can come: to the second turn after it was told.

use std::{cmp::Reverse, collections::BinaryHeap};

use rustc_hash::FxHashMap;

/// See the module. Times are `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
pub struct LostFrees {
    /// Time, pid, address: what has not taken effect.
    waiting: BinaryHeap<Reverse<(u64, u32, u64)>>,
    /// Told since the last turn, and between that and the one before.
    generations: [Generation; 2],
}

#[derive(Debug, Default)]
struct Generation {
    /// The last free of each block.
    ends: FxHashMap<(u32, u64), u64>,
    last_ns: u64,
}

impl LostFrees {
    pub fn add(&mut self, pid: u32, address: u64, time_ns: u64) {
        self.waiting.push(Reverse((time_ns, pid, address)));
        let [newest, _] = &mut self.generations;
        let end = newest.ends.entry((pid, address)).or_default();
        *end = time_ns.max(*end);
        newest.last_ns = time_ns.max(newest.last_ns);
    }

    /// Pid, address and time of the first that has not taken effect, if it came before `time_ns`.
    pub fn take_before(&mut self, time_ns: u64) -> Option<(u32, u64, u64)> {
        if self.waiting.peek()?.0.0 >= time_ns {
            return None;
        }
        let Reverse((time_ns, pid, address)) = self.waiting.pop()?;
        Some((pid, address, time_ns))
    }

    /// Whether what was allocated at this address at this time has ended.
    pub fn has_ended(&self, pid: u32, address: u64, time_ns: u64) -> bool {
        self.generations.iter().any(|generation| {
            !generation.ends.is_empty()
                && generation
                    .ends
                    .get(&(pid, address))
                    .is_some_and(|&end| end > time_ns)
        })
    }

    /// Before this time all that is about to be forgotten has its place.
    pub fn old_before(&self) -> u64 {
        self.generations[1].last_ns.saturating_add(1)
    }

    /// Forgets what was told before the turn before this.
    pub fn turn(&mut self) {
        let newest = std::mem::take(&mut self.generations[0]);
        self.generations[1] = newest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_take_effect_in_the_order_of_times() {
        let mut frees = LostFrees::default();
        frees.add(1, 0x20, 30);
        frees.add(1, 0x10, 10);
        frees.add(2, 0x10, 20);
        assert_eq!(frees.take_before(10), None);
        assert_eq!(frees.take_before(25), Some((1, 0x10, 10)));
        assert_eq!(frees.take_before(25), Some((2, 0x10, 20)));
        assert_eq!(frees.take_before(25), None);
        assert_eq!(frees.take_before(u64::MAX), Some((1, 0x20, 30)));
    }

    #[test]
    fn an_allocation_that_comes_late_has_ended_if_it_is_older_than_the_last_free() {
        let mut frees = LostFrees::default();
        frees.add(1, 0x10, 20);
        frees.add(1, 0x10, 10);
        while frees.take_before(u64::MAX).is_some() {}
        for (pid, address, time_ns, expect) in [
            (1, 0x10, 19, true),
            (1, 0x10, 20, false),
            (2, 0x10, 19, false),
            (1, 0x18, 19, false),
        ] {
            assert_eq!(
                frees.has_ended(pid, address, time_ns),
                expect,
                "{pid} {address:#x} {time_ns}"
            );
        }
        frees.turn();
        assert_eq!(frees.old_before(), 21);
        assert!(frees.has_ended(1, 0x10, 19));
        frees.turn();
        assert!(!frees.has_ended(1, 0x10, 19));
    }
}
