//! What `memray attach` and `memray detach` refuse: one clear error with what can be done, nothing left behind, and
//! the processes as before.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use memray_tests::{
    Attach, Compiled, Script, Target,
    behavior::{folder_with, plain, run_with_input, usual_python, wait_until},
    memray::memray_binary,
    probed::wait_unprobed,
    transcript,
};
use nix::sys::signal::Signal;

use super::attach::is_known;

fn attached() -> Target {
    Target::script(usual_python(), &Script::new("attached.py"), &[])
}

/// `memray` with these words, in a folder that must stay as it is.
fn run(folder: &Path, words: &[&str]) -> Output {
    let names = || -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    let mut command = plain(folder, memray_binary());
    command.args(words);
    let output = run_with_input(command, b"");
    assert_eq!(names(), before, "{words:?}: {output:?}");
    output
}

/// What it says, with words for numbers that differ from one run to the next.
fn session(folder: &Path, lines: &[&[&str]], pids: &[(u32, &str)]) -> String {
    let mut text = String::new();
    for words in lines {
        let said = transcript(&run(folder, words));
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{words:?}: {said}");
        text.extend(["$ memray ", &words.join(" "), "\n", &said, "\n"]);
    }
    for (pid, name) in pids {
        text = text.replace(&pid.to_string(), name);
    }
    text.replace(&*folder.to_string_lossy(), "[folder]")
}

#[test]
fn numbers_that_are_no_processes() {
    let folder = folder_with(&[]);
    // Larger than any that the kernel gives out.
    insta::assert_snapshot!(session(
        folder.path(),
        &[
            &["attach", "4194305"],
            &["attach", "2147483647"],
            &["detach", "4194305"],
        ],
        &[]
    ));
}

/// Whatever is refused, somebody who reads it can do something.
#[test]
fn every_refusal_has_a_hint() {
    let folder = folder_with(&[]);
    for words in [
        &["attach", "4194305"] as &[&str],
        &["attach", "2"],
        &["attach", "--any-program", "2"],
        &["detach", "4194305"],
        &["detach", "2"],
    ] {
        let said = transcript(&run(folder.path(), words));
        assert!(said.contains("\nhint: "), "{words:?}: {said}");
    }
}

#[test]
fn words_that_are_no_numbers() {
    let folder = folder_with(&[]);
    for word in [
        "0",
        "-1",
        "4294967296",
        "99999999999999999999",
        "1.5",
        "python",
        "",
    ] {
        for command in ["attach", "detach"] {
            let output = run(folder.path(), &[command, "--", word]);
            let said = transcript(&output);
            assert!(
                matches!(output.status.code(), Some(1 | 2)) && said.contains("error: "),
                "{command} {word}: {said}"
            );
            assert!(!said.contains("panicked"), "{said}");
        }
    }
}

#[test]
fn processes_of_other_kinds() {
    let folder = folder_with(&[]);
    let program = Compiled::program("obeying.c");
    let target = Target::start(Command::new(program.path()), usual_python(), None);
    let mut zombie = Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", zombie.id());
    wait_until("a zombie", || {
        fs::read_to_string(&stat).unwrap().contains(") Z ").then_some(())
    });
    let (pid, zombie_pid) = (target.pid().to_string(), zombie.id().to_string());
    let said = session(
        folder.path(),
        &[
            &["attach", "2"],
            &["attach", "--any-program", "2"],
            &["attach", &pid],
            &["attach", &zombie_pid],
            &["detach", &pid],
        ],
        &[(target.pid(), "[program]"), (zombie.id(), "[zombie]")],
    );
    let said = said.replace(&*program.path().to_string_lossy(), "[path]");
    insta::assert_snapshot!(said);
    zombie.wait().unwrap();
    assert_eq!(target.end().status, 0);
}

#[test]
fn a_thread_that_is_no_process() {
    let folder = folder_with(&[]);
    let target = attached();
    let pid = target.pid().to_string();
    let thread = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|thread| *thread != pid)
        .unwrap();
    let numbers = [(thread.parse().unwrap(), "[thread]"), (target.pid(), "[process]")];
    insta::assert_snapshot!(session(folder.path(), &[&["attach", &thread]], &numbers));
    wait_unprobed(target.pid());
    assert_eq!(target.end().status, 0);
}

