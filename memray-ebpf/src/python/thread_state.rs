//! From a thread's `fs` base to its `PyThreadState`.

use crate::{
    config::{ThreadStateSource, TlsVariable},
    memory::{Fault, RemoteMemory},
};

/// Keys in one block of `struct pthread` (glibc `PTHREAD_KEY_2NDLEVEL_SIZE`, nptl/descr.h).
const KEYS_PER_BLOCK: u64 = 32;
/// `struct pthread_key_data {uintptr_t seq; void *data}`: size, and offset of `data`.
const KEY_DATA_BYTES: u64 = 16;
const KEY_DATA_OFFSET: u64 = 8;
/// `PTHREAD_KEYS_MAX` of glibc.
const MAX_KEYS: u64 = 1024;
/// `PTHREAD_KEYS_MAX` of musl (`include/limits.h`), whose values are an array (`src/thread/pthread_key_create.c`).
const MAX_MUSL_KEYS: u64 = 128;
/// Bound of the size of a slot of the dynamic thread vector.
const MAX_DTV_SLOT_BYTES: u32 = 16;
/// glibc's `TLS_DTV_UNALLOCATED`: the thread has not touched the module's block yet.
const DTV_UNALLOCATED: u64 = u64::MAX;
/// Bound of module ids; beyond it the configuration is wrong.
const MAX_MODULE_ID: u64 = 1 << 20;

/// The thread's state, and the pthread slot that was found on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// 0: the thread has none.
    pub thread_state: u64,
    /// New value for [`ThreadStateSource::tss_slot_offset`]; [`UNKNOWN_SLOT`](ThreadStateSource::UNKNOWN_SLOT) if there is
    /// nothing new to keep.
    pub tss_slot_offset: u64,
}

/// Finds the state bound to the thread, with the GIL or without.
///
/// It is never another one than the attached state: whatever attaches a state binds it too (`tstate_activate`,
/// Python/pystate.c of 3.12 to 3.15; before 3.12 there is no attached state in a thread-local variable). The pthread
/// slot takes one read (two with musl), a variable of a shared libpython three. The attached state is asked only where nothing is
/// known of a bound one; it is null while the thread has released the GIL.
#[inline(always)]
pub fn find<M: RemoteMemory>(memory: &M, source: &ThreadStateSource, fs_base: u64) -> Result<Found, Fault> {
    let mut found = Found {
        thread_state: 0,
        tss_slot_offset: ThreadStateSource::UNKNOWN_SLOT,
    };
    if source.tss_key_address == 0 {
        let variable = if source.bound.mode == TlsVariable::NONE {
            &source.attached
        } else {
            &source.bound
        };
        if variable.mode != TlsVariable::NONE {
            found.thread_state = read_tls(memory, variable, fs_base)?;
        }
        return Ok(found);
    }
    let mut values = fs_base;
    if source.tss_array_offset != 0 {
        values = memory.read_u64(fs_base.wrapping_add(source.tss_array_offset))?;
        if values == 0 {
            return Ok(found);
        }
    }
    if source.tss_slot_offset != ThreadStateSource::UNKNOWN_SLOT {
        found.thread_state = memory.read_u64(values.wrapping_add(source.tss_slot_offset))?;
        if found.thread_state != 0 {
            return Ok(found);
        }
        // The child of a fork makes a new key (`gilstate_tss_reinit`, Python/pystate.c), and musl gives it another
        // number if a key was made since the old one.
    }
    // Py_tss_t: {int _is_initialized; pthread_key_t _key} (Include/pythread.h).
    let key = memory.read_u64(source.tss_key_address)?;
    let is_initialized = key as u32;
    if is_initialized == 0 {
        return Ok(found);
    }
    let key = key >> 32;
    let slot_offset = if source.tss_array_offset != 0 {
        if key >= MAX_MUSL_KEYS {
            return Err(Fault);
        }
        key * 8
    } else if key >= KEYS_PER_BLOCK {
        found.thread_state = second_level(memory, source, fs_base, key)?;
        return Ok(found);
    } else {
        source.tss_first_block_offset + key * KEY_DATA_BYTES + KEY_DATA_OFFSET
    };
    if slot_offset != source.tss_slot_offset {
        found.tss_slot_offset = slot_offset;
        found.thread_state = memory.read_u64(values.wrapping_add(slot_offset))?;
    }
    Ok(found)
}

