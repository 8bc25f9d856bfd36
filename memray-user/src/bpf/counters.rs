//! What the programs count, and the sign of life that they are given.

use aya::maps::{Array, MapData, PerCpuArray};
use memray_ebpf::stat::StatId;

use super::{
    error::BpfError,
    programs::{HEARTBEAT, STATS},
};

/// The counters of the programs.
pub struct Counters {
    pub(super) stats: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl Counters {
    /// Sums over the CPUs, indexed by [`StatId`].
    pub fn read(&self) -> Result<[u64; StatId::COUNT], BpfError> {
        let mut sums = [0; StatId::COUNT];
        for (stat, sum) in StatId::ALL.into_iter().zip(&mut sums) {
            *sum = self.one(stat)?;
        }
        Ok(sums)
    }

    /// One of them.
    pub fn one(&self, stat: StatId) -> Result<u64, BpfError> {
        let values = self
            .stats
            .get(&(stat as u32), 0)
            .map_err(|source| BpfError::Map {
                map: STATS,
                source: Box::new(source),
            })?;
        Ok(values.iter().sum())
    }
}

/// Tells the programs that the collector works: threads are held only for one that does.
pub struct Heartbeat {
    pub(super) beats: Array<MapData, u64>,
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Heartbeat").finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// `now_ns` is `CLOCK_MONOTONIC`.
    pub fn beat(&mut self, now_ns: u64) -> Result<(), BpfError> {
        self.beats.set(0, now_ns, 0).map_err(|source| BpfError::Map {
            map: HEARTBEAT,
            source: Box::new(source),
        })
    }
}
