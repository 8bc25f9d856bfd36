//! `memray run` beside the plain program: both are run in the same surroundings and compared.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};

use crate::{memray::memray_binary, python::Python};

/// Longest wait for anything that a test expects.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is in a folder, sorted.
///
/// # Panics
/// If it cannot be read.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let mut names: Vec<_> = entries
        .map(|entry| {
            let name = entry.expect("the folder can be read").file_name();
            name.into_string().expect("names in tests are text")
        })
        .collect();
    names.sort();
    names
}

/// A pyenv interpreter, which links libpython: the usual case.
///
/// # Panics
/// If it is missing.
pub fn usual_python() -> &'static Python {
    static USUAL: OnceLock<Python> = OnceLock::new();
    USUAL.get_or_init(|| Python::of_pyenv(12))
}

/// A folder of one test, with the files that it names.
///
/// # Panics
/// If the folder cannot be made.
pub fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        let path = folder.path().join(name);
        let parent = path.parent().expect("it lies in the folder");
        fs::create_dir_all(parent).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }
    folder
}

/// A command with nothing in its environment that changes what the programs under test print.
pub fn plain(folder: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    let names = [
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "RUST_BACKTRACE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONMALLOC",
        "PYTHONUNBUFFERED",
        "PYENV_VERSION",
    ];
    for name in names {
        command.env_remove(name);
    }
    command
}

/// `memray run --quiet` of the usual Python (no word of our own) with the capture at `c.db`.
pub fn memray_run(folder: &Path, words: &[&str]) -> Command {
    let mut command = plain(folder, memray_binary());
    command.args(["run", "-q", "-f", "-o", "c.db"]);
    if words.first() != Some(&"--") {
        command.arg("--python").arg(&usual_python().program);
    }
    command.args(words);
    command
}

/// Runs a command to its end with `input` on its standard input.
///
/// # Panics
/// If it cannot be started.
pub fn run_with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A program need not read all.
        let _closed = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("it can be waited for");
    writer.join().expect("writing does not panic");
    output
}

/// Polls until `condition` has a value.
///
/// # Panics
/// If it has none for too long.
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited too long for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What a capture says about how the recording ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    pub finished: bool,
    /// Of the last process.
    pub exit_status: Option<u32>,
    /// Of each process, in order.
    pub python_versions: Vec<String>,
    pub n_allocations: u32,
}

/// Reads a capture as any tool would, and checks what must hold of each: the file is whole, events seen are those
/// recorded and lost, nothing lies beside it once it is finished.
///
/// # Panics
/// If one of these does not hold.
pub fn ending(path: &Path) -> Ending {
    let capture = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the capture can be opened");
    let text = |sql: &str| -> String {
        capture
            .query_row(sql, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    let finished = text("SELECT count(*) || '' FROM meta WHERE key = 'finished' AND value = '1'") == "1";
    if finished {
        let broken = "SELECT ifnull(group_concat(key || ' ' || value), '') FROM meta
            WHERE key LIKE 'identity.%' AND value <> 'ok'";
        assert_eq!(text(broken), "", "events seen are not those recorded and lost");
        for suffix in ["-wal", "-shm", "-journal"] {
            let beside = PathBuf::from(format!("{}{suffix}", path.display()));
            assert!(!beside.exists(), "`{}` is left over", beside.display());
        }
    }
    let number = |sql: &str| -> Option<u32> { capture.query_row(sql, [], |row| row.get(0)).ok().flatten() };
    let mut versions = capture
        .prepare("SELECT python_version FROM processes ORDER BY process_id")
        .expect("the table is there");
    Ending {
        finished,
        exit_status: number("SELECT exit_status FROM processes ORDER BY process_id DESC LIMIT 1"),
        python_versions: versions
            .query_map([], |row| row.get(0))
            .and_then(Iterator::collect)
            .expect("versions are text"),
        n_allocations: number("SELECT sum(alloc_count) FROM sites").unwrap_or(0),
    }
}

/// Runs `check` on all cases, a few at a time: a recording waits for the kernel more than it works.
pub fn for_each_case<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    const AT_ONCE: usize = 4;
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(case);
                }
            });
        }
    });
}

/// How a process ended, as `$?` of a shell shows it.
pub fn shell_status(output: &Output) -> i32 {
    let status = output.status;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
