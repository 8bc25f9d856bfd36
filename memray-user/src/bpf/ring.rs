//! The reading end of the ring.

use std::{os::fd::AsFd as _, time::Duration};

use aya::maps::{MapData, RingBuf};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The records of the ring, in order.
pub struct RingReader {
    ring: RingBuf<MapData>,
    /// Told of wake-ups only: most records come without one, and are not to end a wait.
    wake_ups: Epoll,
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
        Ok(Self { ring, wake_ups })
    }

    /// Returns after `timeout`, or when a program asks for the collector.
    pub fn wait(&self, timeout: Duration) {
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::ZERO);
        // Interrupted by a signal: then it was a shorter wait.
        let _interrupted = self.wake_ups.wait(&mut [EpollEvent::empty()], timeout);
    }

    /// Hands the records that are there to `consume`, at most `limit` of them; returns how many there were.
    pub fn drain(&mut self, limit: u64, mut consume: impl FnMut(&[u8])) -> u64 {
        let mut records = 0;
        while records < limit
            && let Some(record) = self.ring.next()
        {
            consume(&record);
            records += 1;
        }
        records
    }
}
