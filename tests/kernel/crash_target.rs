//! However the program ends, the capture is finished and has all of it; what ended it is told, and the exit status says
//! so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use memray_tests::{
    Attach, Python, Script, Target,
    behavior::{
        ending, folder_with, for_each_case, memray_run, plain, run_with_input, shell_status, usual_python,
    },
    memray::memray_binary,
    target::process_id,
};
use nix::sys::signal::{Signal, kill};
use rusqlite::Connection;

/// The end of a program, its exit status, and what is said of it.
const ENDS: [(&str, i32, &str); 5] = [
    (
        "os.kill(os.getpid(), 9)",
        137,
        "was ended by signal 9 (SIGKILL).\n",
    ),
    ("ctypes.string_at(1)", 139, "was ended by signal 11 (SIGSEGV).\n"),
    ("os.abort()", 134, "was ended by signal 6 (SIGABRT).\n"),
    ("os._exit(5)", 5, ""),
    ("sys.exit(137)", 137, ""),
];

fn blocks(capture: &Path) -> i64 {
    Connection::open(capture)
        .unwrap()
        .query_row(
            "SELECT count(*) FROM allocations WHERE size BETWEEN 1234577 AND 1234700",
            [],
            |row| row.get(0),
        )
        .unwrap()
}

#[test]
fn ends_of_a_program_that_is_run() {
    for_each_case(&ENDS, |(end, status, told)| {
        let code =
            format!("import ctypes, os, sys\nblocks = [bytearray(1_234_577) for _ in range(50)]\n{end}\n");
        let folder = folder_with(&[("a.py", &code)]);
        let mut command = plain(folder.path(), memray_binary());
        command
            .args(["run", "-o", "c.db", "--python"])
            .arg(&usual_python().program)
            .arg("a.py");
        let output = run_with_input(command, b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(shell_status(&output), *status, "{end}: {text}");
        let deaths: Vec<&str> = text
            .split_inclusive('\n')
            .filter(|line| line.starts_with("Process "))
            .collect();
        assert!(
            deaths.concat().ends_with(told) && deaths.is_empty() == told.is_empty(),
            "{end}: {text}"
        );
        assert!(text.contains("\nWrote c.db\n"), "{end}: {text}");
        let found = ending(&folder.path().join("c.db"));
        assert!(
            found.finished && found.exit_status == u32::try_from(*status).ok(),
            "{end}: {found:?}"
        );
        assert_eq!(blocks(&folder.path().join("c.db")), 50, "{end}");
    });
}

/// Children that are killed are named; the program that waited for them ends well, and so do we.
#[test]
fn children_that_are_killed() {
    const PROGRAM: &str = "import os
pids = [os.fork() for _ in range(1)]
if pids[0] == 0:
    block = bytearray(1_234_577)
    os.kill(os.getpid(), 9)
os.waitpid(pids[0], 0)
";
    let folder = folder_with(&[("a.py", PROGRAM)]);
    let mut command = plain(folder.path(), memray_binary());
    command
        .args(["run", "--follow-fork", "-o", "c.db", "--python"])
        .arg(&usual_python().program)
        .arg("a.py");
    let output = run_with_input(command, b"");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(shell_status(&output), 0, "{text}");
    assert!(text.contains("was ended by signal 9 (SIGKILL).\n"), "{text}");
    assert_eq!(blocks(&folder.path().join("c.db")), 1);
}

/// A memory cgroup with a limit, of either version; removed when dropped.
struct Limited(PathBuf);

impl Limited {
    fn new(bytes: u64) -> Self {
        let name = format!("memray-test-{}", std::process::id());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let of_version_1 = own.lines().find_map(|line| line.split_once(":memory:"));
        let (folder, limit) = match of_version_1 {
            Some((_, cgroup)) => (format!("/sys/fs/cgroup/memory{cgroup}"), "memory.limit_in_bytes"),
            None => ("/sys/fs/cgroup".to_owned(), "memory.max"),
        };
        let folder = Path::new(&folder).join(name);
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        fs::write(folder.join(limit), bytes.to_string()).unwrap();
        Self(folder)
    }

    fn add(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // A process that has just ended is still counted for a moment.
        let start = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && start.elapsed().as_secs() < 5 {
            std::thread::yield_now();
        }
    }
}

const GREEDY: &str = "import sys
block = bytearray(1_234_577)
print('ready', flush=True)
sys.stdin.readline()
blocks = []
while True:
    blocks.append(b'x' * 4_000_000)
";

fn greedy(folder: &Path) -> Command {
    let mut command = usual_python().command();
    command.arg(folder.join("greedy.py"));
    command
}

#[test]
fn out_of_memory() {
    let folder = folder_with(&[("greedy.py", GREEDY)]);
    let limited = Limited::new(96 << 20);
    let python = Python::of_pyenv(12);
    let mut target = Target::start(greedy(folder.path()), &python, None);
    limited.add(target.pid());
    let attachment = Attach::to(&target).start();
    target.tell("go on");
    let capture = attachment.wait();
    let told = capture.stdout.clone();
    assert!(told.contains("was killed (out of memory).\n"), "{told}");
    let rows = capture.rows(|size| (4_000_000..4_000_100).contains(&size)).len();
    assert!(rows >= 15, "{rows} blocks before the end");
    assert_eq!(target.ended().status, 137);
}

/// Killed by somebody in a cgroup where nobody was killed for memory: not claimed.
#[test]
fn killed_by_hand_is_not_out_of_memory() {
    let limited = Limited::new(512 << 20);
    let target = Target::script(&Python::of_pyenv(12), &Script::new("attached.py"), &[]);
    limited.add(target.pid());
    let attachment = Attach::to(&target).start();
    kill(process_id(target.pid()), Signal::SIGKILL).unwrap();
    let capture = attachment.wait();
    let told = capture.stdout.clone();
    assert!(
        told.contains("was ended by signal 9 (SIGKILL).\n") && !told.contains("memory)"),
        "{told}"
    );
    assert_eq!(target.ended().status, 137);
}

/// The program moves itself before it becomes greedy, as a service manager would move it.
#[test]
fn out_of_memory_of_a_program_that_is_run() {
    let folder = folder_with(&[("greedy.py", GREEDY)]);
    let limited = Limited::new(96 << 20);
    let line = format!(
        "echo $$ > '{}/cgroup.procs'; exec \"$0\" greedy.py",
        limited.0.display()
    );
    let mut command = memray_run(folder.path(), &["--", "sh", "-c", &line]);
    command.arg(&usual_python().program);
    let mut loud = plain(folder.path(), memray_binary());
    loud.args(command.get_args().filter(|word| *word != "-q"));
    let output = run_with_input(loud, b"go on\n");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(shell_status(&output), 137, "{text}");
    assert!(text.contains("was killed (out of memory).\n"), "{text}");
    assert!(ending(&folder.path().join("c.db")).finished);
}
