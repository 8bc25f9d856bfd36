//! Real programs, started, stopped and let go by the test itself.

use std::{env, path::Path, process::Command, thread, time::Duration};

use memray_ebpf::memory::RemoteMemory as _;
use tempfile::tempdir;

use super::*;
use crate::target::{elf::ElfFile, process::Process, testing::compile};

mod told;

fn launch(arguments: &[&str]) -> Launch {
    let path = env::var_os("PATH");
    Launch {
        program: find_program(OsString::from(arguments[0]).as_os_str(), path).unwrap(),
        arguments: arguments.iter().map(OsString::from).collect(),
    }
}

/// Runs to the end; what happens at each loaded point is up to `decide`.
fn run(arguments: &[&str], mut decide: impl FnMut(&Loaded) -> Decision) -> ExitStatus {
    let signals = InheritedSignals::capture();
    let relay = SignalRelay::start();
    let mut child = launch(arguments).spawn(&signals, &relay).unwrap();
    let pid = child.pid();
    let mut is_asked = false;
    let outcome = child.run_until_released::<LaunchError>(|loaded| {
        is_asked = true;
        Ok(decide(loaded))
    });
    outcome.unwrap();
    assert!(is_asked, "no program goes by unseen");
    let status = child.wait().unwrap();
    assert!(Process::open(pid).is_err(), "no zombie is left");
    status
}

#[test]
fn the_way_a_program_ends_is_told() {
    let check = |script: &str, expect| {
        for decision in [Decision::Release, Decision::WatchForExec] {
            assert_eq!(
                run(&["sh", "-c", script], |_| decision),
                expect,
                "{script} {decision:?}"
            );
        }
    };
    let signaled = |signal| ExitStatus::Signaled {
        signal,
        core_dumped: false,
    };
    check("exit 0", ExitStatus::Exited(0));
    check("exit 7", ExitStatus::Exited(7));
    check("kill -KILL $$", signaled(libc::SIGKILL));
    check("ulimit -c 0; kill -SEGV $$", signaled(libc::SIGSEGV));
    check("trap 'exit 9' USR1; kill -USR1 $$; exit 1", ExitStatus::Exited(9));
    check("kill -TRAP $$", signaled(libc::SIGTRAP));
    let script = "trap 'exit 4' RTMIN+3; kill -RTMIN+3 $$; exit 1";
    assert_eq!(
        run(&["bash", "-c", script], |_| Decision::WatchForExec),
        ExitStatus::Exited(4)
    );
}

