//! Where glibc keeps the values of pthread keys and the dynamic thread vector, from what it tells debuggers.
//!
//! `libc.so.6` (before 2.34 `libpthread.so.0`) exports a descriptor for each field that `libthread_db` reads
//! (`nptl_db/structs.def`): three 32-bit words {size in bits, elements, offset in bytes}, or one word with a size.
//! Input: an ELF file. Output: the two offsets that the BPF programs need; all else that they take for granted is
//! checked here.

use super::pthread::{KeyValues, ThreadLayout};
use crate::target::elf::ElfFile;

/// Keys in one block (`PTHREAD_KEY_2NDLEVEL_SIZE`, sysdeps/nptl/internaltypes.h).
const KEYS_PER_BLOCK: u32 = 32;
/// `sizeof(struct pthread_key_data)`: `seq` and `data`.
const KEY_DATA_BYTES: u32 = 16;
/// `data` in it.
const KEY_DATA_OFFSET: u32 = 8;
/// `header.dtv` in `struct pthread`.
const DTV_OFFSET: u32 = 8;
/// `struct pthread` has 2,368 bytes in glibc 2.36.
const MAX_PTHREAD_BYTES: u32 = 1 << 16;
/// `sizeof(dtv_t)`: `{void *val; void *to_free}` (sysdeps/generic/dl-dtv.h).
const DTV_SLOT_BYTES: u32 = 16;

/// The layout of the C library in this file; `None` if it has no descriptors, or they describe something that
/// the walk cannot follow.
pub fn thread_layout(file: &ElfFile) -> Option<ThreadLayout> {
    let word = |name: &str, index: u64| -> Option<u32> {
        let svma = file.symbol(name)?.svma.checked_add(index * 4)?;
        let bytes = file.bytes_at(svma, 4)?;
        Some(u32::from_le_bytes(bytes.as_ref().try_into().ok()?))
    };
    let offset = |name| word(name, 2);

    let is_known = word("_thread_db_sizeof_pthread_key_data", 0)? == KEY_DATA_BYTES
        && offset("_thread_db_pthread_key_data_data")? == KEY_DATA_OFFSET
        && offset("_thread_db_pthread_dtvp")? == DTV_OFFSET
        // The field is declared by the whole array of pointers.
        && word("_thread_db_pthread_specific", 0)? == KEYS_PER_BLOCK * u64::BITS;
    let blocks = offset("_thread_db_pthread_specific")?;
    // The first block lies right before the pointers (nptl/descr.h).
    let first_block = blocks.checked_sub(KEYS_PER_BLOCK * KEY_DATA_BYTES)?;
    (is_known && blocks <= MAX_PTHREAD_BYTES).then_some(ThreadLayout {
        keys: KeyValues::Blocks {
            first_block: first_block.into(),
            blocks: blocks.into(),
        },
        vector_slot_bytes: Some(DTV_SLOT_BYTES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::process::Process;

    /// The C library of this very process: `specific` has been at 0x510 on x86-64 since glibc 2.4 at least.
    #[test]
    fn this_process() {
        let process = Process::open(std::process::id()).unwrap();
        let objects = process.objects().unwrap();
        let layouts: Vec<_> = objects
            .iter()
            .filter_map(|object| thread_layout(&ElfFile::open(&object.open_path).unwrap()))
            .collect();
        let expect = ThreadLayout {
            keys: KeyValues::Blocks {
                first_block: 0x310,
                blocks: 0x510,
            },
            vector_slot_bytes: Some(16),
        };
        assert_eq!(layouts, [expect]);
    }
}
