//! Time: that of the events, and that of people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Where the recording's time begins, in both times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    base_ns: u64,
    started_at_ms: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            base_ns: monotonic_ns(),
            started_at_ms: epoch_ms(),
        }
    }

    /// `CLOCK_MONOTONIC` at the beginning.
    pub(super) fn base_ns(&self) -> u64 {
        self.base_ns
    }

    /// Now, as times in the capture count.
    pub(super) fn since_start_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.base_ns)
    }

    pub(super) fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }
}

/// `CLOCK_MONOTONIC`, the clock of the events.
pub(super) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since the epoch.
pub(super) fn epoch_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
