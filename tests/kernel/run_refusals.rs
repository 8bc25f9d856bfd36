//! Programs that cannot be recorded: one clear error each, before anything of the program has run, and no capture.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use memray_tests::{
    Python,
    behavior::{folder_with, plain, run_with_input},
    elf32,
    memray::memray_binary,
    transcript,
};

/// An i386 program that exits with status 42.
fn elf32() -> Vec<u8> {
    elf32::program(&[0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80])
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Each line is run in one folder; what memray says of all.
fn session(folder: &Path, lines: &[&[&str]]) -> String {
    let before: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let mut text = String::new();
    for words in lines {
        let mut command = plain(folder, memray_binary());
        command.arg("run").args(*words);
        let said = transcript(&run_with_input(command, b""));
        text.extend(["$ memray run ", &words.join(" "), "\n", &said, "\n"]);
    }
    let after: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(after, before, "nothing is left behind");
    text.replace(&*folder.to_string_lossy(), "[folder]")
}

#[test]
fn programs_of_other_kinds() {
    const STATIC: &str =
        "#include <stdlib.h>\nint main(void) { volatile char *p = malloc(9); *p = 1; return 0; }\n";
    let folder = folder_with(&[
        ("a.py", "print('never')\n"),
        ("text", "hello"),
        ("no_interpreter", "#!/nonexistent/i\n"),
        ("s.c", STATIC),
    ]);
    let folder = folder.path();
    fs::write(folder.join("elf32"), elf32()).unwrap();
    for name in ["elf32", "text", "no_interpreter"] {
        executable(&folder.join(name));
    }
    let compiled = Command::new("cc")
        .args(["-static", "-s", "-o", "static", "s.c"])
        .current_dir(folder)
        .status();
    assert!(compiled.unwrap().success());
    // It is a program that the kernel runs.
    let status = plain(folder, "./elf32").status().unwrap();
    assert_eq!(status.code(), Some(42));
    insta::assert_snapshot!(session(
        folder,
        &[
            &["--", "./elf32"],
            &["--", "./text"],
            &["--", "./no_interpreter"],
            &["--", "./a.py"],
            &["--", "/"],
            &["--", "./static"],
            &["--python", "/bin/cat", "a.py"],
            &["--python", "./elf32", "a.py"],
        ]
    ));
}

/// Without tables for a version there is no guessing.
#[test]
fn interpreters_that_are_not_known() {
    let folder = folder_with(&[("a.py", "print('never')\n")]);
    let home = Python::of_pyenv(12).program;
    let versions = home.ancestors().nth(3).unwrap();
    let mut said = String::new();
    for version in ["2.7.18", "3.6.15", "3.7.16"] {
        let python = versions.join(version).join("bin/python");
        let python = python.to_str().unwrap();
        said += &session(
            folder.path(),
            &[&["--python", python, "a.py"], &["--", python, "a.py"]],
        );
    }
    insta::assert_snapshot!(said.replace(versions.to_str().unwrap(), "[versions]"));
}
