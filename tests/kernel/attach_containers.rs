//! Programs in containers: other mounts, process ids, users and network, another C library and another Python than
//! the machine's. They are attached to from outside by their number there, and from inside by their number there.

use memray_tests::{
    Attach, Capture, Script, Target,
    behavior::usual_python,
    container::{Container, Kind},
};

use super::attach::{in_main_thread, is_known};

fn expect_leaks(capture: &Capture) {
    let mut expected = vec![in_main_thread("1234593 malloc live: leak@ten"); 10];
    expected.push(in_main_thread("1234595 malloc live: leak@one"));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    capture.expect(&capture.rows(is_known), &expected);
}

#[test]
fn from_outside() {
    for kind in Kind::ALL {
        let minors: &[u8] = if kind == Kind::Pivoted { &[14, 15] } else { &[14] };
        for &minor in minors {
            let container = Container::new(kind);
            let mut target = container.start(minor);
            let attachment = Attach::to(&target).start();
            target.obey("leak");
            let capture = attachment.finish();
            expect_leaks(&capture);
            // Where the old root is still there, the kernel names files from outside.
            let process = capture
                .query("SELECT pid, substr(python_version, 1, 4), substr(executable, -19) FROM processes");
            let expected = format!("{} 3.{minor} /usr/bin/python3.{minor}", target.pid());
            assert_eq!(process, [expected], "{kind:?}");
            assert_eq!(target.end().status, 0, "{kind:?}");
        }
    }
}

/// The first of them has the number 1 inside, and memray sees nothing of the machine but the container.
#[test]
fn from_inside() {
    for kind in [Kind::Chroot, Kind::Namespaces] {
        let container = Container::new(kind);
        let mut target = container.start(14);
        let (prefix, binary) = Container::inside(&target);
        let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
        let mut attach = Attach::to(&target).through(&prefix, &binary);
        let inner = if kind == Kind::Namespaces { 1 } else { target.pid() };
        attach = attach.by_pid(inner);
        let attachment = attach.start();
        target.obey("leak");
        // Ctrl-C goes to memray and not to what put it there.
        let capture = attachment.finish();
        expect_leaks(&capture);
        let pid = capture.query("SELECT pid FROM processes");
        assert_eq!(pid, [inner.to_string()], "{kind:?}");
        memray_tests::probed::wait_unprobed(target.pid());
        assert_eq!(target.end().status, 0, "{kind:?}");
    }
}

#[test]
fn several_in_one_capture() {
    let containers = [Container::new(Kind::Namespaces), Container::new(Kind::Pivoted)];
    let mut inside = containers.each_ref().map(|container| container.start(14));
    let mut outside = Target::script(usual_python(), &Script::new("attached.py"), &[]);
    let attachment = Attach::to(&inside[0]).and(&inside[1]).and(&outside).start();
    for target in inside.iter_mut().chain([&mut outside]) {
        target.obey("leak");
    }
    let capture = attachment.finish();
    let rows = capture.query(
        "SELECT process_id, COUNT(*) FROM allocations WHERE size IN (1234593, 1234595)
         GROUP BY process_id ORDER BY process_id",
    );
    assert_eq!(rows, ["1 11", "2 11", "3 11"]);
    for target in inside.into_iter().chain([outside]) {
        assert_eq!(target.end().status, 0);
    }
}
