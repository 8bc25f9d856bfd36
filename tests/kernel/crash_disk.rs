//! Disks that fill up or fail while a recording goes on. The program does not notice; memray says it once, ends with a
//! status of its own, and leaves what it had.

use std::{fs, path::Path, process::Output};

use memray_tests::{
    behavior::{folder_with, plain, run_with_input, usual_python},
    memray::memray_binary,
    program,
    rising::{Blocks, check_capture, check_reports, tell},
    transcript,
};

/// Mounts a disk of its own at `disk`, runs the words there, and takes a copy of what is on it to `left`.
fn on_disk(folder: &Path, mount: &str, script: &str) -> Output {
    fs::create_dir_all(folder.join("disk")).unwrap();
    fs::create_dir_all(folder.join("left")).unwrap();
    let record = "record() { \"$memray\" run -q -o disk/c.db --python \"$python\" \"$rising\" \"$log\" $1; echo status $?; }
        blocks() { while [ \"$( { wc -l < log || echo 0; } 2> /dev/null)\" -lt \"$1\" ]; do sleep 0.02; done; }";
    let line = format!("set -u\n{mount}\n{record}\n{script}\nwait\ncp -a disk/. left\numount disk\n");
    let mut command = plain(folder, "unshare");
    command
        .args(["-m", "sh", "-c", &line])
        .env("memray", memray_binary())
        .env("python", &usual_python().program)
        .env("rising", program("rising.py"))
        .env("log", folder.join("log"));
    run_with_input(command, b"")
}

const TMPFS: &str = "mount -t tmpfs -o size=2m none disk";
const EXT4: &str = "truncate -s 8M image && mkfs.ext4 -q image && mount -o loop image disk";

/// What is told once, and nothing else.
fn expect_told(text: &str, error: &str, name: &str) {
    assert_eq!(text.matches(error).count(), 1, "{name}: {text}");
    assert_eq!(text.matches("error: ").count(), 1, "{name}: {text}");
    assert!(
        text.contains("\nhint: ") && text.contains("is not whole"),
        "{name}: {text}"
    );
}

const NO_SPACE: &str = "error: no space is left for the capture `disk/c.db`\n";

fn left(folder: &Path, name: &str) -> Blocks {
    let blocks = check_capture(&folder.join("left/c.db"), name);
    check_reports(&folder.join("left"), "c.db", "");
    tell(&format!("{name}: {blocks:?}"));
    blocks
}

/// What is kept back is enough for all totals, and for the end.
#[test]
fn full_in_the_middle() {
    for (name, mount) in [("tmpfs", TMPFS), ("ext4", EXT4)] {
        let folder = folder_with(&[]);
        let script = "record 2000 & blocks 300; cat /dev/zero > disk/other 2> /dev/null";
        let text = transcript(&on_disk(folder.path(), mount, script));
        assert!(
            text.contains("end after 2000 blocks\nstatus 4\n"),
            "{name}: {text}"
        );
        expect_told(&text, NO_SPACE, name);
        let blocks = left(folder.path(), name);
        assert_eq!((blocks.kept, blocks.passed_by), (2000, 2000), "{name}");
    }
}

/// Totals go on when there is room again, and nothing of them is missing.
#[test]
fn full_and_freed() {
    let folder = folder_with(&[]);
    let mount = "mount -t tmpfs -o size=300k none disk";
    let script = "record 3000 & blocks 2000; mount -o remount,size=4m disk";
    let text = transcript(&on_disk(folder.path(), mount, script));
    assert!(text.contains("end after 3000 blocks\nstatus 4\n"), "{text}");
    expect_told(&text, NO_SPACE, "freed");
    let blocks = left(folder.path(), "freed");
    assert_eq!((blocks.kept, blocks.passed_by), (3000, 3000));
}

/// Nothing is kept back on a disk as small as this. What was committed before stays, and agrees.
#[test]
fn too_small_for_the_end() {
    let folder = folder_with(&[]);
    let mount = "mount -t tmpfs -o size=230k none disk";
    let text = transcript(&on_disk(folder.path(), mount, "record 2000 &"));
    assert!(text.contains("end after 2000 blocks\nstatus 4\n"), "{text}");
    expect_told(&text, NO_SPACE, "small");
    left(folder.path(), "small");
}

/// Filled while the recording ends, again and again at another moment.
#[test]
fn full_at_the_end() {
    for n_blocks in [400, 500] {
        let folder = folder_with(&[]);
        let script =
            format!("record {n_blocks} & blocks {n_blocks}; cat /dev/zero > disk/other 2> /dev/null");
        let text = transcript(&on_disk(folder.path(), TMPFS, &script));
        let is_whole = text.contains("status 0\n");
        assert!(is_whole || text.contains("status 4\n"), "{text}");
        if !is_whole {
            expect_told(&text, NO_SPACE, "end");
        }
        assert_eq!(left(folder.path(), "end").kept, n_blocks);
    }
}

/// As after a fault of the disk, when the file system takes nothing any more.
#[test]
fn a_file_system_that_becomes_read_only() {
    let folder = folder_with(&[]);
    let mount = format!(
        "{} && mount -o remount,errors=remount-ro disk",
        EXT4.replace("8M", "64M")
    );
    let script = "record 2000 & blocks 700
        device=$(basename \"$(findmnt -no SOURCE disk)\"); echo 1 > /sys/fs/ext4/$device/trigger_fs_error";
    let text = transcript(&on_disk(folder.path(), &mount, script));
    assert!(text.contains("end after 2000 blocks\nstatus 4\n"), "{text}");
    expect_told(
        &text,
        "error: cannot write to the capture `disk/c.db`\n",
        "read-only",
    );
    let blocks = left(folder.path(), "read-only");
    assert!(blocks.kept > 50 && blocks.kept < 2000, "{blocks:?}");
}