#[test]
fn what_cannot_be_executed_is_our_error() {
    let directory = tempdir().unwrap();
    let signals = InheritedSignals::capture();
    let relay = SignalRelay::start();
    let write = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let check = |program: PathBuf, expect: i32| {
        let arguments = vec![program.clone().into_os_string()];
        let error = Launch { program, arguments }.spawn(&signals, &relay).unwrap_err();
        let LaunchError::Execute { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(source.raw_os_error(), Some(expect));
        assert!(error.hint().is_some());
    };
    check(directory.path().join("absent"), libc::ENOENT);
    check(directory.path().to_owned(), libc::EACCES);
    check(write("text", "no program", 0o755), libc::ENOEXEC);
    check(write("script", "#!/absent/interpreter\n", 0o755), libc::ENOENT);
    check(write("forbidden", "#!/bin/sh\n", 0o644), libc::EACCES);

    let find = |name: &str| find_program(OsString::from(name).as_os_str(), Some(directory.path().into()));
    assert!(matches!(find("absent"), Err(LaunchError::NotFound { .. })));
    assert!(matches!(find(""), Err(LaunchError::NotFound { .. })));
    assert!(matches!(find("forbidden"), Err(LaunchError::Execute { .. })));
    assert_eq!(find("text").unwrap(), directory.path().join("text"));
    assert_eq!(find("./any/path").unwrap(), Path::new("./any/path"));
}

/// A library whose constructor leaves a file behind, and a program with a pointer that the loader relocates.
fn constructed(directory: &Path, name: &str, flags: &[&str]) -> (PathBuf, PathBuf, PathBuf) {
    let mark = directory.join(format!("{name}.mark"));
    let library = format!(
        "#include <fcntl.h>\n__attribute__((constructor)) static void mark(void) {{ open(\"{}\", O_CREAT|O_WRONLY, 0600); }}",
        mark.display()
    );
    let library = compile(
        directory,
        &format!("lib{name}.so"),
        &library,
        &["-shared", "-fPIC"],
    );
    let source = "#include <stdlib.h>\nvoid *(*volatile relocated)(size_t) = malloc;\nint main(void) { return relocated(8) == 0; }";
    (compile(directory, name, source, flags), library, mark)
}

#[test]
fn the_loaded_point_is_after_relocation_and_before_constructors() {
    let directory = tempdir().unwrap();
    let kinds: [(&str, &[&str]); 3] = [
        ("pie", &["-pie", "-fPIE"]),
        ("fixed", &["-no-pie", "-fno-pie"]),
        ("now", &["-pie", "-fPIE", "-Wl,-z,now"]),
    ];
    for (name, flags) in kinds {
        let (program, library, mark) = constructed(directory.path(), name, flags);
        let preload = format!("LD_PRELOAD={}", library.display());
        let mut seen = 0;
        let status = run(&["env", &preload, program.to_str().unwrap()], |loaded| {
            assert_eq!(loaded.point, LoadedPoint::Relocated);
            seen += 1;
            assert_eq!(loaded.exec_count, seen);
            if loaded.exec_count == 1 {
                return Decision::WatchForExec;
            }
            let process = Process::open(loaded.pid).unwrap();
            assert_eq!(process.executable().unwrap(), program);
            assert!(!mark.exists(), "the constructor has not run");
            let objects = process.objects().unwrap();
            let libc = objects
                .iter()
                .find(|object| object.path.ends_with("libc.so.6"))
                .unwrap();
            assert!(objects.iter().any(|object| object.path == library));
            let main = process.main_executable().unwrap();
            let pointer = ElfFile::open(&program).unwrap().symbol("relocated").unwrap().svma;
            let value = process.read_u64(pointer.wrapping_add(main.bias)).unwrap();
            let malloc = ElfFile::open(&libc.open_path)
                .unwrap()
                .symbol("malloc")
                .unwrap()
                .svma;
            if flags.contains(&"-no-pie") {
                assert_ne!(value, 0);
            } else {
                assert_eq!(value, malloc.wrapping_add(libc.bias));
            }
            Decision::Release
        });
        assert_eq!((status, seen), (ExitStatus::Exited(0), 2), "{name}");
        assert!(mark.exists(), "the constructor has run in the end");
    }
}

#[test]
fn auditing_libraries_do_not_bring_the_loaded_point_forward() {
    let directory = tempdir().unwrap();
    let source = "unsigned la_version(unsigned version) { return version; }";
    let flags = ["-shared", "-fPIC", "-Wl,--no-as-needed", "-lc"];
    let library = compile(directory.path(), "libaudit.so", source, &flags);
    let audit = format!("LD_AUDIT={}", library.display());
    let status = run(&["env", &audit, "sh", "-c", "exit 2"], |loaded| {
        if loaded.exec_count == 1 {
            return Decision::WatchForExec;
        }
        let objects = Process::open(loaded.pid).unwrap().objects().unwrap();
        let libraries = objects.iter().filter(|object| object.path.ends_with("libc.so.6"));
        assert_eq!(
            libraries.count(),
            2,
            "the program's own, beside that of the auditing library"
        );
        Decision::Release
    });
    assert_eq!(status, ExitStatus::Exited(2));
}

#[test]
fn nothing_of_ours_stays_on_a_program_that_loads_libraries_later() {
    let directory = tempdir().unwrap();
    let source = "#include <dlfcn.h>\nint main(void) { return dlopen(\"libm.so.6\", RTLD_NOW) ? 5 : 1; }";
    let program = compile(directory.path(), "loads", source, &["-ldl", "-Wl,--as-needed"]);
    for decision in [Decision::Release, Decision::WatchForExec] {
        assert_eq!(
            run(&[program.to_str().unwrap()], |_| decision),
            ExitStatus::Exited(5),
            "{decision:?}"
        );
    }
}

#[test]
fn a_static_program_is_loaded_at_exec() {
    let directory = tempdir().unwrap();
    let program = compile(
        directory.path(),
        "static",
        "int main(void) { return 6; }",
        &["-static"],
    );
    let status = run(&[program.to_str().unwrap()], |loaded| {
        assert_eq!(loaded.point, LoadedPoint::Exec);
        Decision::Release
    });
    assert_eq!(status, ExitStatus::Exited(6));
}

#[test]
fn a_program_started_by_naming_the_loader_is_seen() {
    let status = run(
        &["/lib64/ld-linux-x86-64.so.2", "/bin/sh", "-c", "exit 8"],
        |loaded| {
            assert_eq!(loaded.point, LoadedPoint::Relocated);
            let objects = Process::open(loaded.pid).unwrap().objects().unwrap();
            assert!(objects.iter().any(|object| object.path.ends_with("libc.so.6")));
            Decision::Release
        },
    );
    assert_eq!(status, ExitStatus::Exited(8));
}

#[test]
fn a_script_that_forks_and_then_becomes_another_program_is_followed() {
    let directory = tempdir().unwrap();
    let shim = directory.path().join("shim");
    let text =
        "#!/usr/bin/env bash\nset -e\nname=\"$(basename /a/sleep)\"\ntrue | cat\nexec \"$name\" \"$@\"\n";
    std::fs::write(&shim, text).unwrap();
    Command::new("chmod").arg("+x").arg(&shim).status().unwrap();
    let mut programs = Vec::new();
    let status = run(&[shim.to_str().unwrap(), "0"], |loaded| {
        let executable = Process::open(loaded.pid).unwrap().executable().unwrap();
        programs.push(executable.file_name().unwrap().to_str().unwrap().to_owned());
        if executable.ends_with("sleep") {
            Decision::Release
        } else {
            Decision::WatchForExec
        }
    });
    assert_eq!(status, ExitStatus::Exited(0));
    assert_eq!(programs, ["env", "bash", "sleep"]);
}

#[test]
fn a_child_that_is_given_up_is_killed() {
    let signals = InheritedSignals::capture();
    let relay = SignalRelay::start();
    let mut child = launch(&["sleep", "60"]).spawn(&signals, &relay).unwrap();
    let pid = child.pid();
    let failed = child.run_until_released(|_| Err(LaunchError::NotFound { name: PathBuf::new() }));
    assert!(failed.is_err());
    drop(child);
    assert!(Process::open(pid).is_err());
}

#[test]
fn a_child_killed_while_stopped_ends_like_any_other() {
    let status = run(&["sleep", "60"], |loaded| {
        let pid = loaded.pid.cast_signed();
        relay::send(pid, libc::SIGKILL);
        while Process::open(loaded.pid).is_ok_and(|process| process.state() != Some(b'Z')) {
            thread::sleep(Duration::from_millis(1));
        }
        Decision::Release
    });
    assert_eq!(
        status,
        ExitStatus::Signaled {
            signal: libc::SIGKILL,
            core_dumped: false
        }
    );
}
