//! Breakpoints in a process: bytes of its code that are not those of the files that it comes from.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    thread,
    time::{Duration, Instant},
};

/// The kernel takes breakpoints away a while after their owner has gone.
const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes in which the code of a process differs from its files; 0 for a process that is gone.
pub fn changed_bytes(pid: u32) -> usize {
    changes(pid).len()
}

pub fn is_unprobed(pid: u32) -> bool {
    changed_bytes(pid) == 0
}

/// Waits until a process, if it still is there, is as if nobody had ever recorded it.
///
/// # Panics
/// If it keeps breakpoints.
pub fn wait_unprobed(pid: u32) {
    let start = Instant::now();
    loop {
        let mut changes = changes(pid);
        if is_anybody_recording() {
            // Recordings that follow children put breakpoints into all processes, and so into this one.
            let everywhere = self::changes(std::process::id());
            changes.retain(|place| !everywhere.contains(place));
        }
        if changes.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "process {pid} keeps breakpoints:\n{}",
            changes.join("\n")
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// Another recording than ours, by somebody else on this machine.
fn is_anybody_recording() -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("comm")).ok())
        .any(|comm| comm == "memray\n")
}

/// Each as its place in a file.
fn changes(pid: u32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(mut memory) = File::open(format!("/proc/{pid}/mem")) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    for line in maps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [range, "r-xp", offset, _, _, ref name @ ..] = words[..] else {
            continue;
        };
        // The mapping itself leads to its file, whatever became of the path and whoever sees it.
        let Ok(mut file) = File::open(format!("/proc/{pid}/map_files/{range}")) else {
            continue;
        };
        let number = |text: &str| u64::from_str_radix(text, 16).expect("maps are hexadecimal");
        let (start, end) = range.split_once('-').expect("a range has two ends");
        let (start, end, offset) = (number(start), number(end), number(offset));
        let length = usize::try_from(end - start).expect("it is mapped");
        let mapped = read_at(&mut memory, start, length);
        let original = read_at(&mut file, offset, length);
        if mapped == original {
            continue;
        }
        let pairs = (offset..).zip(mapped.iter().zip(&original));
        let differences = pairs.filter(|(_, (mapped, original))| mapped != original);
        changes.extend(differences.map(|(place, _)| format!("{}+{place:#x}", name.join(" "))));
    }
    changes
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
