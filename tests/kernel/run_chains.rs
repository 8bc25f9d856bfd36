//! Programs that become others by exec, and programs that are no Python.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use memray_tests::{
    behavior::{ending, folder_with, memray_run, plain, run_with_input, shell_status, usual_python},
    program,
};
use rusqlite::Connection;

const SCRIPT: &str =
    "import sys\nblock = bytearray(1_234_577)\nprint('done', sys.argv, sys.executable)\nsys.exit(7)\n";

/// Runs a command both ways and compares; returns the programs of the capture, each with its Python.
fn check(folder: &Path, words: &[&str], status: i32) -> Vec<String> {
    let mut without = plain(folder, words[0]);
    without.args(&words[1..]);
    let without = run_with_input(without, b"");
    let with = run_with_input(memray_run(folder, &[&["--"], words].concat()), b"");
    assert_eq!(with, without, "{words:?}");
    assert_eq!(shell_status(&with), status, "{words:?} {with:?}");
    assert!(ending(&folder.join("c.db")).finished);
    programs(folder)
}

/// The lives of the process, in order; each begins where the one before it ends.
fn programs(folder: &Path) -> Vec<String> {
    let capture = Connection::open(folder.join("c.db")).unwrap();
    let broken: i64 = capture
        .query_row(
            "SELECT count(*) FROM processes AS life LEFT JOIN processes AS before
                ON before.process_id = life.parent_process_id
             WHERE life.process_id > 1 AND
                (before.process_id IS NOT life.process_id - 1 OR before.pid <> life.pid
                 OR before.ended_ns > life.started_ns OR before.exit_status IS NOT NULL)
                OR life.ended_ns IS NULL OR life.ended_ns < life.started_ns",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(broken, 0);
    let sql = "SELECT replace(executable, rtrim(executable, replace(executable, '/', '')), '') || ' ' || python_version
        FROM processes ORDER BY process_id";
    let mut programs = capture.prepare(sql).unwrap();
    let rows = programs.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|name| name.unwrap().trim_end().to_owned()).collect()
}

