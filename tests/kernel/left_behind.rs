//! What children, programs and threads that have ended leave in the kernel's maps and in memray: nothing.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use memray_tests::{
    Attach, Script, Target,
    behavior::{usual_python, wait_until},
    kernel_maps::entries,
};

const CHILDREN: usize = 300;
const PROGRAMS: usize = 60;
const THREADS: usize = 10_000;

/// What may be there: the target itself and what it has shown.
fn bounds() -> BTreeMap<&'static str, usize> {
    BTreeMap::from([
        ("TARGETS", 1),
        ("FOLLOWED", 1),
        ("HOLDS", 0),
        ("THREADS", 1),
        ("KNOWN_CODES", 200),
        ("KNOWN_STACKS", 600),
    ])
}

#[test]
fn maps_and_descriptors_after_many_lives() {
    let script = Script::new("left_behind.py");
    let mut target = Target::script(usual_python(), &script, &[]);
    let attachment = Attach::to(&target).option("--follow-fork").start();
    let memray = attachment.pid();
    target.obey("children 3");
    let descriptors = || fs::read_dir(format!("/proc/{memray}/fd")).unwrap().count();
    let few = descriptors();
    // In parts, each of which a busy machine does in time.
    for _ in 0..10 {
        target.obey(&format!("threads {}", THREADS / 10));
        target.obey(&format!("children {}", CHILDREN / 10));
        target.obey(&format!("programs {}", PROGRAMS / 10));
    }
    // Probes of processes that have ended go a little later than they.
    wait_until("all to be let go", || {
        let left = entries(memray);
        let is_within = bounds().iter().all(|(name, most)| left[*name] <= *most);
        (is_within && descriptors() <= few + 40).then_some(())
    });
    let capture = attachment.finish();
    let counts = "SELECT count(*), count(DISTINCT process_id), sum(size = 1434573) FROM allocations
        WHERE size IN (1434571, 1434573)";
    let expected = format!("{} {} {THREADS}", THREADS + CHILDREN + 3, CHILDREN + 4);
    assert_eq!(capture.query(counts), [expected]);
    let processes = capture.number("SELECT count(*) FROM processes");
    assert_eq!(
        processes,
        Some(i64::try_from(1 + 3 + CHILDREN + PROGRAMS).unwrap())
    );
}

/// Children are born all the time, and memray dies at any moment of it: held, stopped, half probed. Each child still
/// ends as it must, and nothing but time passes.
#[test]
fn memray_killed_among_births() {
    let script = Script::new("left_behind.py");
    let mut target = Target::script(usual_python(), &script, &[]);
    for round in 0..4 {
        let attachment = Attach::to(&target).option("--follow-fork").start();
        target.tell("children 40");
        // Not a wait for anything: the moment is what the test is about.
        thread::sleep(Duration::from_millis(7 + 41 * round));
        let _killed = attachment.killed();
        assert_eq!(target.answer(), "done");
    }
    assert_eq!(target.end().status, 0);
}
