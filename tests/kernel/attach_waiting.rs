//! Programs that are attached to at a bad moment: asleep, blocked, stopped, traced by a debugger, in a loop that
//! never gives the GIL up. The attachment needs nothing from them.

use std::{fs, process::Command};

use memray_tests::{
    Attach, Compiled, Python, Script, Target,
    behavior::{usual_python, wait_until},
    target::Ended,
};
use nix::sys::signal::Signal;

use super::attach::is_known;

/// Attaches to `waiting.py` while it waits, wakes it, and compares what it then allocates.
fn check_waiting(python: &Python, arguments: &[&str], wake: impl Fn(&mut Target), expected: &[&str]) {
    let mut target = Target::script(python, &Script::new("waiting.py"), arguments);
    let attachment = Attach::to(&target).start();
    wake(&mut target);
    let capture = attachment.wait();
    capture.expect(&capture.rows(is_known), expected);
    let expected = Ended {
        status: 7,
        rest: vec!["woken".to_owned()],
    };
    assert_eq!(target.ended(), expected, "{}", capture.name());
}

#[test]
fn asleep() {
    Python::each(|python| {
        let row = "1234611 malloc live: <module>@start > asleep@asleep > leave@woken";
        check_waiting(
            python,
            &["asleep"],
            |target| target.signal(Signal::SIGUSR1),
            &[row],
        );
    });
}

#[test]
fn blocked_in_a_lock() {
    let row = "1234611 malloc live: <module>@start > locked@locked > leave@woken";
    check_waiting(usual_python(), &["locked"], |target| target.tell("now"), &[row]);
}

#[test]
fn looping_in_c_with_the_gil() {
    let library = Compiled::library("waiting.c");
    let path = library.path().to_str().unwrap();
    for python in &[8, 11, 13].map(Python::of_pyenv) {
        check_waiting(
            python,
            &["looping", path],
            |target| target.tell("now"),
            &[
                "1234613 malloc live: <module>@start > looping@looping",
                "1234611 malloc live: <module>@start > looping@looped > leave@woken",
            ],
        );
    }
}

fn attached() -> Target {
    Target::script(usual_python(), &Script::new("attached.py"), &[])
}

/// The letter of a process's state, such as T for one that is stopped.
fn state(target: &Target) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", target.pid())).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.chars().next().unwrap()
}

fn wait_for_state(target: &Target, expected: char) {
    wait_until("the state of a process", || {
        (state(target) == expected).then_some(())
    });
}

#[test]
fn stopped_by_a_signal() {
    let mut target = attached();
    target.signal(Signal::SIGSTOP);
    wait_for_state(&target, 'T');
    let attachment = Attach::to(&target).start();
    assert_eq!(state(&target), 'T');
    target.signal(Signal::SIGCONT);
    target.obey("leak");
    assert_eq!(attachment.finish().rows(is_known).len(), 11);
    assert_eq!(target.end().status, 0);
}

/// It stays stopped after the recording as well.
#[test]
fn stopped_for_the_whole_recording() {
    let target = attached();
    target.signal(Signal::SIGSTOP);
    wait_for_state(&target, 'T');
    let capture = Attach::to(&target).start().finish();
    assert_eq!(capture.rows(is_known).len(), 0);
    assert_eq!(state(&target), 'T');
    target.signal(Signal::SIGCONT);
    assert_eq!(target.end().status, 0);
}

#[test]
fn traced() {
    let tracer = Compiled::program("tracer.c");
    let mut target = attached();
    let mut command = Command::new(tracer.path());
    command.args([&target.pid().to_string(), "running"]);
    let tracer = Target::start(command, usual_python(), None);
    let attachment = Attach::to(&target).start();
    target.obey("leak");
    let capture = attachment.finish();
    assert_eq!(capture.rows(is_known).len(), 11);
    assert_eq!(tracer.end().status, 0);
    assert_eq!(target.end().status, 0);
}

#[test]
fn traced_and_stopped() {
    let tracer = Compiled::program("tracer.c");
    let mut target = attached();
    let mut command = Command::new(tracer.path());
    command.args([&target.pid().to_string(), "stopped"]);
    let tracer = Target::start(command, usual_python(), None);
    assert_eq!(state(&target), 't');
    let attachment = Attach::to(&target).start();
    assert_eq!(state(&target), 't');
    assert_eq!(tracer.end().status, 0);
    target.obey("leak");
    assert_eq!(attachment.finish().rows(is_known).len(), 11);
    assert_eq!(target.end().status, 0);
}

/// Which stops it at each new thread and each signal.
#[test]
fn under_gdb() {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-q", "-batch", "-ex", "set debuginfod enabled off"]);
    command.args(["-ex", "run", "--args"]);
    command
        .arg(&usual_python().program)
        .arg(Script::new("attached.py").path);
    let mut target = Target::start_unready(&mut command, usual_python(), Some(&Script::new("attached.py")));
    while target.answer() != "ready" {}
    target.find_innermost();
    let attachment = Attach::to(&target).start();
    target.tell("leak");
    while target.answer() != "done" {}
    assert_eq!(attachment.finish().rows(is_known).len(), 11);
    let ended = target.end();
    assert_eq!(ended.status, 0);
    assert!(ended.rest.contains(&"end".to_owned()), "{ended:?}");
}