/// The state in which the thread runs, where `bound` is what [`find`] has found.
///
/// Up to 3.11 the bound state is that of the interpreter that the thread was in first. One that has entered a
/// sub-interpreter runs in another, which then holds the GIL and has the same thread id. Without the GIL nothing tells.
#[inline(always)]
pub fn entered<M: RemoteMemory>(
    memory: &M,
    source: &ThreadStateSource,
    thread_id_offset: u32,
    fs_base: u64,
    bound: u64,
) -> u64 {
    if source.gil_holder_address == 0 {
        return bound;
    }
    let Ok(holder) = memory.read_u64(source.gil_holder_address) else {
        return bound;
    };
    if holder == 0 || holder == bound {
        return bound;
    }
    // Another thread's state can be gone by now.
    match memory.read_u64(holder.wrapping_add(u64::from(thread_id_offset))) {
        Ok(thread_id) if thread_id == fs_base => holder,
        _ => bound,
    }
}

#[inline(always)]
fn second_level<M: RemoteMemory>(
    memory: &M,
    source: &ThreadStateSource,
    fs_base: u64,
    key: u64,
) -> Result<u64, Fault> {
    if key >= MAX_KEYS {
        return Err(Fault);
    }
    let block_pointer = fs_base
        .wrapping_add(source.tss_blocks_offset)
        .wrapping_add(key / KEYS_PER_BLOCK * 8);
    let block = memory.read_u64(block_pointer)?;
    if block == 0 {
        return Ok(0);
    }
    memory.read_u64(block.wrapping_add(key % KEYS_PER_BLOCK * KEY_DATA_BYTES + KEY_DATA_OFFSET))
}

