//! Valid bytes made hostile.

use proptest::{prelude::*, sample::Index};

/// One change. Shrinking drops changes first, so what is left of a failure is what matters.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Flip {
        at: Index,
        bit: u8,
    },
    Byte {
        at: Index,
        value: u8,
    },
    /// Little-endian, of 2, 4 or 8 bytes, at a multiple of its size as most fields are.
    Word {
        at: Index,
        size_log2: u8,
        value: u64,
    },
    Copy {
        from: Index,
        to: Index,
        length: u16,
    },
    Remove {
        at: Index,
        length: u16,
    },
    Insert {
        at: Index,
        bytes: Vec<u8>,
    },
    Truncate {
        at: Index,
    },
}

/// Numbers at which something may break.
pub(crate) fn hostile_number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![
        3 => 0_u64..300,
        2 => prop::sample::select(vec![
            u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 62, 1 << 56, (1 << 56) - 1, 1 << 48,
            1 << 47, (1 << 47) - 1, 1 << 32, (1 << 32) - 1, 1 << 31, (1 << 31) - 1, 1 << 20, 4096, 4095, 65535,
        ]),
        1 => any::<u64>(),
        1 => (0_u32..64, 0_u64..16).prop_map(|(shift, low)| (1_u64 << shift).wrapping_sub(low)),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        2 => (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        2 => (at(), any::<u8>()).prop_map(|(at, value)| Mutation::Byte { at, value }),
        6 => (at(), 1_u8..=3, hostile_number()).prop_map(|(at, size_log2, value)| Mutation::Word { at, size_log2, value }),
        1 => (at(), at(), 1_u16..512).prop_map(|(from, to, length)| Mutation::Copy { from, to, length }),
        1 => (at(), 1_u16..64).prop_map(|(at, length)| Mutation::Remove { at, length }),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..32)).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        1 => at().prop_map(|at| Mutation::Truncate { at }),
    ]
}

pub(crate) fn mutations(
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(), count)
}

/// Changes within the first `reach` bytes, where headers are, or anywhere with `usize::MAX`.
pub(crate) fn mutated(valid: &[u8], mutations: &[Mutation], reach: usize) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        let reach = reach.min(bytes.len());
        apply(mutation, &mut bytes, reach);
    }
    bytes
}

fn apply(mutation: &Mutation, bytes: &mut Vec<u8>, reach: usize) {
    let end = |start: usize, length: u16| (start + usize::from(length)).min(reach);
    match mutation {
        Mutation::Flip { at, bit } => bytes[at.index(reach)] ^= 1 << bit,
        Mutation::Byte { at, value } => bytes[at.index(reach)] = *value,
        Mutation::Word { at, size_log2, value } => {
            let size = 1 << size_log2;
            let start = at.index(reach) / size * size;
            for (byte, value) in bytes[start..].iter_mut().take(size).zip(value.to_le_bytes()) {
                *byte = value;
            }
        }
        Mutation::Copy { from, to, length } => {
            let from = from.index(reach);
            let range = from..end(from, *length);
            let to = to.index(reach).min(reach - range.len());
            bytes.copy_within(range, to);
        }
        Mutation::Remove { at, length } => {
            let start = at.index(reach);
            bytes.drain(start..end(start, *length));
        }
        Mutation::Insert { at, bytes: new } => {
            let start = at.index(reach);
            bytes.splice(start..start, new.iter().copied());
        }
        Mutation::Truncate { at } => bytes.truncate(at.index(reach)),
    }
}
