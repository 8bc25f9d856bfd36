//! Signals and job control: what is sent to memray, or typed at its terminal, reaches the program once, and memray's end
//! is the program's.

use std::path::Path;

use memray_tests::{
    behavior::{ending, folder_with, for_each_case, memray_run, plain, run_with_input, usual_python},
    program,
};

/// What a terminal shows while `tests/programs/terminal.py` takes `steps` with a command that runs in it.
fn terminal(folder: &Path, steps: &str, command: &[String]) -> String {
    let mut terminal = plain(folder, &usual_python().program);
    terminal.env("PS1", "% ").env_remove("HISTFILE");
    terminal.arg(program("terminal.py")).arg(steps).args(command);
    let output = run_with_input(terminal, b"");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{output:?}");
    text.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// The command line of the program without memray and with it.
fn commands(folder: &Path, argument: &str) -> [Vec<String>; 2] {
    let script = program("interrupted.py").to_str().unwrap().to_owned();
    let memray = memray_run(folder, &[&script, argument]);
    let words = [memray.get_program()].into_iter().chain(memray.get_args());
    let words = words.map(|word| word.to_str().unwrap().to_owned()).collect();
    let python = usual_python().program.to_str().unwrap().to_owned();
    [vec![python, script, argument.to_owned()], words]
}

/// Both ways the terminal must show `expect`, and the capture must be whole.
fn check(steps: &str, argument: &str, expect: &str) {
    let folder = folder_with(&[]);
    for command in commands(folder.path(), argument) {
        assert_eq!(
            terminal(folder.path(), steps, &command),
            expect,
            "{steps} {command:?}"
        );
    }
    let ending = ending(&folder.path().join("c.db"));
    assert!(
        ending.finished && ending.n_allocations >= 10,
        "{steps}: {ending:?}"
    );
}

fn traceback() -> String {
    let script = program("interrupted.py");
    format!(
        "Traceback (most recent call last):\n  File \"{}\", line 39, in <module>\n    raise KeyboardInterrupt from None\nKeyboardInterrupt\n",
        script.display()
    )
}

#[test]
fn control_c() {
    let interrupted = format!("interrupted\nonce\n{}", traceback());
    let cases = [
        (
            "expect:ready;type:\\x03",
            "",
            format!("ready\n^C{interrupted}status 130\n"),
        ),
        (
            "expect:ready;kill:SIGINT",
            "",
            format!("ready\n{interrupted}status 130\n"),
        ),
        (
            "expect:ready;type:\\x03",
            "default",
            "ready\n^Cstatus 130\n".to_owned(),
        ),
        (
            "expect:ready;type:\\x03;expect:^C;kill:SIGINT;kill:SIGTERM",
            "ignore",
            "ready\n^Cgot SIGTERM\nstatus 3\n".to_owned(),
        ),
        ("expect:ready;type:\\x1c", "", "ready\n^\\status 131\n".to_owned()),
    ];
    for_each_case(&cases, |(steps, argument, expect)| check(steps, argument, expect));
}

#[test]
fn signals_to_memray_alone() {
    let cases = [
        ("expect:ready;kill:SIGTERM", "ready\ngot SIGTERM\nstatus 3\n"),
        (
            "expect:ready;kill:SIGHUP;expect:HUP;kill:SIGUSR1;expect:USR1;kill:SIGUSR2;expect:USR2;kill:SIGALRM;expect:ALRM;\
             kill:SIGWINCH;expect:WINCH;kill:SIGTERM",
            "ready\ngot SIGHUP\ngot SIGUSR1\ngot SIGUSR2\ngot SIGALRM\ngot SIGWINCH\ngot SIGTERM\nstatus 3\n",
        ),
        ("expect:ready;kill:SIGRTMIN", "ready\nstatus 162\n"),
        ("expect:ready;kill:SIGVTALRM", "ready\nstatus 154\n"),
    ];
    for_each_case(&cases, |(steps, expect)| check(steps, "", expect));
}

#[test]
fn job_control() {
    let folder = folder_with(&[]);
    let steps = "expect:%;type:. ./line\\n;expect:ready;type:\\x1a;expect:topped;expect:%;type:fg\\n;expect:got SIGCONT;\
                 type:\\x03;expect:once;expect:%;type:echo st=$?\\n;expect:st=1;expect:%;type:exit\\n";
    let [without, with] = commands(folder.path(), "").map(|command| {
        let line = command.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>();
        let line = line.join(" ");
        std::fs::write(folder.path().join("line"), &line).unwrap();
        let shell = ["bash", "--norc", "--noediting"].map(str::to_owned);
        terminal(folder.path(), steps, &shell).replace(&line, "COMMAND")
    });
    let expected = format!(
        "% . ./line\nready\n^Z\n[1]+  Stopped                 COMMAND\n% fg\nCOMMAND\ngot SIGCONT\n^Cinterrupted\nonce\n\
         {}\n% echo st=$?\nst=130\n% exit\nexit\nstatus 0\n",
        traceback()
    );
    assert_eq!(without, expected);
    assert_eq!(with, expected);
    assert!(ending(&folder.path().join("c.db")).finished);
}
