//! Memory of the traced process, as the walkers see it.

/// An address that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Reads of another address space: `bpf_probe_read_user` in the kernel, `process_vm_readv` in user space, plain
/// tables in tests.
pub trait RemoteMemory {
    /// Copies `destination.len()` bytes that begin at `address`.
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault>;

    fn read_u64(&self, address: u64) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read_into(address, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn read_u32(&self, address: u64) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.read_into(address, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }
}
