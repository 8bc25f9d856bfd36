//! Copies that are made while a recording goes on, as a power cut or a hasty `cp` leaves them: the file alone, with its
//! log in either order, and halves of two moments. Each is read, with figures of one moment, or refused with a hint; none
//! has figures that do not agree. `memray recover` makes something of most.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use memray_tests::{
    behavior::{folder_with, memray_run, wait_until},
    memray, program,
    rising::{Log, check_capture},
    transcript,
};

const WAL: &str = "-wal";

fn read(path: &Path, suffix: &str) -> Vec<u8> {
    fs::read(format!("{}{suffix}", path.display())).unwrap_or_default()
}

/// The file and its log; None to have none.
type Copied = (Vec<u8>, Option<Vec<u8>>);

/// Five kinds of copies, with some work of the recording in the midst of each.
fn copies(capture: &Path, mut work: impl FnMut()) -> [(&'static str, Copied); 5] {
    let alone = (read(capture, ""), None);
    let file = read(capture, "");
    work();
    let file_first = (file, Some(read(capture, WAL)));
    let log = read(capture, WAL);
    work();
    let log_first = (read(capture, ""), Some(log));
    let mut torn = read(capture, "");
    torn.truncate(torn.len() / 2 / 4096 * 4096);
    work();
    let rest = read(capture, "");
    torn.extend_from_slice(rest.get(torn.len()..).unwrap_or_default());
    let mut half_log = read(capture, WAL);
    half_log.truncate(half_log.len() / 2);
    [
        ("alone", alone),
        ("file first", file_first),
        ("log first", log_first),
        ("torn", (torn, None)),
        ("half a log", (read(capture, ""), Some(half_log))),
    ]
}

#[test]
fn while_it_is_recorded() {
    let folder = folder_with(&[]);
    let log = Log::at(folder.path().join("log"));
    let script = program("rising.py");
    let words = [script.as_path(), log.path()].map(|path| path.to_str().unwrap());
    let mut recording = memray_run(folder.path(), &words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let capture = folder.path().join("c.db");
    wait_until("blocks", || (log.times_ns().len() > 100).then_some(()));
    let mut work = || {
        let count = log.times_ns().len();
        wait_until("more blocks", || {
            (log.times_ns().len() > count + 120).then_some(())
        });
    };
    let rounds: Vec<_> = (0..4).flat_map(|_| copies(&capture, &mut work)).collect();
    drop(recording.stdin.take());
    assert!(recording.wait().unwrap().success());

    let (mut read, mut refused, mut recovered) = (0, 0, 0);
    for (number, (kind, copied)) in rounds.iter().enumerate() {
        let name = format!("copy {number}, {kind}");
        let place = folder_with(&[]);
        let put = || put(place.path(), copied);
        put();
        let output = stats(place.path(), "copy.db");
        let text = transcript(&output);
        if output.status.success() {
            read += 1;
            check_capture(&place.path().join("copy.db"), &name);
            let lacks_log = copied.1.is_none();
            assert_eq!(
                text.contains("if this is a copy, copy the log too"),
                lacks_log,
                "{name}: {text}"
            );
        } else {
            refused += 1;
            assert!(
                text.starts_with("exit status: 1\n") && text.contains("\nhint: "),
                "{name}: {text}"
            );
        }
        // What was read above may have been changed by it.
        put();
        let was_read = output.status.success();
        let recover = memray(place.path())
            .args(["recover", "copy.db", "-o", "r.db"])
            .output()
            .unwrap();
        match recover.status.code() {
            Some(0) => assert!(was_read, "{name}: {recover:?}"),
            Some(4) => assert!(!was_read, "{name}: {recover:?}"),
            _ => {
                assert!(
                    !was_read && transcript(&recover).contains("\nhint: "),
                    "{name}: {recover:?}"
                );
                continue;
            }
        }
        recovered += 1;
        let output = stats(place.path(), "r.db");
        let text = transcript(&output);
        assert!(output.status.success(), "{name}: {text}");
        assert!(was_read || text.contains("damaged capture"), "{name}: {text}");
    }
    eprintln!(
        "{} copies: {read} read, {refused} refused, {recovered} recovered",
        rounds.len()
    );
    assert!(read >= 8, "{read} of {}", rounds.len());
}

fn put(folder: &Path, (file, log): &Copied) {
    fs::write(folder.join("copy.db"), file).unwrap();
    for suffix in [WAL, "-shm"] {
        let _none = fs::remove_file(folder.join(format!("copy.db{suffix}")));
    }
    if let Some(log) = log {
        fs::write(folder.join("copy.db-wal"), log).unwrap();
    }
}

fn stats(folder: &Path, capture: &str) -> Output {
    memray(folder).args(["stats", capture]).output().unwrap()
}
