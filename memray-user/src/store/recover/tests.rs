//! What is left of captures that were killed, copied or damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{RecoverError, Recovered, recover};
use crate::{
    model::{Batch, CaptureSource as _, SiteRow, View},
    store::{
        CaptureReader, CaptureWriter, Overwrite,
        tests::{freed, histogram, live, process, sample_batch, site, state, write_capture},
        writer::beside,
    },
};

/// Sites of the captures here.
const SITES: u64 = 3000;

/// A batch whose parts agree: so many allocations of 10 bytes at each site, one of them alive, and the peak is now.
fn batch(count: u64) -> Batch {
    let names = sample_batch();
    let sites: Vec<SiteRow> = (1..=u32::try_from(SITES).unwrap())
        .map(|id| site(id, 1, 1, [count, 10 * count], [1, 10], [0, 0], 0))
        .collect();
    let mut totals = state(1, 1);
    (totals.alloc_count, totals.alloc_bytes) = (SITES * count, 10 * SITES * count);
    (totals.live_count, totals.live_bytes) = (SITES, 10 * SITES);
    (totals.peak_count, totals.peak_bytes) = (SITES, 10 * SITES);
    Batch {
        processes: vec![process(1)],
        threads: vec![names.threads[0].clone()],
        frames: if count == 1 { names.frames } else { Vec::new() },
        stacks: if count == 1 { names.stacks } else { Vec::new() },
        freed: if count == 1 {
            Vec::new()
        } else {
            vec![freed(count, 1, 1, 10, 0); usize::try_from(SITES).unwrap()]
        },
        live_added: if count == 1 {
            (1..=SITES).map(|id| live(id, 1, 1, 10)).collect()
        } else {
            Vec::new()
        },
        histogram: vec![crate::model::SizeHistogramRow {
            alloc_bytes: 10 * SITES * count,
            ..histogram(10, SITES * count)
        }],
        sites,
        states: vec![totals],
        ..Batch::default()
    }
}

/// A recording of some batches that still runs; files are copied from it as they are.
fn running(directory: &Path, batches: u64) -> (CaptureWriter, PathBuf) {
    let path = directory.join("capture.db");
    let mut writer = CaptureWriter::create(&path, Overwrite::Refuse, None).unwrap();
    (1..=batches).for_each(|count| writer.write(&batch(count)).unwrap());
    (writer, path)
}

fn copy(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
    }
}

fn allocations(path: &Path) -> u64 {
    let reader = CaptureReader::open(path).unwrap();
    assert!(reader.metadata().unwrap().states.len() == 1);
    reader
        .sites(View::All)
        .unwrap()
        .iter()
        .map(|site| site.count)
        .sum()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_capture_with_its_log_becomes_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, path) = running(directory.path(), 3);
    let killed = directory.path().join("killed.db");
    copy(&path, &killed, &["", "-wal"]);
    drop(writer);
    fs::remove_file(&path).unwrap();

    let output = directory.path().join("output.db");
    let recovered = recover(&killed, Some((&output, Overwrite::Refuse))).unwrap();
    assert!(matches!(recovered, Recovered::Completed), "{recovered:?}");
    assert_eq!(allocations(&output), 3 * SITES);
    assert_eq!(
        names(directory.path()),
        ["killed.db", "killed.db-wal", "output.db"]
    );
    let refused = recover(&killed, Some((&output, Overwrite::Refuse)));
    assert!(matches!(refused, Err(RecoverError::Store(_))), "{refused:?}");
    recover(&killed, Some((&output, Overwrite::Replace))).unwrap();

    let recovered = recover(&killed, None).unwrap();
    assert!(matches!(recovered, Recovered::Completed), "{recovered:?}");
    assert_eq!(allocations(&killed), 3 * SITES);
    assert_eq!(names(directory.path()), ["killed.db", "output.db"]);
    for path in [&killed, &output] {
        let again = recover(path, None).unwrap();
        assert!(matches!(again, Recovered::AsItWas), "{again:?}");
        let metadata = CaptureReader::open(path).unwrap().metadata().unwrap();
        // That it was cut off is still so.
        assert!(!metadata.finished && !metadata.may_lack_log, "{metadata:?}");
    }
    let itself = recover(&output, Some((&output, Overwrite::Replace)));
    assert!(matches!(itself, Err(RecoverError::Itself { .. })), "{itself:?}");
}

#[test]
fn a_running_recording_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[sample_batch()]);
    let file = fs::File::open(&path).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    let refused = recover(&path, None);
    assert!(matches!(refused, Err(RecoverError::InUse { .. })), "{refused:?}");
    drop(lock);
    recover(&path, None).unwrap();
}

/// The file alone is what it was at the last checkpoint, and says that it may lack something.
#[test]
fn a_copy_without_its_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, path) = running(directory.path(), 2);
    let alone = directory.path().join("alone.db");
    copy(&path, &alone, &[""]);
    let reader = CaptureReader::open(&alone).unwrap();
    let metadata = reader.metadata().unwrap();
    assert!(metadata.may_lack_log && !metadata.finished, "{metadata:?}");
    let with_log = directory.path().join("with-log.db");
    copy(&path, &with_log, &["", "-wal"]);
    let reader = CaptureReader::open(&with_log).unwrap();
    assert!(!reader.metadata().unwrap().may_lack_log);
    writer.finish().unwrap();
    assert!(
        !CaptureReader::open(&path)
            .unwrap()
            .metadata()
            .unwrap()
            .may_lack_log
    );
}

