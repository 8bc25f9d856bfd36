//! SIGKILL of memray at any moment: the program runs on unprobed, and the capture has all up to half a second before.
//!
//! The program says in a file of its own when each of its blocks was there. Moments are drawn from a seed, which is
//! printed; `MEMRAY_TEST_SEED` repeats it.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use memray_tests::{
    behavior::{folder_with, for_each_case, memray_run, usual_python, wait_until},
    memray,
    probed::wait_unprobed,
    program,
    rising::{Blocks, Log, check_capture, check_reports, now_ns, tell},
    target::process_id,
    transcript,
};
use nix::sys::{
    prctl,
    signal::{Signal, kill},
    wait::{WaitStatus, waitpid},
};
use rusqlite::{Connection, OpenFlags};

/// Between two commits, as the product promises.
const PROMISED: Duration = Duration::from_millis(500);
/// What a commit, and a thread that has to wait for its CPU, may take beyond it on a busy machine.
const MARGIN: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Run,
    RunFollowing,
    Attach,
    /// Reports read the capture all the time.
    RunRead,
    /// The recording has been told to end.
    Finish,
}

/// Pseudo-random and the same for the same seed (Marsaglia's xorshift).
fn moments(seed: u64, count: usize, most_ms: u64) -> Vec<Duration> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count)
        .map(|_| Duration::from_millis(next() % most_ms))
        .collect()
}

fn seed() -> u64 {
    let given = env::var("MEMRAY_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(now_ns);
    tell(&format!("MEMRAY_TEST_SEED={seed}"));
    seed
}

/// The program, started by memray or before it.
struct Scene {
    folder: tempfile::TempDir,
    log: Log,
    memray: Child,
    /// The program ends with it. To wait for a child closes what it has.
    input: Option<ChildStdin>,
    /// Where memray did not start it.
    program: Option<Child>,
}

fn begin(way: Way) -> Scene {
    let folder = folder_with(&[]);
    let log = Log::at(folder.path().join("log"));
    let words = [program("rising.py"), log.path().to_owned()].map(PathBuf::into_os_string);
    if way == Way::Attach || way == Way::Finish {
        let mut command = usual_python().command();
        command.args(&words);
        let mut program = piped(&mut command);
        let pid = wait_until("the program", || log.pid());
        let mut command = memray(folder.path());
        command
            .args(["attach", "-q", "-o", "c.db", &pid.to_string()])
            .stdin(Stdio::null());
        let memray = command.spawn().unwrap();
        return Scene {
            folder,
            log,
            memray,
            input: program.stdin.take(),
            program: Some(program),
        };
    }
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let mut command = memray_run(folder.path(), &[]);
    if way == Way::RunFollowing {
        command.arg("--follow-fork");
    }
    let mut memray = piped(command.args(words));
    Scene {
        folder,
        log,
        input: memray.stdin.take(),
        memray,
        program: None,
    }
}

fn piped(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How long before the kill the capture ends, if it has begun.
fn survive(way: Way, moment: Duration) -> Option<Duration> {
    let name = format!("{way:?} after {moment:?}");
    let mut scene = begin(way);
    let capture = scene.folder.path().join("c.db");
    let until = Instant::now() + moment;
    if way == Way::Finish {
        wait_until("some blocks", || has_blocks(&capture).then_some(()));
        kill(process_id(scene.memray.id()), Signal::SIGINT).unwrap();
        // The moment itself is what is tested.
        thread::sleep(moment);
    }
    while Instant::now() < until {
        if way == Way::RunRead && scene.log.pid().is_some() {
            let _may_be_too_early = memray(scene.folder.path())
                .args(["stats", "c.db"])
                .output()
                .unwrap();
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
    // Of a program that is launched before memray is killed, which need not have begun.
    let pid = scene.log.pid().or_else(|| only_child(scene.memray.id()));
    let killed_ns = now_ns();
    scene.memray.kill().unwrap();
    scene.memray.wait().unwrap();
    let times_ns = scene.log.times_ns();
    let until_kill = times_ns.iter().filter(|time_ns| **time_ns < killed_ns).count();

    runs_on(&mut scene, pid, &name);
    // Whether it had attached already nobody has said.
    let has_begun = until_kill > 0 && way != Way::Attach;
    check_left(scene.folder.path(), has_begun, &name)?;
    let Blocks {
        kept,
        passed_by,
        last,
    } = check_capture(&capture, &name);
    assert!(kept.abs_diff(passed_by) <= 1, "{name}: {kept} {passed_by}");
    if way == Way::Finish || (way == Way::Attach && kept == 0) {
        // Blocks of before and of after are no part of the recording.
        return None;
    }
    // The block after the last that the capture has.
    let next = last.map_or(0, |last| usize::try_from(last + 1).unwrap());
    let missing_ns = times_ns.get(next).copied().unwrap_or(killed_ns);
    let lag = Duration::from_nanos(killed_ns.saturating_sub(missing_ns));
    assert!(
        lag < PROMISED + MARGIN,
        "{name}: the capture ends {lag:?} before the kill"
    );
    Some(lag)
}

/// Its first commit may be still to come.
fn has_blocks(capture: &Path) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM frames WHERE function = 'keep')";
    Connection::open_with_flags(capture, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|capture| capture.query_row(sql, [], |row| row.get(0)))
        .unwrap_or(false)
}

fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The program makes more blocks, has no probes, and ends as it would have.
fn runs_on(scene: &mut Scene, pid: Option<u32>, name: &str) {
    let Some(pid) = pid else { return };
    let before = scene.log.times_ns().len();
    let has_gone_on = wait_until("the program to go on", || {
        let is_gone = !Path::new(&format!("/proc/{pid}/exe")).exists();
        (is_gone || scene.log.times_ns().len() > before + 5).then_some(!is_gone)
    });
    if !has_gone_on {
        // It was a child of ours that had not become the program.
        assert!(scene.log.pid().is_none(), "{name}: the program did not survive");
        return;
    }
    wait_unprobed(pid);
    let process = scene.program.as_mut().unwrap_or(&mut scene.memray);
    drop(scene.input.take());
    let mut output = String::new();
    process
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    assert!(output.starts_with("end after "), "{name}: {output}");
    if let Some(program) = &mut scene.program {
        assert!(program.wait().unwrap().success(), "{name}");
    } else {
        let pid = process_id(pid);
        assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 0), "{name}");
    }
}