/// Counts allocations of a size, where the innermost frame is in that file.
fn blocks(folder: &Path, size: u32, file: &str) -> u32 {
    let capture = Connection::open(folder.join("c.db")).unwrap();
    let sql = "SELECT count(*) FROM allocations JOIN stacks USING (stack_id) JOIN frames USING (frame_id)
        WHERE size BETWEEN ?1 AND ?1 + 1 AND file LIKE '%' || ?2";
    capture.query_row(sql, (size, file), |row| row.get(0)).unwrap()
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn programs_that_become_python() {
    let folder = folder_with(&[
        ("x.py", SCRIPT),
        ("shebang.py", &format!("#!/usr/bin/env python3\n{SCRIPT}")),
    ]);
    let folder = folder.path();
    executable(&folder.join("shebang.py"));
    let python = usual_python().program.to_str().unwrap();
    fs::create_dir(folder.join("bin")).unwrap();
    symlink(python, folder.join("bin/python3")).unwrap();
    let path = format!("PATH={}/bin:/usr/bin:/bin", folder.display());

    let expected = ["env", "python3.12 3.12.1"];
    assert_eq!(check(folder, &["env", "A=1", python, "x.py"], 7), expected);
    assert_eq!(blocks(folder, 1_234_577, "x.py"), 1);
    assert_eq!(
        check(folder, &["env", &path, "./shebang.py", "1"], 7),
        ["env", "env", "python3.12 3.12.1"]
    );
    assert_eq!(blocks(folder, 1_234_577, "shebang.py"), 1);
    let line = format!("exec {python} x.py");
    assert_eq!(
        check(folder, &["sh", "-c", &line], 7),
        ["dash", "python3.12 3.12.1"]
    );
    assert_eq!(blocks(folder, 1_234_577, "x.py"), 1);
}

/// A Python that executes another program ends, and the other one is a life of its own, recorded from its beginning.
#[test]
fn python_that_becomes_another_program() {
    let folder = folder_with(&[("x.py", SCRIPT)]);
    let folder = folder.path();
    let python = usual_python().program.to_str().unwrap();
    for (next, name) in [
        (python, "python3.12 3.12.1"),
        ("/usr/bin/python3", "python3.11 3.11.2"),
    ] {
        let code =
            format!("import os; block = bytearray(7_654_321); os.execv({next:?}, ['python3', 'x.py'])");
        assert_eq!(
            check(folder, &[python, "-c", &code], 7),
            ["python3.12 3.12.1", name]
        );
        let found =
            [(7_654_321, "<string>"), (1_234_577, "x.py")].map(|(size, file)| blocks(folder, size, file));
        assert_eq!(found, [1, 1]);
        let capture = Connection::open(folder.join("c.db")).unwrap();
        let sql = "SELECT group_concat(origin || ' ' || coalesce(exit_status, '-') || ' ' || coalesce(parent_process_id, '-')),
            min(peak_bytes) > 1234577, max(peak_bytes) BETWEEN 7654321 AND 7700000,
            (SELECT count(*) FROM losses WHERE kind <> 'neutral')
            FROM processes JOIN state USING (process_id)";
        let row = capture.query_row(sql, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        let lives = "launched - -,executed 7 1".to_owned();
        assert_eq!(row.unwrap(), (lives, true, true, 0));
    }
}

/// A shim is what pyenv puts in PATH: a script that asks what to run, and becomes it.
#[test]
fn an_interpreter_that_is_a_script() {
    let python = usual_python().program.to_str().unwrap();
    let shim = format!("#!/usr/bin/env bash\nset -e\nexport SHIM=$(echo was here)\nexec {python} \"$@\"\n");
    let folder = folder_with(&[
        ("x.py", SCRIPT),
        ("bin/python3", &shim),
        ("bin/none", "#!/bin/sh\necho no; exit 4\n"),
    ]);
    let folder = folder.path();
    executable(&folder.join("bin/python3"));
    executable(&folder.join("bin/none"));
    let run = |interpreter: &str| {
        let mut command = memray_run(folder, &["x.py"]);
        command.args(["1"]);
        // The last one counts.
        let mut words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let position = words.iter().position(|word| word == "--python").unwrap();
        words[position + 1] = interpreter.into();
        let mut command = plain(folder, command.get_program());
        run_with_input(
            {
                command.args(words);
                command
            },
            b"",
        )
    };
    let output = run("bin/python3");
    let expected = format!("done ['x.py', '1'] {python}\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(shell_status(&output), 7);
    // Nothing but the interpreter is recorded.
    assert_eq!(programs(folder), ["python3.12 3.12.1"]);
    assert_eq!(blocks(folder, 1_234_577, "x.py"), 1);

    fs::remove_file(folder.join("c.db")).unwrap();
    let output = run("bin/none");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no\n");
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @"
    error: `bin/none` ended, with exit status 4, before there was anything to record
    hint: an interpreter that is a script must exec a CPython; name the interpreter itself with `--python`
    ");
    assert_eq!(shell_status(&output), 4);
    assert!(!folder.join("c.db").exists());
}

#[test]
fn programs_that_are_no_python() {
    let folder = folder_with(&[]);
    let folder = folder.path();
    let compiled = Command::new("cc")
        .args(["-O0", "-pthread", "-o"])
        .arg(folder.join("threads"))
        .arg(program("threads_in_c.c"))
        .status()
        .unwrap();
    assert!(compiled.success());
    assert_eq!(check(folder, &["./threads"], 5), ["threads"]);
    assert_eq!(
        (blocks(folder, 12_347, ""), blocks(folder, 12_349, "")),
        (400, 400)
    );
    let capture = Connection::open(folder.join("c.db")).unwrap();
    let sql = "SELECT count(DISTINCT thread_id), count(free_ts), max(depth), max(kind)
        FROM allocations JOIN stacks USING (stack_id) JOIN frames USING (frame_id) WHERE size IN (12347, 12349)";
    let row = capture.query_row(sql, [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    assert_eq!(row.unwrap(), (4, 400, 1, "marker".to_owned()));
    assert_eq!(check(folder, &["/bin/ls", "-d", "/"], 0), ["ls"]);
    assert_eq!(
        check(folder, &["sh", "-c", "ls -d /; kill -TERM $$"], 143),
        ["dash"]
    );
}

/// The children of a process are not followed; they run as ever, and memray says that it has not seen them.
#[test]
fn a_shell_that_waits_for_python() {
    let folder = folder_with(&[("x.py", SCRIPT)]);
    let folder = folder.path();
    let line = format!("{} x.py; echo $?", usual_python().program.display());
    assert_eq!(check(folder, &["sh", "-c", &line], 0), ["dash"]);
    let mut command = plain(folder, memray_tests::memray::memray_binary());
    command.args(["run", "-f", "-o", "c.db", "--", "sh", "-c", &line]);
    let output = run_with_input(command, b"");
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @"
    Writing profile results into c.db
    No Python ran in this process, so there are no Python stacks. Programs that it started are recorded with `--follow-fork`.

    Wrote c.db

    See where the memory of its peak came from:
      memray flamegraph c.db
    or here in the terminal:
      memray summary c.db
      memray tree c.db
    ");
}
