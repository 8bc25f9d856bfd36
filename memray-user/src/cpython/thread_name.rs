//! The name that a program gave to a thread by `threading.Thread`.
//!
//! Python hands it to the kernel only from 3.14 on, and only 15 bytes of it. The thread's outermost frame is
//! `Thread._bootstrap(self)`, so its first local variable is the `Thread`, which has the name in `_name`.
//! Input: what the BPF programs found in that place, which may be any object or none; nothing is believed before
//! its class says that it is a thread.

use memray_ebpf::{event::ThreadRecord, memory::RemoteMemory};

use super::{attribute::attribute, detect::Interpreter, offsets::Offsets, strings};

/// Classes in a method resolution order that are looked at.
const MAX_BASES: u64 = 64;

/// `Py_TPFLAGS_UNICODE_SUBCLASS` (Include/object.h).
const UNICODE_SUBCLASS: u64 = 1 << 28;

/// From 3.14 on references in frames carry tags in the low bits (`_PyStackRef`); objects lie at multiples of 8.
const TAG_BITS: u64 = 7;

/// Why the object that a record names is believed to be that of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The thread stands still since the kernel has read the address from its frame.
    Held,
    /// The object has the thread's own id in `_native_id`, which a thread sets a few steps after its first one. That id
    /// is the one in the pid namespace of the process.
    NativeId { own_tid: u32 },
}

/// The name of the thread; `None` for the main thread (whose outermost frame is the program's own), for threads
/// that were not started by `threading`, and for one whose memory has changed meanwhile.
pub fn thread_name(
    memory: &impl RemoteMemory,
    interpreter: &Interpreter,
    record: &ThreadRecord,
    evidence: Evidence,
) -> Option<String> {
    let object = record.bootstrap_self & !TAG_BITS;
    match evidence {
        Evidence::Held => name_of(memory, &interpreter.offsets, object),
        Evidence::NativeId { own_tid } => {
            let is_its_own = || is_thread_with_id(memory, &interpreter.offsets, object, own_tid);
            // Looked at again afterwards: another thread's object can take the place meanwhile.
            is_its_own()
                .then(|| name_of(memory, &interpreter.offsets, object))
                .flatten()
                .filter(|_| is_its_own())
        }
    }
}

/// Whether the object still is that of this thread: when a thread has ended, another's can lie there. `_native_id`
/// is the kernel's id as the thread itself saw it.
fn is_thread_with_id(memory: &impl RemoteMemory, offsets: &Offsets, object: u64, tid: u32) -> bool {
    // The lowest digit of an int (Include/cpython/longintrepr.h, 30 bits); ids of threads have but 22.
    const FIRST_DIGIT_OFFSET: u64 = 24;
    object != 0
        && is_thread(memory, offsets, object) == Some(true)
        && attribute(memory, offsets, object, "_native_id")
            .and_then(|number| memory.read_u32(number.wrapping_add(FIRST_DIGIT_OFFSET)).ok())
            == Some(tid)
}

fn name_of(memory: &impl RemoteMemory, offsets: &Offsets, object: u64) -> Option<String> {
    if object == 0 || !is_thread(memory, offsets, object)? {
        return None;
    }
    let name = attribute(memory, offsets, object, "_name")?;
    is_str(memory, offsets, name)?
        .then(|| strings::read(memory, name, &offsets.code).ok())?
        .map(|name| name.text)
}

/// Whether the object's class is called `Thread` or inherits from one that is.
fn is_thread(memory: &impl RemoteMemory, offsets: &Offsets, object: u64) -> Option<bool> {
    let word = |address: u64, offset: u32| memory.read_u64(address.wrapping_add(offset.into())).ok();
    let fields = &offsets.object;
    let type_address = word(object, fields.object_type)?;
    let order = word(type_address, fields.type_mro)?;
    let count = word(order, fields.tuple_size)?.min(MAX_BASES);
    for index in 0..count {
        let base = word(order.wrapping_add(index * 8), fields.tuple_items)?;
        let name = word(base, fields.type_name)?;
        let mut bytes = [0; 7];
        if memory.read_into(name, &mut bytes).is_ok() && bytes == *b"Thread\0" {
            return Some(true);
        }
    }
    Some(false)
}

fn is_str(memory: &impl RemoteMemory, offsets: &Offsets, object: u64) -> Option<bool> {
    let type_address = memory
        .read_u64(object.wrapping_add(offsets.object.object_type.into()))
        .ok()?;
    let flags = memory
        .read_u64(type_address.wrapping_add(offsets.object.type_flags.into()))
        .ok()?;
    Some(flags & UNICODE_SUBCLASS != 0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use memray_ebpf::memory::Fault;
    use proptest::prelude::*;

    use super::*;
    use crate::cpython::{offsets, version::PyVersion};

    /// All of memory, with contents made from the address and a seed; some of it leads to itself.
    struct Noise {
        seed: u64,
        reads: Cell<usize>,
    }

    impl RemoteMemory for Noise {
        fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
            self.reads.set(self.reads.get() + 1);
            for (index, byte) in destination.iter_mut().enumerate() {
                let mixed =
                    (address.wrapping_add(index as u64) ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                // Classes are called "Thread" and keys "_name" often enough to go on.
                *byte = match self.seed % 3 {
                    0 => b"Thread\0"[index % 7],
                    1 => b"_name\x05\x64"[index % 7],
                    _ => mixed.to_le_bytes()[7],
                };
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn any_object_is_survived(minor in 8_u8..=12, seed: u64, object: u64) {
            let memory = Noise { seed, reads: Cell::new(0) };
            let offsets = offsets::of_version(PyVersion::new(3, minor, 0)).unwrap();
            let _name: Option<String> = name_of(&memory, &offsets, object);
            let _value: Option<u64> = attribute(&memory, &offsets, object, "_name");
            prop_assert!(memory.reads.get() < 100_000);
        }
    }
}
