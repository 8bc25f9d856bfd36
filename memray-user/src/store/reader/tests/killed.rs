//! What a recorder leaves that is killed, or still runs, for readers of any rights.
//!
//! Another process is needed: the test's own binary, started again with a variable that gives the test its other
//! role.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rusqlite::Connection;

use super::{super::CaptureReader, ask_all};
use crate::{
    model::{Batch, CaptureSource as _, SizeHistogramRow, View},
    store::{
        CaptureWriter, Overwrite,
        tests::{freed, histogram, live, sample_batch, site, state, write_capture},
    },
};

const CAPTURE_VARIABLE: &str = "MEMRAY_TEST_CAPTURE";
const VFS_VARIABLE: &str = "MEMRAY_TEST_VFS";

/// One window of a recording of one site: of ten allocations nine end at once.
fn window(number: u64) -> Batch {
    let first_id = number * 1000;
    let ended = freed(number, 1, 1, 8, 0);
    let (allocated, alive) = ((number + 1) * 1000, (number + 1) * 100);
    let mut batch = Batch {
        freed: vec![ended; 900],
        live_added: (first_id + 1..=first_id + 100)
            .map(|id| live(id, 1, 1, 8))
            .collect(),
        sites: vec![site(
            1,
            1,
            1,
            [allocated, 8 * allocated],
            [alive, 8 * alive],
            [0, 0],
            0,
        )],
        states: vec![state(1, 1)],
        ..Batch::default()
    };
    let totals = &mut batch.states[0];
    (totals.alloc_count, totals.alloc_bytes) = (allocated, 8 * allocated);
    (totals.live_count, totals.live_bytes) = (alive, 8 * alive);
    (totals.peak_count, totals.peak_bytes) = (alive, 8 * alive);
    batch.histogram.push(SizeHistogramRow {
        alloc_bytes: 8 * allocated,
        ..histogram(8, allocated)
    });
    if number == 0 {
        let names = sample_batch();
        (batch.processes, batch.threads) = (names.processes, names.threads);
        (batch.frames, batch.stacks) = (names.frames, names.stacks);
    }
    batch
}

/// The recorder: writes windows until it is killed, and says when each is committed.
fn record_for_ever(path: &Path) {
    let vfs = std::env::var(VFS_VARIABLE).ok();
    let mut writer = match vfs {
        Some(vfs) => CaptureWriter::create_with_vfs(path, Overwrite::Refuse, None, Some(&vfs)).unwrap(),
        None => CaptureWriter::create(path, Overwrite::Refuse, None).unwrap(),
    };
    for number in 0.. {
        writer.write(&window(number)).unwrap();
        println!("\ncommitted {}", number + 1);
    }
}

fn test_command(binary: &Path, test: &str, capture: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args([
        &format!("store::reader::tests::killed::{test}"),
        "--exact",
        "--nocapture",
    ]);
    command.env(CAPTURE_VARIABLE, capture);
    command
}

struct Recorder(Child);

impl Drop for Recorder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts a recorder, waits for some commits, lets the caller look, and kills it. Returns the windows committed.
fn record(test: &str, capture: &Path, vfs: Option<&str>, windows: u64, look: impl FnOnce()) -> u64 {
    let mut command = test_command(&std::env::current_exe().unwrap(), test, capture);
    command
        .stdout(Stdio::piped())
        .envs(vfs.map(|vfs| (VFS_VARIABLE, vfs)));
    let mut recorder = Recorder(command.spawn().unwrap());
    let output = BufReader::new(recorder.0.stdout.take().unwrap());
    let mut numbers = output.lines().map_while(Result::ok).filter_map(|line| {
        line.strip_prefix("committed ")
            .and_then(|number| number.parse::<u64>().ok())
    });
    numbers
        .find(|number| *number >= windows)
        .expect("the recorder writes until it is killed");
    look();
    drop(recorder);
    numbers.last().unwrap_or(windows)
}

/// All that was committed is there, and all parts of it agree.
fn check_whole(path: &Path, windows: u64) {
    let reader = CaptureReader::open(path).unwrap();
    ask_all(&reader).unwrap();
    let metadata = reader.metadata().unwrap();
    assert!(!metadata.finished);
    let allocated = metadata.states[0].alloc_count;
    assert!(allocated >= 1000 * windows, "{allocated} of {windows} windows");
    assert_eq!(reader.sites(View::All).unwrap()[0].count, allocated);
    assert_eq!(reader.sites(View::Leaks).unwrap()[0].count, allocated / 10);
    assert_eq!(
        reader.rows::<crate::model::FreedRow>().unwrap().len() as u64,
        allocated / 10 * 9
    );
    assert_eq!(
        reader.rows::<crate::model::LiveRow>().unwrap().len() as u64,
        allocated / 10
    );
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn role() -> Option<PathBuf> {
    std::env::var_os(CAPTURE_VARIABLE).map(PathBuf::from)
}

#[test]
fn killed_recorder_leaves_all_that_it_committed() {
    if let Some(path) = role() {
        return record_for_ever(&path);
    }
    for windows in [1, 2, 7, 40, 150] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        let test = "killed_recorder_leaves_all_that_it_committed";
        let committed = record(test, &path, None, windows, || {
            ask_all(&CaptureReader::open(&path).unwrap()).unwrap();
        });
        check_whole(&path, committed);
        fs::remove_file(beside(&path, "-shm")).unwrap();
        check_whole(&path, committed);
        let sound: String = Connection::open(&path)
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}

/// Where there is no shared memory the journal of an unfinished commit has to be rolled back.
#[test]
fn killed_recorder_without_log_leaves_all_that_it_committed() {
    if let Some(path) = role() {
        return record_for_ever(&path);
    }
    for windows in [1, 5, 20, 60] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        let test = "killed_recorder_without_log_leaves_all_that_it_committed";
        let committed = record(test, &path, Some("unix-dotfile"), windows, || {});
        check_whole(&path, committed);
    }
}

