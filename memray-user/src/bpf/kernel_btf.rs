//! Offsets in the kernel's structures, from its own type information.
//!
//! BTF (Documentation/bpf/btf.rst): a header, a section of types, a section of strings. Only as much is read as
//! one path through nested structs needs; the file is the kernel's, but is parsed as if it were anyone's.

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// Structs without a name that can lie in one another; the kernel has two or three.
const MAX_ANONYMOUS_DEPTH: u32 = 8;

/// The bytes of a BTF file with its sections found.
#[derive(Debug)]
pub(super) struct KernelTypes<'a> {
    /// In the order of their ids, which count from 1.
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// One entry of the section of types.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    name_offset: u32,
    kind: u32,
    /// Where the kind sets the bit: member offsets have the size of a bit field in their upper byte.
    kind_flag: bool,
    /// What follows the 12 bytes of the entry.
    extra: &'a [u8],
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl<'a> KernelTypes<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let section = |at: usize| -> Option<&'a [u8]> {
            let header_bytes = usize::try_from(u32_at(bytes, 4)?).ok()?;
            let start = header_bytes.checked_add(usize::try_from(u32_at(bytes, at)?).ok()?)?;
            let length = usize::try_from(u32_at(bytes, at + 4)?).ok()?;
            bytes.get(start..start.checked_add(length)?)
        };
        Some(Self {
            types: entries(section(8)?).collect(),
            strings: section(16)?,
        })
    }

    /// Byte offset of `path` (members, each but the last of them a struct) in the struct of that name.
    pub(super) fn member_offset(&self, structure: &str, path: &[&str]) -> Option<u64> {
        let mut current = *self
            .types
            .iter()
            .find(|entry| entry.kind == KIND_STRUCT && self.name(entry.name_offset) == Some(structure))?;
        let mut offset_bits = 0u64;
        for (index, member) in path.iter().enumerate() {
            let (type_id, member_bits) = self.member(&current, member, MAX_ANONYMOUS_DEPTH)?;
            offset_bits += member_bits;
            if index + 1 < path.len() {
                current = self.type_of(type_id)?;
                if current.kind != KIND_STRUCT {
                    return None;
                }
            }
        }
        offset_bits.is_multiple_of(8).then_some(offset_bits / 8)
    }

    /// Type and bit offset of a member of a struct, or of one without a name inside of it (`brk` of `mm_struct`), whose
    /// members are used as if they were the outer one's.
    fn member(&self, structure: &Type<'a>, name: &str, depth: u32) -> Option<(u32, u64)> {
        structure.extra.chunks_exact(12).find_map(|member| {
            let (type_id, offset) = (u32_at(member, 4)?, u32_at(member, 8)?);
            let bits = if structure.kind_flag {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            match self.name(u32_at(member, 0)?)? {
                found if found == name => Some((type_id, u64::from(bits))),
                "" => {
                    let inner = self.type_of(type_id)?;
                    let is_transparent = matches!(inner.kind, KIND_STRUCT | KIND_UNION);
                    let depth = depth.checked_sub(1).filter(|_| is_transparent)?;
                    let (type_id, inner_bits) = self.member(&inner, name, depth)?;
                    Some((type_id, u64::from(bits) + inner_bits))
                }
                _ => None,
            }
        })
    }

    /// Type ids count from 1.
    fn type_of(&self, type_id: u32) -> Option<Type<'a>> {
        let index = usize::try_from(type_id).ok()?.checked_sub(1)?;
        self.types.get(index).copied()
    }

    fn name(&self, offset: u32) -> Option<&'a str> {
        let bytes = self.strings.get(usize::try_from(offset).ok()?..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&bytes[..end]).ok()
    }
}

/// The entries of the section of types.
fn entries(mut rest: &[u8]) -> impl Iterator<Item = Type<'_>> {
    std::iter::from_fn(move || {
        let info = u32_at(rest, 4)?;
        let (kind, count) = (info >> 24 & 0x1f, usize::try_from(info & 0xffff).ok()?);
        let extra_bytes = match kind {
            // INT, VAR, DECL_TAG
            1 | 14 | 17 => 4,
            // ARRAY
            3 => 12,
            // STRUCT, UNION, DATASEC, ENUM64
            4 | 5 | 15 | 19 => count * 12,
            // ENUM, FUNC_PROTO
            6 | 13 => count * 8,
            _ => 0,
        };
        let entry = Type {
            name_offset: u32_at(rest, 0)?,
            kind,
            kind_flag: info >> 31 != 0,
            extra: rest.get(12..12 + extra_bytes)?,
        };
        rest = &rest[12 + extra_bytes..];
        Some(entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct inner {u64 a; u64 b;}; struct outer {u64 x; struct inner y; struct {u64 c; u64 d;};};`
    fn sample() -> Vec<u8> {
        let strings = b"\0inner\0a\0b\0outer\0x\0y\0c\0d\0";
        let name = |text: &str| {
            let text = format!("\0{text}\0");
            let at = strings
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            u32::try_from(at.expect("in the table") + 1).expect("small")
        };
        let structure = |members: u32| KIND_STRUCT << 24 | members;
        let int = 1u32 << 24;
        let words = [
            [0, int, 8, 64].as_slice(),
            &[name("inner"), structure(2), 16, name("a"), 1, 0, name("b"), 1, 64],
            &[
                name("outer"),
                structure(3),
                40,
                name("x"),
                1,
                0,
                name("y"),
                2,
                64,
                0,
                4,
                192,
            ],
            &[0, structure(2), 16, name("c"), 1, 0, name("d"), 1, 64],
        ]
        .concat();
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len(), types.len(), strings.len()] {
            bytes.extend(u32::try_from(word).expect("small").to_le_bytes());
        }
        [bytes, types, strings.to_vec()].concat()
    }

    #[test]
    fn follows_a_path_of_members() {
        let bytes = sample();
        let types = KernelTypes::parse(&bytes).expect("parses");
        assert_eq!(types.member_offset("outer", &["y", "b"]), Some(16));
        assert_eq!(types.member_offset("inner", &["b"]), Some(8));
        assert_eq!(types.member_offset("outer", &["d"]), Some(32));
        assert_eq!(types.member_offset("outer", &["z"]), None);
        assert_eq!(types.member_offset("outer", &["x", "b"]), None);
        assert_eq!(types.member_offset("other", &["x"]), None);
    }

    #[test]
    fn any_prefix_is_harmless() {
        let bytes = sample();
        for length in 0..bytes.len() {
            if let Some(types) = KernelTypes::parse(&bytes[..length]) {
                assert_eq!(types.member_offset("outer", &["y", "b"]), None);
                assert_eq!(types.member_offset("outer", &["d"]), None);
            }
        }
    }
}
