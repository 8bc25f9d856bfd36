//! What a file is that is no SQLite database, told from its first bytes.

/// Bytes that are enough to tell.
pub(super) const SNIFFED_BYTES: u64 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A capture of memray itself (`records.h`, `MAGIC`, memray 1.20).
    MemrayCapture,
    /// An LZ4 frame, which memray makes of its captures at exit.
    Lz4,
    Gzip,
    Zstandard,
    Xz,
    Zip,
    Elf,
    Html,
    Json,
    Text,
    Unknown,
}

impl Kind {
    pub(super) fn of(start: &[u8]) -> Self {
        const MAGIC: [(&[u8], Kind); 7] = [
            (b"memray", Kind::MemrayCapture),
            (b"\x04\x22\x4d\x18", Kind::Lz4),
            (b"\x1f\x8b", Kind::Gzip),
            (b"\x28\xb5\x2f\xfd", Kind::Zstandard),
            (b"\xfd7zXZ\0", Kind::Xz),
            (b"PK\x03\x04", Kind::Zip),
            (b"\x7fELF", Kind::Elf),
        ];
        if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
            return *kind;
        }
        let text = start.trim_ascii_start();
        match text.first() {
            _ if start.contains(&0) => Self::Unknown,
            Some(b'<') => Self::Html,
            Some(b'{' | b'[') => Self::Json,
            Some(_)
                if start
                    .iter()
                    .all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace()) =>
            {
                Self::Text
            }
            _ => Self::Unknown,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::MemrayCapture => "a capture in the format of Bloomberg's memray",
            Self::Lz4 => "an LZ4 file, such as a compressed capture in the format of Bloomberg's memray",
            Self::Gzip => "a gzip file",
            Self::Zstandard => "a Zstandard file",
            Self::Xz => "an xz file",
            Self::Zip => "a zip archive",
            Self::Elf => "an ELF program or library",
            Self::Html => "an HTML or XML file, such as a report",
            Self::Json => "a JSON file, such as a report",
            Self::Text => "a text file",
            Self::Unknown => "no SQLite database",
        }
    }

    pub(super) const fn hint(self) -> &'static str {
        match self {
            Self::MemrayCapture | Self::Lz4 => {
                "read it with the memray that wrote it, or record again with this one"
            }
            Self::Gzip | Self::Zstandard | Self::Xz | Self::Zip => "unpack it first",
            _ => "name a file that `memray run` has written",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn known_by_their_first_bytes() {
        let cases: [(&[u8], Kind); 12] = [
            (b"memray\0\x0c\0\0\0", Kind::MemrayCapture),
            (b"\x04\x22\x4d\x18\x44\x40", Kind::Lz4),
            (b"\x1f\x8b\x08\0", Kind::Gzip),
            (b"\x28\xb5\x2f\xfd\x04", Kind::Zstandard),
            (b"PK\x03\x04\x14", Kind::Zip),
            (b"\x7fELF\x02", Kind::Elf),
            (b"\n <!DOCTYPE html>", Kind::Html),
            (b"{\"a\": 1}", Kind::Json),
            (b"import os\n", Kind::Text),
            (b"na\xc3\xafve", Kind::Text),
            (b"ab\0c", Kind::Unknown),
            (b"SQLite format 3", Kind::Text),
        ];
        for (start, expected) in cases {
            assert_eq!(Kind::of(start), expected, "{start:?}");
        }
    }
}
