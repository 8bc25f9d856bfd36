//! Programs of another architecture: i386, made of nothing but headers and code.

const BASE: u32 = 0x0804_8000;
const HEADERS: u32 = 52 + 32;

/// Where the code lies in memory.
pub const ENTRY: u32 = BASE + HEADERS;

/// The file of a program, all in one page.
///
/// # Panics
/// If the code is longer than a file can be.
pub fn program(code: &[u8]) -> Vec<u8> {
    let end = HEADERS + u32::try_from(code.len()).expect("code is short");
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([2, 3].map(u16::to_le_bytes).concat());
    bytes.extend([1, ENTRY, 52, 0, 0].map(u32::to_le_bytes).concat());
    bytes.extend([52, 32, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    bytes.extend(
        [1, 0, BASE, BASE, end, end, 5, 0x1000]
            .map(u32::to_le_bytes)
            .concat(),
    );
    bytes.extend(code);
    bytes
}
