//! What concerns memray's own signals and its death, in a process of its own: this test binary once more, with
//! [`launch_as_told`] as its only test.

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::SigSet;
use tempfile::tempdir;

use super::launch;
use crate::target::{
    launch::{Decision, InheritedSignals, LaunchError, SignalRelay, relay},
    process::Process,
    testing::compile,
};

const MODE: &str = "MEMRAY_TEST_LAUNCH_MODE";
const ARGUMENTS: &str = "MEMRAY_TEST_LAUNCH_ARGUMENTS";
/// What makes the test binary run [`launch_as_told`] alone.
const TOLD: [&str; 5] = [
    "--exact",
    "target::launch::tests::told::launch_as_told",
    "--ignored",
    "--nocapture",
    "--test-threads=1",
];

/// Not a test but the process that other tests start: launches what its environment says and ends as that does.
#[test]
#[ignore = "started by other tests, in a process of its own"]
fn launch_as_told() {
    let Ok(arguments) = env::var(ARGUMENTS) else {
        return;
    };
    let mode = env::var(MODE).unwrap();
    SigSet::all().thread_unblock().unwrap();
    let signals = InheritedSignals::capture();
    let relay = SignalRelay::start();
    let arguments: Vec<&str> = arguments.split('\u{1f}').collect();
    let mut child = launch(&arguments).spawn(&signals, &relay).unwrap();
    let pid = child.pid();
    let outcome = child.run_until_released::<LaunchError>(|_| {
        if mode == "hang" {
            println!("\npid {pid}");
            thread::sleep(Duration::from_mins(1));
        }
        Ok(if mode == "watch" {
            Decision::WatchForExec
        } else {
            Decision::Release
        })
    });
    outcome.unwrap();
    child.wait().unwrap().exit_alike();
}

/// [`launch_as_told`] in a process of its own; `prefix` is a shell command before its exec.
fn told(mode: &str, prefix: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{prefix} exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .args(TOLD);
    prepare(&mut command, mode, arguments);
    command
}

/// The same in a terminal of its own, which script(1) makes; keys are what is written to its input.
fn told_in_terminal(mode: &str, arguments: &[&str]) -> Command {
    // script(1) unblocks all signals, so they are blocked behind it.
    let mut line = OsString::from("exec env --block-signal ");
    line.push(env::current_exe().unwrap());
    for argument in TOLD {
        line.push(" ");
        line.push(argument);
    }
    let mut command = Command::new("script");
    command
        .arg("-qec")
        .arg(line)
        .arg("/dev/null")
        .env("SHELL", "/bin/sh");
    prepare(&mut command, mode, arguments);
    command
}