/// Every mixture of a file of one moment with pages, or a log, of another: it is refused, or has the figures of one of
/// the moments.
#[test]
fn a_copy_of_two_moments_is_never_taken_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let moments: Vec<(Vec<u8>, Vec<u8>)> = (1..=4)
        .map(|batches| {
            let directory = tempfile::tempdir().unwrap();
            let (writer, path) = running(directory.path(), batches);
            // Folded into the file, so that it has all; the copy of the log is of the moment before.
            let log = fs::read(beside(&path, "-wal")).unwrap();
            writer.finish().unwrap();
            let connection = Connection::open(&path).unwrap();
            connection
                .execute_batch("DELETE FROM meta WHERE key = 'finished'; DROP INDEX stacks_parent")
                .unwrap();
            drop(connection);
            (fs::read(&path).unwrap(), log)
        })
        .collect();
    let (mut refused, mut read) = (0, 0);
    let mixed = directory.path().join("mixed.db");
    let mut check = |bytes: &[u8], log: Option<&[u8]>| {
        fs::write(&mixed, bytes).unwrap();
        let _none = fs::remove_file(beside(&mixed, "-shm"));
        match log {
            Some(log) => fs::write(beside(&mixed, "-wal"), log).unwrap(),
            None => drop(fs::remove_file(beside(&mixed, "-wal"))),
        }
        match CaptureReader::open(&mixed) {
            Err(error) => {
                refused += 1;
                assert!(error.hint.is_some(), "{error:?}");
            }
            Ok(reader) => {
                read += 1;
                let counts: Vec<u64> = reader
                    .sites(View::All)
                    .unwrap()
                    .iter()
                    .map(|site| site.count)
                    .collect();
                let total = reader.metadata().unwrap().states[0].alloc_count;
                assert_eq!(counts.iter().sum::<u64>(), total);
                assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
            }
        }
    };
    for (first, _) in &moments {
        for (second, log) in &moments {
            for tenth in 0..=10 {
                let cut = first.len().min(second.len()) / 10 * tenth / 4096 * 4096;
                check(&[&first[..cut], &second[cut..]].concat(), None);
            }
            check(first, Some(log));
            check(first, Some(&log[..log.len() / 2]));
        }
    }
    eprintln!("{refused} mixtures refused, {read} read");
    assert!(refused > 50 && read >= 16, "{refused} refused, {read} read");
}

/// Pages are overwritten one by one; all that does not lie on them comes back, and what is lost is counted.
#[test]
fn damaged_pages_cost_what_lies_on_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[batch(1), batch(2)]);
    let whole = fs::read(&path).unwrap();
    let n_pages = whole.len() / 4096;
    let (mut in_part, mut nothing, mut worst) = (0, 0, 0);
    for page in 1..n_pages {
        let mut bytes = whole.clone();
        bytes[4096 * page..4096 * (page + 1)].fill(0xa5);
        let damaged = directory.path().join("damaged.db");
        fs::write(&damaged, &bytes).unwrap();
        let refused = recover(&damaged, None);
        if refused.is_ok() {
            // A page of nobody.
            continue;
        }
        assert!(
            matches!(refused, Err(RecoverError::Damaged { .. })),
            "{page}: {refused:?}"
        );
        let output = directory.path().join("output.db");
        let recovered = recover(&damaged, Some((&output, Overwrite::Replace)));
        let losses = match recovered {
            Ok(Recovered::InPart { losses }) => losses,
            // Where SQLite keeps which tables there are.
            Err(RecoverError::Nothing { .. }) => {
                nothing += 1;
                continue;
            }
            other => panic!("page {page}: {other:?}"),
        };
        assert_eq!(
            fs::read(&damaged).unwrap(),
            bytes,
            "page {page}: the damaged file was changed"
        );
        let reader = CaptureReader::open(&output).unwrap();
        reader.check_pages().unwrap();
        let found: u64 = reader
            .sites(View::All)
            .unwrap()
            .iter()
            .map(|site| site.count)
            .sum();
        let expected: u64 = reader
            .metadata()
            .unwrap()
            .states
            .iter()
            .map(|state| state.alloc_count)
            .sum();
        assert_eq!(found.abs_diff(expected), losses[0].events, "page {page}");
        assert!(losses[1].events > 0, "page {page}");
        let kept = reader.losses().unwrap();
        assert!(
            kept.iter().any(|loss| loss.reason == "damaged_rows"),
            "page {page}"
        );
        in_part += 1;
        worst = worst.max(2 * SITES - found.min(2 * SITES));
    }
    eprintln!(
        "{in_part} of {n_pages} pages damaged in turn; the worst cost {worst} of {} allocations",
        2 * SITES
    );
    assert!(
        in_part > n_pages / 2 && nothing < 12,
        "{in_part} of {n_pages}, {nothing}"
    );
    assert_eq!(names(directory.path()), ["capture.db", "damaged.db", "output.db"]);
}

#[test]
fn nothing_can_be_made_of_a_file_without_its_head() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[sample_batch()]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..4096].fill(0);
    fs::write(&path, &bytes).unwrap();
    let output = directory.path().join("output.db");
    let error = recover(&path, Some((&output, Overwrite::Refuse))).unwrap_err();
    assert!(matches!(error, RecoverError::Nothing { .. }), "{error:?}");
    assert!(error.hint().is_some());
    let missing = recover(&directory.path().join("none.db"), None).unwrap_err();
    assert!(matches!(missing, RecoverError::Unreadable(_)), "{missing:?}");
    assert_eq!(names(directory.path()), ["capture.db"]);
}
