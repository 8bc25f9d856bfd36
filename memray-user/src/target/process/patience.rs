//! Reads of memory that the process itself must bring.
//!
//! Whoever reads a page that is not there waits until it is: for a disk, for a server behind a network or FUSE file
//! system, or for the process that serves its own faults (userfaultfd(2)), which may never do so. Such a wait ends with
//! the process and takes no signal. So what is there is read at once, and what is not by a thread of its own, for which
//! we wait for a bounded time; a process that let one hang is not waited for again.
//!
//! Input: what `/proc/PID/pagemap` says. A page that goes between the look and the read can still be waited for.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    sync::{atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use memray_ebpf::memory::Fault;

use super::Process;
use crate::target::elf::PAGE_BYTES;

/// Many times what a disk needs.
const PATIENCE: Duration = Duration::from_millis(250);

/// Bits of an entry of pagemap (Documentation/admin-guide/mm/pagemap.rst): in memory, or in swap.
const IS_PRESENT: u64 = 1 << 63;
const IS_SWAPPED: u64 = 1 << 62;

impl Process {
    /// Whether a read of this range waits for nobody but us. True where that cannot be found out: most memory is there.
    pub(super) fn is_at_hand(&self, address: u64, size_bytes: usize) -> bool {
        let Some(pagemap) = self.pagemap.get_or_init(|| File::open(self.path("pagemap")).ok()) else {
            return true;
        };
        let first = address / PAGE_BYTES;
        let last = address.saturating_add(size_bytes as u64 - 1) / PAGE_BYTES;
        let Some(offset) = first.checked_mul(8) else {
            return true;
        };
        let entries = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
        let mut bytes = vec![0; entries.saturating_mul(8)];
        if pagemap.read_exact_at(&mut bytes, offset).is_err() {
            return true;
        }
        bytes.chunks_exact(8).all(|entry| {
            let entry = u64::from_le_bytes(entry.try_into().expect("8 bytes were taken"));
            entry & (IS_PRESENT | IS_SWAPPED) != 0
        })
    }

    /// Reads in another thread, for at most [`PATIENCE`].
    pub(super) fn read_patiently(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        if self.has_hung.load(Ordering::Relaxed) {
            return Err(Fault);
        }
        let process = self.again().ok_or(Fault)?;
        let mut bytes = vec![0; destination.len()];
        let (sender, receiver) = mpsc::sync_channel(1);
        let read = move || {
            let result = process.read_now(address, &mut bytes).map(|()| bytes);
            // Nobody waits any more for what came too late.
            let _too_late = sender.send(result);
        };
        thread::Builder::new()
            .name("read".to_owned())
            .spawn(read)
            .map_err(|_none| Fault)?;
        let Ok(result) = receiver.recv_timeout(PATIENCE) else {
            self.has_hung.store(true, Ordering::Relaxed);
            return Err(Fault);
        };
        destination.copy_from_slice(&result?);
        Ok(())
    }
}