/// The test harness keeps its main thread for itself; it blocks all signals, or those to the process could go there
/// instead of to the thread that the test runs on.
#[expect(unsafe_code, reason = "runs between fork and exec")]
fn prepare(command: &mut Command, mode: &str, arguments: &[&str]) {
    command
        .env(MODE, mode)
        .env(ARGUMENTS, arguments.join("\u{1f}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    // SAFETY: one system call, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(SigSet::all().thread_block()?)) };
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn input_output_and_exit_pass_through() {
    for mode in ["release", "watch"] {
        let mut memray = told(mode, "", &["sh", "-c", "cat; kill -SEGV $$"])
            .spawn()
            .unwrap();
        memray
            .stdin
            .take()
            .unwrap()
            .write_all(b"through and through")
            .unwrap();
        let output = memray.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("through and through"));
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
        assert!(
            !output.status.core_dumped(),
            "the core file is the program's, not ours"
        );
    }
}

#[test]
fn the_program_gets_the_signals_that_memray_was_started_with() {
    // 32 and 33 are left out: libc uses them for itself as soon as a process has threads, so that an exec resets them.
    let sets = |output: &[u8]| {
        let output = String::from_utf8_lossy(output).into_owned();
        let lines = output
            .lines()
            .filter(|line| line.starts_with("SigBlk:") || line.starts_with("SigIgn:"));
        let set = |line: &str| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap();
        lines.map(|line| set(line) & !(0b11 << 31)).collect::<Vec<_>>()
    };
    // SIGHUP as nohup does it.
    let ignores_children = "exec env --ignore-signal=CHLD \"$0\" \"$@\";";
    for prefix in ["", "trap '' HUP USR1;", ignores_children] {
        let grep = ["grep", "^Sig", "/proc/self/status"];
        let script = format!("{prefix} exec \"$0\" \"$@\"");
        let plain = Command::new("sh")
            .args(["-c", &script])
            .args(grep)
            .output()
            .unwrap();
        let traced = told("release", prefix, &grep).output().unwrap();
        assert_eq!(sets(&plain.stdout).len(), 2);
        assert!(traced.status.success());
        assert_eq!(sets(&traced.stdout), sets(&plain.stdout), "{prefix}");
    }
}

#[test]
fn a_signal_to_memray_alone_reaches_the_program() {
    for mode in ["release", "watch"] {
        let script = "trap 'exit 5' TERM; trap 'exit 6' INT; echo; echo ready; while :; do sleep 0.02; done";
        for (signal, expect) in [(libc::SIGTERM, 5), (libc::SIGINT, 6)] {
            let mut memray = told(mode, "", &["sh", "-c", script]).spawn().unwrap();
            let mut lines = BufReader::new(memray.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "ready"));
            relay::send(memray.id().cast_signed(), signal);
            assert_eq!(memray.wait().unwrap().code(), Some(expect), "{mode}");
        }
    }
}

#[test]
fn a_key_in_the_terminal_reaches_the_program_once_and_memray_not_at_all() {
    let script = "trap 'echo interrupted' INT; echo ready; read -r line; read -r line; exit 8";
    for mode in ["release", "watch"] {
        let mut terminal = told_in_terminal(mode, &["sh", "-c", script]).spawn().unwrap();
        let mut input = terminal.stdin.take().unwrap();
        let mut lines = BufReader::new(terminal.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with("ready")));
        input.write_all(b"\x03").unwrap();
        assert!(lines.any(|line| line.ends_with("interrupted")));
        thread::sleep(Duration::from_millis(50));
        input.write_all(b"\n\n").unwrap();
        let rest: Vec<String> = lines.collect();
        assert!(!rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
        assert_eq!(terminal.wait().unwrap().code(), Some(8), "{mode}");
    }
}

#[test]
fn stop_and_continue_work_as_without_memray() {
    for mode in ["release", "watch"] {
        let script = "echo; echo pid $$; kill -TSTP $$; exit 3";
        // A process group of its own, whose parent is in another one of the session: not orphaned, so it can stop.
        let mut memray = told(mode, "", &["sh", "-c", script])
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = pid_line(&mut memray);
        let stopped =
            |pid| Process::open(pid).is_ok_and(|process| matches!(process.state(), Some(b'T' | b't')));
        wait_until("the program stops", || stopped(pid));
        wait_until("memray stops when the program has", || stopped(memray.id()));
        thread::sleep(Duration::from_millis(50));
        assert!(stopped(pid), "nothing but SIGCONT continues it");
        relay::send(-memray.id().cast_signed(), libc::SIGCONT);
        assert_eq!(memray.wait().unwrap().code(), Some(3), "{mode}");
    }
}

fn pid_line(memray: &mut Child) -> u32 {
    let lines = BufReader::new(memray.stdout.as_mut().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("pid ")).unwrap();
    line.trim_start_matches("pid ").parse().unwrap()
}

#[test]
fn a_program_that_never_ran_dies_with_memray() {
    let directory = tempdir().unwrap();
    let source = "#include <unistd.h>\nint main(void) { pause(); }";
    // A static one has no debug registers set, which would end it too.
    for flags in [&[][..], &["-static"]] {
        let program = compile(directory.path(), "waits", source, flags);
        let mut memray = told("hang", "", &[program.to_str().unwrap()]).spawn().unwrap();
        let pid = pid_line(&mut memray);
        memray.kill().unwrap();
        memray.wait().unwrap();
        wait_until("the program is gone", || {
            Process::open(pid).is_ok_and(|process| process.state() == Some(b'Z'))
                || Process::open(pid).is_err()
        });
    }
}

#[test]
fn a_program_that_runs_outlives_memray() {
    for mode in ["release", "watch"] {
        let directory = tempdir().unwrap();
        let done = directory.path().join("done");
        let script = format!(
            "echo; echo pid $$; read -r line < '{}'; : > '{}'; sleep 0",
            directory.path().join("go").display(),
            done.display()
        );
        Command::new("mkfifo")
            .arg(directory.path().join("go"))
            .status()
            .unwrap();
        let mut memray = told(mode, "", &["sh", "-c", &script]).spawn().unwrap();
        let pid = pid_line(&mut memray);
        memray.kill().unwrap();
        memray.wait().unwrap();
        assert!(Process::open(pid).is_ok());
        std::fs::write(directory.path().join("go"), "go\n").unwrap();
        wait_until("the program goes on", || done.exists());
        let mut rest = String::new();
        memray.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    }
}
