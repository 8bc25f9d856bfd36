//! The program cannot tell from anything it can ask the kernel or its interpreter that it is being recorded.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use memray_tests::{
    behavior::{ending, for_each_case, memray_run, plain, run_with_input, usual_python},
    program,
};

fn check(folder: &Path, words: &[&str]) -> Output {
    check_commands(folder, words, |command| command)
}

/// Runs `words` with the usual interpreter and through memray, each changed by `prepare`, and compares all of it.
fn check_commands(folder: &Path, words: &[&str], prepare: impl Fn(Command) -> Command) -> Output {
    let mut without = if words[0] == "--" {
        plain(folder, words[1])
    } else {
        plain(folder, &usual_python().program)
    };
    without.args(&words[if words[0] == "--" { 2 } else { 0 }..]);
    let with = memray_run(folder, words);
    let [without, with] =
        [without, with].map(|command| without_numbers(run_with_input(prepare(command), b"in\0put\n")));
    let lines = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (without, with) in lines(&without).iter().zip(lines(&with)) {
        assert_eq!(&with, without, "{words:?}");
    }
    assert_eq!(with, without, "{words:?}");
    assert!(ending(&folder.join("c.db")).finished);
    with
}

/// Pipes have other numbers in each run.
fn without_numbers(mut output: Output) -> Output {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut parts = text.split("pipe:[");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str("pipe:[");
        result.push_str(part.trim_start_matches(|character: char| character.is_ascii_digit()));
    }
    output.stdout = result.into_bytes();
    output
}

/// A folder with the program in every form that Python takes.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let source = program("surroundings.py");
    fs::create_dir_all(path("package")).unwrap();
    fs::create_dir_all(path("folder")).unwrap();
    fs::write(path("package/__init__.py"), "").unwrap();
    for name in ["s.py", "package/__main__.py", "folder/__main__.py", "module.py"] {
        fs::copy(&source, path(name)).unwrap();
    }
    let status = Command::new(&usual_python().program)
        .args(["-m", "zipapp", "folder", "-o", "archive.pyz"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    folder
}

#[test]
fn every_form_of_program() {
    let python = usual_python().program.to_str().unwrap();
    let code = fs::read_to_string(program("surroundings.py")).unwrap();
    let forms: &[&[&str]] = &[
        &["s.py"],
        &["s.py", "-q", "--", "--output", "größe", ""],
        &["./folder/../s.py"],
        &["-m", "package", "-c", "x"],
        &["-m", "module"],
        &["-c", &code, "-m", "x"],
        &["folder", "1"],
        &["archive.pyz", "1"],
        &["--", python, "-I", "s.py"],
        &["--", python, "-ISBOuX", "dev", "-W", "ignore", "s.py", "1"],
    ];
    for_each_case(forms, |words| {
        let folder = folder();
        let output = check(folder.path(), words);
        assert!(
            output.status.success() && output.stdout.len() > 2000,
            "{output:?}"
        );
    });
}

#[test]
fn what_a_parent_leaves_to_its_children() {
    let cases = [
        "os.environb.clear(); os.environb[b'EMPTY'] = b''; os.environb[b'\\xff'] = b'\\xff'",
        "os.umask(0o027); os.nice(3)
for name in 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGTSTP', 'SIGRTMIN', 'SIGPIPE':
    signal.signal(getattr(signal, name), signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, 40])
resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 34))
resource.setrlimit(resource.RLIMIT_CORE, (0, 5))",
        "os.dup2(1, 9); os.close(2)
libc.prctl(29, 70_000)  # PR_SET_TIMERSLACK
open('/proc/self/oom_score_adj', 'w').write('321')
open('/proc/self/coredump_filter', 'w').write('0x7f')",
        "os.close(0)",
        "os.sched_setaffinity(0, [0]); os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
        "libc.personality(0x0040000)  # ADDR_NO_RANDOMIZE",
    ];
    for_each_case(&cases, |prepare| {
        let prepare = format!("signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n{prepare}");
        check_after(folder().path(), &prepare);
    });
}

/// Runs both by exec of an interpreter that has changed what exec passes on.
fn check_after(folder: &Path, prepare: &str) {
    let code = format!(
        "import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None)
{prepare}
os.execv(sys.argv[1], sys.argv[1:])"
    );
    check_commands(folder, &["s.py", "1"], |command| {
        let mut prepared = plain(folder, &usual_python().program);
        prepared
            .args(["-I", "-S", "-c", &code])
            .arg(command.get_program());
        prepared.args(command.get_args());
        prepared
    });
}
