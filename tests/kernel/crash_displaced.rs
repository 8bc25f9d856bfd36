//! Somebody deletes, moves, cuts or replaces the capture, or its log, while it is recorded: it is told at once, the exit
//! status says so, the program goes on, and nothing is written where it was not asked for.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Stdio},
};

use memray_tests::{
    behavior::{folder_with, for_each_case, plain, usual_python, wait_until},
    memray::memray_binary,
    program,
    rising::{Log, check_capture},
    target::as_a_shell_shows,
};

/// What is done to the capture at `sub/c.db`, what is told, and where it is then, if it is anywhere.
struct Case {
    name: &'static str,
    act: fn(&Path),
    told: &'static str,
    left: Option<&'static str>,
    status: i32,
}

const CASES: [Case; 9] = [
    Case {
        name: "deleted",
        act: |folder| fs::remove_file(folder.join("sub/c.db")).unwrap(),
        told: "error: the capture `sub/c.db` was deleted while it was recorded\nhint: ",
        left: None,
        status: 4,
    },
    Case {
        name: "replaced",
        act: |folder| {
            fs::write(folder.join("sub/new"), "other").unwrap();
            fs::rename(folder.join("sub/new"), folder.join("sub/c.db")).unwrap();
        },
        told: "error: the capture `sub/c.db` was deleted while it was recorded\nhint: ",
        left: None,
        status: 4,
    },
    Case {
        name: "moved",
        act: |folder| fs::rename(folder.join("sub/c.db"), folder.join("b.db")).unwrap(),
        told: "error: the capture `sub/c.db` was moved to `[folder]/b.db` while it was recorded\nhint: ",
        left: Some("b.db"),
        status: 4,
    },
    Case {
        name: "folder removed",
        act: |folder| fs::remove_dir_all(folder.join("sub")).unwrap(),
        told: "error: the capture `sub/c.db` was deleted while it was recorded\nhint: ",
        left: None,
        status: 4,
    },
    Case {
        name: "folder renamed",
        act: |folder| fs::rename(folder.join("sub"), folder.join("other")).unwrap(),
        told: "error: the capture `sub/c.db` was moved to `[folder]/other/c.db` while it was recorded\nhint: ",
        left: Some("other/c.db"),
        status: 4,
    },
    Case {
        name: "emptied",
        act: |folder| drop(fs::File::create(folder.join("sub/c.db")).unwrap()),
        told: "error: the capture `sub/c.db` was cut off by somebody else while it was recorded: it has 0 of ",
        left: None,
        status: 4,
    },
    Case {
        name: "cut in half",
        act: |folder| {
            let file = fs::File::options()
                .write(true)
                .open(folder.join("sub/c.db"))
                .unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        },
        told: "error: the capture `sub/c.db` was cut off by somebody else while it was recorded: it has ",
        left: None,
        status: 4,
    },
    Case {
        name: "log deleted",
        act: |folder| fs::remove_file(folder.join("sub/c.db-wal")).unwrap(),
        told: "",
        left: Some("sub/c.db"),
        status: 0,
    },
    Case {
        name: "shared memory deleted",
        act: |folder| fs::remove_file(folder.join("sub/c.db-shm")).unwrap(),
        told: "",
        left: Some("sub/c.db"),
        status: 0,
    },
];

fn start(folder: &Path, log: &Log) -> Child {
    let mut command = plain(folder, memray_binary());
    command
        .args(["run", "-q", "-o", "sub/c.db", "--python"])
        .arg(&usual_python().program);
    command.arg(program("rising.py")).arg(log.path());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for_blocks(log: &Log, count: usize) {
    let before = log.times_ns().len();
    wait_until("more blocks", || {
        (log.times_ns().len() >= before + count).then_some(())
    });
}

#[test]
fn while_it_is_recorded() {
    for_each_case(&CASES, |case| {
        let folder = folder_with(&[("sub/keep", "")]);
        let path = folder.path();
        let log = Log::at(path.join("log"));
        let mut memray = start(path, &log);
        wait_until("a first commit", || {
            let has_log = |metadata: fs::Metadata| metadata.len() > 100_000;
            fs::metadata(path.join("sub/c.db-wal"))
                .is_ok_and(has_log)
                .then_some(())
        });
        (case.act)(path);
        // Two looks and more.
        wait_for_blocks(&log, 400);
        let mut stdin = memray.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        let mut text = String::new();
        memray.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(text.starts_with("end after "), "{}: {text}", case.name);
        let mut told = String::new();
        memray.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        let real = fs::canonicalize(path).unwrap();
        let told = told.replace(&*real.to_string_lossy(), "[folder]");
        assert_eq!(
            as_a_shell_shows(memray.wait().unwrap()),
            case.status,
            "{}: {told}",
            case.name
        );
        assert!(
            told.contains(case.told) && case.told.is_empty() == told.is_empty(),
            "{}: {told}",
            case.name
        );
        assert_eq!(
            told.matches("error: ").count(),
            usize::from(case.status != 0),
            "{}: {told}",
            case.name
        );
        if case.status != 0 {
            assert!(
                told.ends_with(
                    "The capture `sub/c.db` is not whole; the program ended, with exit status 0.\n"
                ),
                "{}: {told}",
                case.name
            );
        }
        match case.left {
            Some(left) => {
                let blocks = check_capture(&path.join(left), case.name);
                assert_eq!(
                    usize::try_from(blocks.kept).unwrap(),
                    log.times_ns().len(),
                    "{}",
                    case.name
                );
            }
            None if case.name == "replaced" => {
                assert_eq!(fs::read(path.join("sub/c.db")).unwrap(), b"other");
            }
            None => {}
        }
        let is_expected =
            |name: &String| ["log", "sub", "other", "b.db", "b.db-wal", "b.db-shm"].contains(&name.as_str());
        let names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().all(is_expected), "{}: {names:?}", case.name);
    });
}
