//! Attributes of an instance, read from outside.
//!
//! Instances of ordinary classes keep their attributes in a dictionary of their own, in one that shares its keys
//! with the class, or without any dictionary in values that follow the keys of the class, depending on the version
//! and on what the program did to them. Input: the address of what may be an object. Output: the address of the
//! attribute's value. Anything may be garbage: every read can fail, every count is bounded.

use memray_ebpf::memory::RemoteMemory;

use super::{
    offsets::{InstanceLayout, Offsets},
    strings,
};

/// Attributes of one instance that are looked at. A class shares at most 30 keys (`SHARED_KEYS_MAX_SIZE`,
/// `Include/internal/pycore_dict.h`); a dictionary of one instance can have any number.
const MAX_ENTRIES: usize = 4096;

/// Larger than any instance of an ordinary class before its attributes.
const MAX_BASIC_SIZE: u64 = 1 << 16;

/// Bits of `tp_flags` (Include/object.h).
mod type_flags {
    /// 3.13+: the values lie behind the object.
    pub(super) const INLINE_VALUES: u64 = 1 << 2;
    /// 3.11+: the dictionary is reached by pointers before the object.
    pub(super) const MANAGED_DICT: u64 = 1 << 4;
    pub(super) const HEAP_TYPE: u64 = 1 << 9;
}

/// The value of an attribute in the instance itself (not in its class): the address of an object.
pub(super) fn attribute(
    memory: &impl RemoteMemory,
    offsets: &Offsets,
    object: u64,
    name: &str,
) -> Option<u64> {
    let reader = Reader { memory, offsets };
    let type_address = reader.word(object, offsets.object.object_type)?;
    let managed = reader.type_flags(type_address)? & type_flags::MANAGED_DICT != 0;
    match offsets.object.instance {
        InstanceLayout::TwoPointersBefore if managed => {
            let values = memory.read_u64(object.wrapping_sub(32)).ok()?;
            if values != 0 {
                return reader.in_values(type_address, values, name);
            }
            reader.in_dictionary(memory.read_u64(object.wrapping_sub(24)).ok()?, name)
        }
        InstanceLayout::OnePointerBefore if managed => {
            let pointer = memory.read_u64(object.wrapping_sub(24)).ok()?;
            // Pointers to values are one byte short (`_PyDictOrValues_SetValues`, pycore_object.h).
            if pointer & 1 == 1 {
                return reader.in_values(type_address, pointer.wrapping_add(1), name);
            }
            reader.in_dictionary(pointer, name)
        }
        InstanceLayout::ValuesBehind if managed => {
            let dictionary = memory.read_u64(object.wrapping_sub(24)).ok()?;
            if dictionary != 0 {
                return reader.in_dictionary(dictionary, name);
            }
            reader.behind(object, type_address, name)
        }
        _ => {
            let dict_offset = reader.word(type_address, offsets.object.type_dict_offset)?;
            // Negative ones belong to objects of variable size.
            if dict_offset == 0 || dict_offset > MAX_BASIC_SIZE {
                return None;
            }
            reader.in_dictionary(memory.read_u64(object.wrapping_add(dict_offset)).ok()?, name)
        }
    }
}

struct Reader<'input, M> {
    memory: &'input M,
    offsets: &'input Offsets,
}

