//! How a recording ends while followed children live: they run on as if nothing had been.

use std::fs;

use memray_tests::{
    Attach, Script, Target,
    behavior::{folder_with, usual_python, wait_until},
    memray::memray_binary,
    probed::{changed_bytes, wait_unprobed},
    target::{Ended, process_id},
};
use nix::sys::signal::{Signal, kill};

use super::families::is_known;

fn family() -> Target {
    Target::script(usual_python(), &Script::new("family.py"), &[])
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect()
}

/// Neither traced nor stopped nor probed.
fn wait_until_free(pid: u32) {
    wait_unprobed(pid);
    wait_until("nobody to trace it", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let is_free = status.contains("TracerPid:\t0\n")
            && !status.contains("State:\tT")
            && !status.contains("State:\tt");
        is_free.then_some(())
    });
}

fn expect_unharmed(mut target: Target) {
    let n_children = children(target.pid()).len();
    target.obey("fork");
    target.obey("allocate");
    let expected = Ended {
        status: 0,
        rest: vec!["child ended with 3".to_owned(); n_children + 1],
    };
    assert_eq!(target.end(), expected);
}

#[test]
fn by_a_signal() {
    let mut target = family();
    let attachment = Attach::to(&target).option("--follow-fork").start();
    for request in ["fork", "allocate", "fork", "allocate"] {
        target.obey(request);
    }
    let children = children(target.pid());
    assert!(children.iter().all(|&child| changed_bytes(child) > 0));
    let capture = attachment.finish();
    let counts = capture.query(
        "SELECT process_id, processes.pid, size, COUNT(*) FROM allocations JOIN processes USING (process_id)
         WHERE size BETWEEN 1234780 AND 1234790 GROUP BY process_id ORDER BY process_id",
    );
    let expected = [
        format!("1 {} 1234783 2", target.pid()),
        format!("2 {} 1234781 2", children[0]),
        format!("3 {} 1234781 1", children[1]),
    ];
    assert_eq!(counts, expected);
    for &child in &children {
        wait_until_free(child);
    }
    expect_unharmed(target);
}

/// Those that live before the attachment are not followed.
#[test]
fn children_from_before() {
    let mut target = family();
    target.obey("fork");
    let attachment = Attach::to(&target).option("--follow-fork").start();
    let before = children(target.pid());
    for request in ["allocate", "fork", "allocate"] {
        target.obey(request);
    }
    let capture = attachment.finish();
    // To lose nothing of those that are born, breakpoints are put into all that run the same files.
    wait_until_free(before[0]);
    let mut rows = capture.rows(is_known);
    rows.sort_by_key(|row| row.process_id);
    let rows: Vec<_> = rows.iter().map(|row| (row.process_id, row.size)).collect();
    assert_eq!(rows, [(1, 1_234_783), (1, 1_234_783), (2, 1_234_781)]);
    expect_unharmed(target);
}

#[test]
fn by_the_death_of_an_attached_memray() {
    let mut target = family();
    let attachment = Attach::to(&target).option("--follow-fork").start();
    for request in ["fork", "fork", "allocate"] {
        target.obey(request);
    }
    let _killed = attachment.killed();
    let children = children(target.pid());
    assert_eq!(children.len(), 2);
    for &child in &children {
        wait_until_free(child);
    }
    expect_unharmed(target);
}

/// The whole family is held by `memray run` at each birth, and let go by its death.
#[test]
fn by_the_death_of_a_memray_that_launched_it() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let folder = folder_with(&[]);
    let script = Script::new("family.py");
    let mut command = std::process::Command::new(memray_binary());
    command
        .current_dir(folder.path())
        .args(["run", "-q", "-o", "c.db", "--follow-fork", "--python"])
        .arg(&usual_python().program)
        .arg(&script.path);
    let mut target = Target::start(command, usual_python(), Some(&script));
    let memray_pid = parent_of(&target);
    for request in ["fork", "fork", "allocate"] {
        target.obey(request);
    }
    let children = children(target.pid());
    assert_eq!(children.len(), 2);
    kill(process_id(memray_pid), Signal::SIGKILL).unwrap();
    for &pid in children.iter().chain([&target.pid()]) {
        wait_until_free(pid);
    }
    let python = target.pid();
    target.obey("fork");
    target.obey("allocate");
    let ended = target.end();
    assert_eq!(ended.status, 128 + 9, "memray's own");
    assert_eq!(ended.rest, vec!["child ended with 3"; 3]);
    let status = nix::sys::wait::waitpid(process_id(python), None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(process_id(python), 0));
}

/// The process that started it.
fn parent_of(target: &Target) -> u32 {
    let status = fs::read_to_string(format!("/proc/{}/status", target.pid())).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    parent.unwrap().parse().unwrap()
}