#[inline(always)]
fn read_tls<M: RemoteMemory>(memory: &M, variable: &TlsVariable, fs_base: u64) -> Result<u64, Fault> {
    let offset = variable.offset.cast_unsigned();
    if variable.mode == TlsVariable::STATIC {
        return memory.read_u64(fs_base.wrapping_add(offset));
    }
    if variable.module_id > MAX_MODULE_ID || variable.slot_bytes > MAX_DTV_SLOT_BYTES {
        return Err(Fault);
    }
    // glibc: tcbhead_t {void *tcb; dtv_t *dtv; ...} (sysdeps/x86_64/nptl/tls.h), slots {void *val; void *to_free}.
    // musl: struct pthread {struct pthread *self; uintptr_t *dtv; ...} (src/internal/pthread_impl.h).
    let dtv = memory.read_u64(fs_base.wrapping_add(8))?;
    let slot = variable.module_id * u64::from(variable.slot_bytes);
    let block = memory.read_u64(dtv.wrapping_add(slot))?;
    if block == DTV_UNALLOCATED || block == 0 {
        return Ok(0);
    }
    memory.read_u64(block.wrapping_add(offset))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FS_BASE: u64 = 0x7f00_0000_1000;

    struct Words(BTreeMap<u64, u64>);

    impl RemoteMemory for Words {
        fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
            let word = self.0.get(&address).ok_or(Fault)?;
            destination.copy_from_slice(&word.to_ne_bytes()[..destination.len()]);
            Ok(())
        }
    }

    fn check(words: &[(u64, u64)], source: ThreadStateSource, expect: Result<(u64, u64), Fault>) {
        let found = find(&Words(words.iter().copied().collect()), &source, FS_BASE);
        assert_eq!(
            found.map(|found| (found.thread_state, found.tss_slot_offset)),
            expect
        );
    }

    fn static_tls(offset: i64) -> TlsVariable {
        TlsVariable {
            mode: TlsVariable::STATIC,
            offset,
            ..TlsVariable::default()
        }
    }

    const UNKNOWN: u64 = ThreadStateSource::UNKNOWN_SLOT;

    fn with_key() -> ThreadStateSource {
        ThreadStateSource {
            tss_key_address: 0x5000,
            tss_slot_offset: UNKNOWN,
            tss_first_block_offset: 0x310,
            tss_blocks_offset: 0x510,
            ..ThreadStateSource::default()
        }
    }

    #[test]
    fn bound_before_attached() {
        let attached = ThreadStateSource {
            attached: static_tls(-24),
            ..ThreadStateSource::default()
        };
        let both = ThreadStateSource {
            bound: static_tls(-40),
            ..attached
        };
        let with_key = ThreadStateSource {
            attached: static_tls(-24),
            tss_slot_offset: 0x348,
            ..with_key()
        };
        let words = [(FS_BASE - 24, 7), (FS_BASE - 40, 8), (FS_BASE + 0x348, 9)];
        check(&words, attached, Ok((7, UNKNOWN)));
        check(&words, both, Ok((8, UNKNOWN)));
        check(&words, with_key, Ok((9, UNKNOWN)));
        check(&words, ThreadStateSource::default(), Ok((0, UNKNOWN)));
        check(&[], both, Err(Fault));
    }

    #[test]
    fn dynamic_variables_go_through_the_thread_vector() {
        let attached = TlsVariable {
            mode: TlsVariable::DYNAMIC,
            module_id: 2,
            offset: 8,
            slot_bytes: 16,
        };
        let check_one = |words: &[(u64, u64)], attached, expect: Result<u64, Fault>| {
            let source = ThreadStateSource {
                attached,
                ..ThreadStateSource::default()
            };
            check(words, source, expect.map(|state| (state, UNKNOWN)));
        };
        let vector = (FS_BASE + 8, 0x9000);
        check_one(&[vector, (0x9020, 0xa000), (0xa008, 7)], attached, Ok(7));
        check_one(&[vector, (0x9020, u64::MAX)], attached, Ok(0));
        let musl = TlsVariable {
            slot_bytes: 8,
            ..attached
        };
        check_one(&[vector, (0x9010, 0xa000), (0xa008, 7)], musl, Ok(7));
        check_one(&[vector, (0x9010, 0)], musl, Ok(0));
        for wild in [
            TlsVariable {
                module_id: u64::MAX,
                ..attached
            },
            TlsVariable {
                slot_bytes: u32::MAX,
                ..attached
            },
        ] {
            check_one(&[vector], wild, Err(Fault));
        }
    }

    #[test]
    fn the_key_is_found_and_kept() {
        check(&[(0x5000, 0)], with_key(), Ok((0, UNKNOWN)));
        check(
            &[(0x5000, 3 << 32 | 1), (FS_BASE + 0x310 + 3 * 16 + 8, 7)],
            with_key(),
            Ok((7, 0x348)),
        );
        let known = ThreadStateSource {
            tss_slot_offset: 0x348,
            ..with_key()
        };
        check(&[(FS_BASE + 0x348, 9)], known, Ok((9, UNKNOWN)));
    }

    /// Where the kept slot has nothing: in a thread without a state, and after a fork that gave the key a new number.
    #[test]
    fn keys_change() {
        let known = ThreadStateSource {
            tss_slot_offset: 0x348,
            ..with_key()
        };
        let empty = (FS_BASE + 0x348, 0);
        check(&[empty, (0x5000, 3 << 32 | 1)], known, Ok((0, UNKNOWN)));
        check(&[empty, (0x5000, 0)], known, Ok((0, UNKNOWN)));
        check(
            &[empty, (0x5000, 4 << 32 | 1), (FS_BASE + 0x358, 7)],
            known,
            Ok((7, 0x358)),
        );
    }

    #[test]
    fn keys_beyond_the_first_block() {
        let key = (0x5000, 40 << 32 | 1);
        check(
            &[key, (FS_BASE + 0x510 + 8, 0x8000), (0x8000 + 8 * 16 + 8, 7)],
            with_key(),
            Ok((7, UNKNOWN)),
        );
        check(&[key, (FS_BASE + 0x510 + 8, 0)], with_key(), Ok((0, UNKNOWN)));
        check(&[(0x5000, 5000 << 32 | 1)], with_key(), Err(Fault));
    }

    #[test]
    fn keys_of_musl_are_in_an_array() {
        let musl = ThreadStateSource {
            tss_key_address: 0x5000,
            tss_slot_offset: UNKNOWN,
            tss_array_offset: 0x80,
            ..ThreadStateSource::default()
        };
        let array = (FS_BASE + 0x80, 0x8000);
        check(&[array, (0x5000, 0)], musl, Ok((0, UNKNOWN)));
        // The first key is 0.
        check(&[(0x5000, 1), array, (0x8000, 7)], musl, Ok((7, 0)));
        check(
            &[(0x5000, 40 << 32 | 1), array, (0x8000 + 40 * 8, 7)],
            musl,
            Ok((7, 320)),
        );
        check(&[(FS_BASE + 0x80, 0)], musl, Ok((0, UNKNOWN)));
        check(&[(0x5000, 128 << 32 | 1), array], musl, Err(Fault));
        let known = ThreadStateSource {
            tss_slot_offset: 0,
            ..musl
        };
        check(&[array, (0x8000, 9)], known, Ok((9, UNKNOWN)));
    }

    #[test]
    fn the_holder_of_the_gil_is_asked_for_its_thread() {
        const THREAD_ID: u32 = 176;
        const HOLDER: u64 = 0x6000;
        let source = ThreadStateSource {
            gil_holder_address: 0x5100,
            ..with_key()
        };
        let check = |words: &[(u64, u64)], source: &ThreadStateSource, expect: u64| {
            let words = Words(words.iter().copied().collect());
            assert_eq!(entered(&words, source, THREAD_ID, FS_BASE, 7), expect);
        };
        let holder = (source.gil_holder_address, HOLDER);
        check(&[holder, (HOLDER + 176, FS_BASE)], &source, HOLDER);
        check(&[holder, (HOLDER + 176, FS_BASE + 1)], &source, 7);
        check(&[holder], &source, 7);
        check(&[(source.gil_holder_address, 7)], &source, 7);
        check(&[(source.gil_holder_address, 0)], &source, 7);
        check(&[], &source, 7);
        check(&[holder, (HOLDER + 176, FS_BASE)], &with_key(), 7);
    }
}