/// The files as SIGKILL leaves them in the middle of a commit: pages of the new batch are in the file already.
#[test]
fn commit_cut_off_in_the_middle_is_rolled_back() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (
        directory.path().join("capture.db"),
        directory.path().join("copy.db"),
    );
    write_capture(&path, &[window(0), window(1)]);
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous=OFF; PRAGMA cache_size=2; BEGIN; UPDATE freed_allocations SET size = 77;
             DELETE FROM sites; UPDATE live_allocations SET size = 77",
        )
        .unwrap();
    for suffix in ["", "-journal"] {
        fs::copy(beside(&path, suffix), beside(&copy, suffix)).unwrap();
    }
    let changed = fs::read(&copy).unwrap();
    connection.execute_batch("ROLLBACK").unwrap();
    assert_ne!(fs::read(&path).unwrap(), changed);
    let reader = CaptureReader::open(&copy).unwrap();
    assert_eq!(reader.sites(View::All).unwrap()[0].count, 2000);
    let sizes: Vec<u64> = reader
        .rows::<crate::model::FreedRow>()
        .unwrap()
        .iter()
        .map(|row| row.size)
        .collect();
    assert_eq!(sizes, [8; 1800]);
}

/// Runs the test of that name as somebody who may read the capture and may write neither it nor its directory.
fn as_stranger(test: &str, capture: &Path) {
    let directory = capture.parent().unwrap();
    let binaries = tempfile::tempdir().unwrap();
    let binary = binaries.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    for path in [binaries.path(), &binary, directory] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o444)).unwrap();
        }
    }
    let mut command = test_command(&binary, test, capture);
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.current_dir("/").output().unwrap();
    for path in [binaries.path(), directory] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn stranger_reads_a_killed_capture() {
    if let Some(path) = role() {
        return if path.exists() {
            check_whole(&path, 20);
        } else {
            record_for_ever(&path);
        };
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    record("stranger_reads_a_killed_capture", &path, None, 20, || {});
    as_stranger("stranger_reads_a_killed_capture", &path);
}

#[test]
fn stranger_is_told_when_only_the_owner_can_complete_a_capture() {
    if let Some(path) = role() {
        if !path.exists() {
            return record_for_ever(&path);
        }
        let error = CaptureReader::open(&path).unwrap_err();
        assert!(error.message.contains("left unfinished"), "{error:?}");
        assert!(error.hint.unwrap().contains("-wal"));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    let test = "stranger_is_told_when_only_the_owner_can_complete_a_capture";
    let committed = record(test, &path, None, 20, || {});
    fs::remove_file(beside(&path, "-shm")).unwrap();
    as_stranger(test, &path);
    check_whole(&path, committed);
}

#[test]
fn stranger_reads_a_capture_that_was_closed_with_its_log_on() {
    if let Some(path) = role() {
        return ask_all(&CaptureReader::open(&path).unwrap()).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[sample_batch()]);
    let connection = Connection::open(&path).unwrap();
    connection
        .query_row("PRAGMA journal_mode=WAL", [], |_mode| Ok(()))
        .unwrap();
    drop(connection);
    assert!(!beside(&path, "-wal").exists());
    as_stranger("stranger_reads_a_capture_that_was_closed_with_its_log_on", &path);
}

#[test]
fn stranger_without_permission_is_told() {
    if let Some(path) = role() {
        let error = CaptureReader::open(&path.with_file_name("secret.db")).unwrap_err();
        assert!(error.message.contains("cannot read the capture"), "{error:?}");
        assert!(error.hint.unwrap().contains("owner"));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let locked = directory.path().join("locked");
    fs::create_dir(&locked).unwrap();
    write_capture(&locked.join("secret.db"), &[sample_batch()]);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let visible = directory.path().join("capture.db");
    std::os::unix::fs::symlink("locked/secret.db", directory.path().join("secret.db")).unwrap();
    fs::write(&visible, "").unwrap();
    as_stranger("stranger_without_permission_is_told", &visible);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}
