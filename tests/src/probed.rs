//! Breakpoints in a process: bytes of its code that are not those of the files that it comes from.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
};

use crate::behavior::wait_until;

/// Bytes in which the code of a process differs from its files; 0 for a process that is gone.
pub fn changed_bytes(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(mut memory) = File::open(format!("/proc/{pid}/mem")) else {
        return 0;
    };
    let mut changed = 0;
    for line in maps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [range, "r-xp", offset, _, _, ..] = words[..] else {
            continue;
        };
        // The mapping itself leads to its file, whatever became of the path and whoever sees it.
        let Ok(mut file) = File::open(format!("/proc/{pid}/map_files/{range}")) else {
            continue;
        };
        let number = |text: &str| u64::from_str_radix(text, 16).expect("maps are hexadecimal");
        let (start, end) = range.split_once('-').expect("a range has two ends");
        let (start, end) = (number(start), number(end));
        let length = usize::try_from(end - start).expect("it is mapped");
        let mapped = read_at(&mut memory, start, length);
        let original = read_at(&mut file, number(offset), length);
        changed += mapped
            .iter()
            .zip(&original)
            .filter(|(mapped, original)| mapped != original)
            .count();
    }
    changed
}

pub fn is_unprobed(pid: u32) -> bool {
    changed_bytes(pid) == 0
}

/// Waits until a process, if it still is there, is as if nobody had ever recorded it.
///
/// # Panics
/// If it keeps breakpoints.
pub fn wait_unprobed(pid: u32) {
    wait_until("the probes to go", || is_unprobed(pid).then_some(()));
}

/// Zeros beyond the end of the file: its last page need not be whole.
fn read_at(file: &mut File, position: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    if file.seek(SeekFrom::Start(position)).is_ok() {
        while let Ok(read @ 1..) = file.read(&mut bytes[filled..]) {
            filled += read;
        }
    }
    bytes
}