/// All or none: what is wrong with one of two is found before the other is touched.
#[test]
fn one_of_several() {
    let folder = folder_with(&[]);
    let target = attached();
    let pid = target.pid().to_string();
    insta::assert_snapshot!(session(
        folder.path(),
        &[&["attach", &pid, "4194305"], &["attach", &pid, "2"]],
        &[(target.pid(), "[process]")]
    ));
    wait_unprobed(target.pid());
    assert_eq!(target.end().status, 0);
}

#[test]
fn an_output_that_is_taken() {
    let folder = folder_with(&[("taken.db", "of somebody else"), ("folder/x", "")]);
    let target = attached();
    let pid = target.pid().to_string();
    insta::assert_snapshot!(session(
        folder.path(),
        &[
            &["attach", "-o", "taken.db", &pid],
            &["attach", "-o", "folder", &pid],
            &["attach", "-o", "nowhere/x.db", &pid],
        ],
        &[(target.pid(), "[process]")]
    ));
    assert_eq!(
        fs::read_to_string(folder.path().join("taken.db")).unwrap(),
        "of somebody else"
    );
    wait_unprobed(target.pid());
    assert_eq!(target.end().status, 0);
}

/// The second recording errs, and the first does not notice.
#[test]
fn two_recordings_into_one_file() {
    let targets = [attached(), attached()];
    let attachment = Attach::to(&targets[0]).start();
    let folder = folder_with(&[]);
    let output = attachment.path().to_str().unwrap();
    let pid = targets[1].pid().to_string();
    let refused = run(folder.path(), &["attach", "-o", output, &pid]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let [mut first, second] = targets;
    first.obey("leak");
    assert_eq!(attachment.finish().rows(is_known).len(), 11);
    wait_unprobed(second.pid());
    assert_eq!((first.end().status, second.end().status), (0, 0));
}

#[test]
fn a_process_that_is_recorded_already() {
    let mut target = attached();
    let first = Attach::to(&target).among_others().start();
    target.obey("leak");
    let second = Attach::to(&target).start();
    target.obey("leak");
    let first = first.finish();
    target.obey("leak");
    let second = second.finish();
    assert_eq!(first.rows(is_known).len(), 22);
    assert_eq!(second.rows(is_known).len(), 22);
    assert_eq!(target.end().status, 0);
}

/// While memray prepares; it may still be in time, or err, but never hangs or leaves anything behind.
#[test]
fn a_process_that_ends_during_the_attachment() {
    for turns in 0..6 {
        let target = attached();
        let attachment = Attach::to(&target).start_unready();
        for _ in 0..turns * 120 {
            std::thread::yield_now();
        }
        target.signal(Signal::SIGKILL);
        assert_eq!(target.ended().status, 128 + 9);
        attachment.ended_or_refused();
    }
}

/// Whose process it is does not matter, as nobody but root may load programs into the kernel.
#[test]
fn without_privilege() {
    let folder = folder_with(&[]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let target = attached();
    let binary = folder.path().join("memray");
    fs::copy(memray_binary(), &binary).unwrap();
    let mut command = plain(folder.path(), "setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["attach", &target.pid().to_string()])
        .stdin(Stdio::null());
    let said = transcript(&command.output().unwrap());
    let said = said.replace(&target.pid().to_string(), "[process]");
    insta::assert_snapshot!(said);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(target.end().status, 0);
}

/// From inside a pid namespace the kernel tells of that one alone.
#[test]
fn a_process_in_a_namespace_below_ours() {
    let folder = folder_with(&[(
        "nested.sh",
        "unshare --pid --fork --kill-child sleep 1000 &
         until pid=$(pgrep -x sleep); do :; done
         \"$1\" attach --any-program -o x.db \"$pid\" 2>&1 | sed \"s/process $pid/process PID/\"
         kill $!\n",
    )]);
    let mut command = Command::new("unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "nested.sh",
        ])
        .arg(memray_binary())
        .current_dir(folder.path());
    let output = command.output().unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout), @"
    error: process PID is in a pid namespace of its own below ours, whose processes the kernel does not tell from here
    hint: run memray in the pid namespace of the process, or in that of the host
    ");
    assert!(!folder.path().join("x.db").exists());
}
