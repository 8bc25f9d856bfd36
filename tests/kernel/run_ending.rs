//! A program that is recorded ends as it does without memray: output, exit status, signal; and its capture is whole.

use std::{fs, path::Path, process::Output};

use memray_tests::behavior::{
    Ending, ending, folder_with, for_each_case, memray_run, plain, run_with_input, shell_status, usual_python,
};

/// Runs a command line both ways; `$?` of a shell must be `status` both times, and all output the same.
fn check(folder: &Path, words: &[&str], status: i32) -> Output {
    let mut without = plain(folder, &usual_python().program);
    without.args(words);
    let without = run_with_input(without, b"in\0put\xff\n");
    let with = run_with_input(memray_run(folder, words), b"in\0put\xff\n");
    assert_eq!(with, without, "{words:?}");
    assert_eq!(shell_status(&with), status, "{words:?}: {with:?}");
    let expected = Ending {
        finished: true,
        exit_status: Some(u32::try_from(status).unwrap()),
        python_versions: vec!["3.12.1".to_owned()],
        n_allocations: 0,
    };
    let found = ending(&folder.join("c.db"));
    assert_eq!(
        Ending {
            n_allocations: 0,
            ..found
        },
        expected,
        "{words:?}"
    );
    with
}

#[test]
fn exit_codes_and_what_is_printed() {
    let files = [
        ("raise.py", "def f(x):\n    return 1 / x\n\n\nf(0)\n"),
        ("syntax.py", "print('never'\nx = = 1\n"),
        ("binary.py", "\0\u{1}\u{2}\u{7f}not python"),
        ("not_utf8.py", "# placeholder"),
        ("import_error.py", "import no_such_module_at_all\n"),
        (
            "group.py",
            "raise ExceptionGroup('two', [ValueError(1), KeyError('k')])\n",
        ),
    ];
    let mut cases: Vec<(&[&str], i32)> = vec![
        (&["-c", "pass"], 0),
        (&["-c", "import sys; sys.exit(7)"], 7),
        (&["-c", "import sys; sys.exit(256 + 3)"], 3),
        (&["-c", "import sys; sys.exit('text')"], 1),
        (&["-c", "import os; print('no flush'); os._exit(9)"], 9),
        (
            &[
                "-c",
                "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read() * 9000)",
            ],
            0,
        ),
        (&["-c", "import atexit; atexit.register(print, 'last'); 1 / 0"], 1),
        (&["-m", "no_such_module_at_all"], 1),
        (&["-c", "x = = 1"], 1),
    ];
    let names = files.map(|(name, _)| [name]);
    cases.extend(names.iter().map(|words| (&words[..], 1)));
    for_each_case(&cases, |(words, status)| {
        let folder = folder_with(&files);
        fs::write(folder.path().join("not_utf8.py"), b"x = '\xff'\n").unwrap();
        let output = check(folder.path(), words, *status);
        assert_eq!(
            output.stderr.is_empty(),
            [0, 3, 7, 9].contains(status),
            "{output:?}"
        );
    });
}

#[test]
fn signals_that_end_the_program_end_memray() {
    let cases = [
        ("SIGKILL", 137),
        ("SIGTERM", 143),
        ("SIGABRT", 134),
        ("SIGHUP", 129),
        ("SIGPIPE", 141),
        ("SIGRTMIN", 162),
    ];
    for_each_case(&cases, |(signal, status)| {
        let folder = folder_with(&[]);
        let code = format!(
            "import os, signal, sys
blocks = [bytearray(100_000) for _ in range(10)]
print('before', flush=True)
if signal.{signal} != signal.SIGKILL: signal.signal(signal.{signal}, signal.SIG_DFL)
os.kill(os.getpid(), signal.{signal})"
        );
        let output = check(folder.path(), &["-c", &code], *status);
        assert_eq!(output.stdout, b"before\n");
        assert!(ending(&folder.path().join("c.db")).n_allocations >= 10);
    });
}

#[test]
fn a_shell_sees_what_it_would_see() {
    let folder = folder_with(&[("seg.py", "import ctypes\nctypes.string_at(1)\n")]);
    let memray = memray_run(folder.path(), &["seg.py"]);
    let words: Vec<_> = [memray.get_program()]
        .into_iter()
        .chain(memray.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let shell = |line: &str| {
        let mut command = plain(folder.path(), "/bin/sh");
        command.args(["-c", &format!("{line}; echo $?")]);
        run_with_input(command, b"")
    };
    let with = shell(&words.join(" "));
    let without = shell(&format!("'{}' seg.py", usual_python().program.display()));
    assert_eq!(String::from_utf8_lossy(&with.stdout), "139\n");
    // The shell's own word on it, "Segmentation fault", is there both times.
    let lines = |output: &Output| String::from_utf8_lossy(&output.stderr).lines().count();
    assert_eq!(lines(&with), lines(&without), "{with:?} {without:?}");
}

#[test]
fn a_program_that_ends_at_once_is_recorded() {
    let folder = folder_with(&[("exits.py", "import os\nx = bytearray(1_234_577)\nos._exit(0)\n")]);
    check(folder.path(), &["exits.py"], 0);
    let capture = rusqlite::Connection::open(folder.path().join("c.db")).unwrap();
    let line: (i64, i64) = capture
        .query_row(
            "SELECT line, size FROM allocations JOIN stacks USING (stack_id) JOIN frames USING (frame_id)
             WHERE size BETWEEN 1234577 AND 1234700",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(line, (2, 1_234_578));
}