impl<M: RemoteMemory> Reader<'_, M> {
    fn word(&self, address: u64, offset: u32) -> Option<u64> {
        self.memory.read_u64(address.wrapping_add(offset.into())).ok()
    }

    fn type_flags(&self, type_address: u64) -> Option<u64> {
        self.word(type_address, self.offsets.object.type_flags)
    }

    /// 3.13+: `PyDictValues` at the end of the object: {capacity, size, embedded, valid, padding, values}.
    fn behind(&self, object: u64, type_address: u64, name: &str) -> Option<u64> {
        if self.type_flags(type_address)? & type_flags::INLINE_VALUES == 0 {
            return None;
        }
        let basic_size = self.word(type_address, self.offsets.object.type_basic_size)?;
        if basic_size > MAX_BASIC_SIZE {
            return None;
        }
        let values = object.wrapping_add(basic_size);
        let is_valid = self.memory.read_u32(values).ok()? >> 24 != 0;
        is_valid.then(|| self.in_values(type_address, values, name))?
    }

    /// Values in the order of the keys that the class shares; `values` is a `PyDictValues`.
    fn in_values(&self, type_address: u64, values: u64, name: &str) -> Option<u64> {
        if self.type_flags(type_address)? & type_flags::HEAP_TYPE == 0 {
            return None;
        }
        let keys = self.word(type_address, self.offsets.object.type_cached_keys)?;
        let index = Keys::read(self, keys)?.find(self, name)?.index;
        self.value(values, index)
    }

    fn in_dictionary(&self, dictionary: u64, name: &str) -> Option<u64> {
        let keys = self.word(dictionary, self.offsets.object.dict_keys)?;
        let values = self.word(dictionary, self.offsets.object.dict_values)?;
        let entry = Keys::read(self, keys)?.find(self, name)?;
        if values == 0 {
            return Some(entry.value).filter(|&value| value != 0);
        }
        self.value(values, entry.index)
    }

    fn value(&self, values: u64, index: usize) -> Option<u64> {
        let head = match self.offsets.object.instance {
            InstanceLayout::ValuesBehind => 8,
            _ => 0,
        };
        let place = u64::try_from(index).ok()?.checked_mul(8)?.wrapping_add(head);
        let value = self.memory.read_u64(values.wrapping_add(place)).ok()?;
        Some(value).filter(|&value| value != 0)
    }
}

/// A `PyDictKeysObject`: a head, a hash table of indices, and the entries in the order of insertion
/// (`Objects/dict-common.h` up to 3.10, `Include/internal/pycore_dict.h` later).
struct Keys {
    entries: Vec<u8>,
    entry_bytes: usize,
    /// Where an entry holds its key; the value follows.
    key_offset: usize,
}

struct Entry {
    index: usize,
    value: u64,
}

impl Keys {
    fn read<M: RemoteMemory>(reader: &Reader<'_, M>, keys: u64) -> Option<Self> {
        let old = reader.offsets.object.instance == InstanceLayout::DictPointer;
        let (entries_offset, count, has_hash) = if old {
            let size = reader.word(keys, 8)?;
            // `DK_IXSIZE`: the width of an index depends on how many there can be.
            let index_bytes = match size {
                0..=0xff => 1,
                0x100..=0xffff => 2,
                0x1_0000..=0xffff_ffff => 4,
                _ => return None,
            };
            (40 + size * index_bytes, reader.word(keys, 32)?, true)
        } else {
            let [_, log2_index_bytes, kind, ..] = reader.word(keys, 8)?.to_le_bytes();
            if log2_index_bytes > 40 || kind > 2 {
                return None;
            }
            // `DICT_KEYS_GENERAL` is 0; tables with keys of type str alone do without the hash.
            (32 + (1 << log2_index_bytes), reader.word(keys, 24)?, kind == 0)
        };
        let (entry_bytes, key_offset) = if has_hash { (24, 8) } else { (16, 0) };
        let count = usize::try_from(count).unwrap_or(MAX_ENTRIES).min(MAX_ENTRIES);
        let mut entries = vec![0; count * entry_bytes];
        let address = keys.wrapping_add(entries_offset);
        reader.memory.read_into(address, &mut entries).ok()?;
        Some(Self {
            entries,
            entry_bytes,
            key_offset,
        })
    }

    fn find<M: RemoteMemory>(&self, reader: &Reader<'_, M>, name: &str) -> Option<Entry> {
        let entries = self.entries.chunks_exact(self.entry_bytes).enumerate();
        entries.into_iter().find_map(|(index, entry)| {
            let word = |offset: usize| {
                let bytes = entry[offset..offset + 8].try_into().expect("8 bytes were taken");
                u64::from_le_bytes(bytes)
            };
            let key = word(self.key_offset);
            let is_it = key != 0 && strings::equals(reader.memory, key, name, &reader.offsets.code);
            is_it.then(|| Entry {
                index,
                value: word(self.key_offset + 8),
            })
        })
    }
}
