use proptest::prelude::*;

use super::*;

/// 3.12 and later on x86-64.
const OFFSETS: CodeOffsets = CodeOffsets {
    file: 0,
    name: 0,
    first_line: 0,
    line_table: 0,
    bytes_size: 16,
    bytes_data: 32,
    string_length: 16,
    string_state: 32,
    string_ascii_data: 40,
    string_compact_data: 56,
};

const BASE: u64 = 0x7000_0000_1000;
const COMPACT: u32 = 1 << 5;
const ASCII: u32 = 1 << 6;

/// One piece of memory at [`BASE`].
struct Memory(Vec<u8>);

impl RemoteMemory for Memory {
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        let start = usize::try_from(address.checked_sub(BASE).ok_or(Fault)?).map_err(|_error| Fault)?;
        let end = start.checked_add(destination.len()).ok_or(Fault)?;
        destination.copy_from_slice(self.0.get(start..end).ok_or(Fault)?);
        Ok(())
    }
}

fn object(length: u64, state: u32, data_offset: usize, data: &[u8]) -> Memory {
    let mut bytes = vec![0; data_offset];
    bytes[16..24].copy_from_slice(&length.to_le_bytes());
    bytes[32..36].copy_from_slice(&state.to_le_bytes());
    bytes.extend_from_slice(data);
    Memory(bytes)
}

fn raw(length: u64, state: u32, captured: &[u8]) -> RawString {
    let mut data = [0; NAME_BYTES];
    data[..captured.len()].copy_from_slice(captured);
    RawString {
        address: BASE,
        length,
        state,
        captured_bytes: u32::try_from(captured.len()).unwrap(),
        data,
    }
}

fn check(raw: &RawString, memory: &Memory, text: &str, complete: bool) {
    let expect = DecodedString {
        text: text.to_owned(),
        complete,
    };
    assert_eq!(decode(raw, memory, &OFFSETS, || true), expect);
}

#[test]
fn captured_strings_need_no_memory() {
    let gone = Memory(Vec::new());
    check(&raw(4, COMPACT | ASCII | 1 << 2, b"main"), &gone, "main", true);
    check(&raw(0, COMPACT | ASCII | 1 << 2, b""), &gone, "", true);
    check(&raw(4, COMPACT | 1 << 2, b"na\xefv"), &gone, "naïv", true);
    check(
        &raw(2, COMPACT | 2 << 2, &[0x42, 0x04, 0x31, 0x04]),
        &gone,
        "тб",
        true,
    );
    check(
        &raw(2, COMPACT | 4 << 2, &[0x0d, 0xf4, 1, 0, 0x61, 0, 0, 0]),
        &gone,
        "🐍a",
        true,
    );
    check(&raw(3, COMPACT | ASCII | 1 << 2, b"a\0\n"), &gone, "a\0\n", true);
    // A byte that was no UTF-8 in a file name, and a number that is no code point.
    check(
        &raw(2, COMPACT | 2 << 2, &[0x61, 0, 0xff, 0xdc]),
        &gone,
        "a\\udcff",
        true,
    );
    check(&raw(1, COMPACT | 4 << 2, &[0xff; 4]), &gone, "\u{fffd}", true);
}

#[test]
fn long_strings_are_completed_from_memory() {
    let long = "x".repeat(NAME_BYTES + 88);
    let state = COMPACT | ASCII | 1 << 2;
    let memory = object(600, state | 1, 40, long.as_bytes());
    check(&raw(600, state, &[b'x'; NAME_BYTES]), &memory, &long, true);
    check(&raw(600, state, b"xx"), &memory, &long, true);

    // Non-compact: a pointer where compact characters would be.
    let mut legacy = object(600, 1 << 2, 56, &(BASE + 64).to_le_bytes());
    legacy.0.extend_from_slice(long.as_bytes());
    check(&raw(600, 1 << 2, b""), &legacy, &long, true);
    assert_eq!(read(&legacy, BASE, &OFFSETS).unwrap().text, long);
}

#[test]
fn what_is_missing_shows() {
    let state = COMPACT | ASCII | 1 << 2;
    let gone = Memory(Vec::new());
    check(&raw(600, state, b"abc"), &gone, "abc…", false);
    // Another string lies there by now: of another length, or with another beginning.
    check(
        &raw(600, state, b"abc"),
        &object(3, state, 40, b"abc"),
        "abc…",
        false,
    );
    check(
        &raw(600, state, b"abc"),
        &object(600, state, 40, &[b'z'; 600]),
        "abc…",
        false,
    );
    check(&raw(4, 7 << 2, b"abcd"), &gone, "…", false);
    check(&raw(4, 0, b"abcd"), &gone, "…", false);
}

#[test]
fn what_may_be_of_another_is_not_taken() {
    let state = COMPACT | ASCII | 1 << 2;
    // The same length and the same beginning as the one that the kernel saw.
    let memory = object(8, state, 40, b"abcdWXYZ");
    for (captured, is_alive, text, complete) in [
        (&b"abcd"[..], true, "abcdWXYZ", true),
        (b"abcd", false, "abcd…", false),
        (b"", false, "…", false),
        (b"abcdefgh", false, "abcdefgh", true),
    ] {
        let decoded = decode(&raw(8, state, captured), &memory, &OFFSETS, || is_alive);
        assert_eq!((decoded.text.as_str(), decoded.complete), (text, complete));
    }
}

#[test]
fn a_huge_string_is_cut_at_the_bound() {
    let state = COMPACT | ASCII | 1 << 2;
    let memory = object(1 << 40, state, 40, &vec![b'q'; MAX_STRING_BYTES + 10]);
    let decoded = decode(&raw(1 << 40, state, b"qq"), &memory, &OFFSETS, || true);
    assert!(!decoded.complete);
    assert_eq!(decoded.text.chars().count(), MAX_STRING_BYTES + 1);
    check(
        &raw(u64::MAX, COMPACT | 4 << 2, b""),
        &Memory(Vec::new()),
        "…",
        false,
    );
}

#[test]
fn equality_reads_the_text() {
    let state = COMPACT | ASCII | 1 << 2;
    assert!(equals(&object(5, state, 40, b"_name"), BASE, "_name", &OFFSETS));
    assert!(!equals(&object(5, state, 40, b"_nama"), BASE, "_name", &OFFSETS));
    assert!(!equals(&object(6, state, 40, b"_names"), BASE, "_name", &OFFSETS));
    assert!(!equals(&Memory(Vec::new()), BASE, "_name", &OFFSETS));
}

proptest! {
    #[test]
    fn any_string_is_survived(
        length: u64,
        state: u32,
        captured in 0..=u32::MAX,
        data in proptest::collection::vec(any::<u8>(), NAME_BYTES),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut raw = raw(length, state, &data);
        raw.captured_bytes = captured;
        let decoded = decode(&raw, &Memory(bytes), &OFFSETS, || true);
        prop_assert!(decoded.text.len() <= MAX_STRING_BYTES * 4 + 8);
        prop_assert!(decoded.complete || decoded.text.ends_with(ELLIPSIS));
    }
}