/// Every report works; or, where the program had not begun, the one error is clear. None where there is no capture.
fn check_left(folder: &Path, has_begun: bool, name: &str) -> Option<()> {
    let output = memray(folder).args(["stats", "c.db"]).output().unwrap();
    let text = transcript(&output);
    if output.status.success() {
        let is_finished = !text.contains("not finished") && !text.contains("still running or was cut off");
        check_reports(
            folder,
            "c.db",
            if is_finished {
                ""
            } else {
                "still running or was cut off"
            },
        );
        return Some(());
    }
    assert!(!has_begun, "{name}: {text}");
    assert!(
        output.status.code() == Some(1) && text.contains("\nhint: ") && !text.contains("internal error"),
        "{name}: {text}"
    );
    None
}

fn survive_all(cases: &[(Way, Duration)]) {
    prctl::set_child_subreaper(true).unwrap();
    let lags = Mutex::new(Vec::new());
    for_each_case(cases, |(way, moment)| {
        let lag = survive(*way, *moment);
        lags.lock().unwrap().push((*way, *moment, lag));
    });
    let lags = lags.into_inner().unwrap();
    let longest = lags.iter().filter_map(|(_, _, lag)| *lag).max();
    let n_measured = lags.iter().filter(|(_, _, lag)| lag.is_some()).count();
    tell(&format!(
        "{} kills survived, {n_measured} of them measured; the longest loss before a kill: {longest:?}",
        lags.len()
    ));
    for (way, moment, lag) in lags {
        tell(&format!("  {way:?} killed after {moment:?}: {lag:?} missing"));
    }
}

#[test]
fn at_twenty_random_moments() {
    let moments = moments(seed(), 20, 3500);
    let ways = [Way::Run, Way::RunRead, Way::Run, Way::RunFollowing];
    let cases: Vec<_> = ways.into_iter().cycle().zip(moments).collect();
    survive_all(&cases);
}

#[test]
fn while_it_attaches_and_while_it_ends() {
    let seed = seed();
    let mut cases: Vec<_> = moments(seed, 6, 2000)
        .into_iter()
        .enumerate()
        // Half of them when it has attached for certain, even on a busy machine.
        .map(|(index, moment)| {
            (
                Way::Attach,
                moment + Duration::from_secs(if index % 2 == 0 { 0 } else { 2 }),
            )
        })
        .collect();
    cases.extend(
        moments(seed, 6, 250)
            .into_iter()
            .map(|moment| (Way::Finish, moment)),
    );
    survive_all(&cases);
}
