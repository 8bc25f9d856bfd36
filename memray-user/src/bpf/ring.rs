//! The reading end of the ring.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::system::RingPositions;

/// The records of the ring, in order.
pub struct RingReader {
    ring: RingBuf<MapData>,
    /// Told of wake-ups only: most records come without one, and are not to end a wait.
    wake_ups: Epoll,
    positions: RingPositions,
}

/// A place in the stream of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPosition(u64);

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// As far as was asked for.
    Some,
    /// To the last record that is there, with this number of them.
    All(u64),
}

impl std::fmt::Debug for RingReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RingReader").finish_non_exhaustive()
    }
}

impl RingReader {
    pub(super) fn new(ring: RingBuf<MapData>) -> nix::Result<Self> {
        let wake_ups = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        wake_ups.add(
            ring.as_fd(),
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0),
        )?;
        let positions = RingPositions::map(ring.as_fd().as_raw_fd())?;
        Ok(Self {
            ring,
            wake_ups,
            positions,
        })
    }

    /// Behind all records that have a place in the ring, also those that are not written yet.
    pub fn end(&self) -> RingPosition {
        RingPosition(self.positions.producer())
    }

    /// All records before it have been taken.
    pub fn has_passed(&self, position: RingPosition) -> bool {
        // Positions are counted in bytes and do not come round.
        self.positions.consumer() >= position.0
    }

    /// So many bytes behind what has been taken.
    pub fn ahead(&self, bytes: u64) -> RingPosition {
        RingPosition(self.positions.consumer().saturating_add(bytes))
    }

    /// Returns after `timeout`, or when a program asks for the collector.
    pub fn wait(&self, timeout: Duration) {
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::ZERO);
        // Interrupted by a signal: then it was a shorter wait.
        let _interrupted = self.wake_ups.wait(&mut [EpollEvent::empty()], timeout);
    }

    /// Hands the records before `end` that are there to `consume`, at most `limit` of them.
    pub fn drain(&mut self, limit: u64, end: RingPosition, mut consume: impl FnMut(&[u8])) -> Drained {
        let mut records = 0;
        while records < limit && !self.has_passed(end) {
            let Some(record) = self.ring.next() else {
                return Drained::All(records);
            };
            consume(&record);
            records += 1;
        }
        Drained::Some
    }
}
