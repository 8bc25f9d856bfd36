//! A program recorded by us, by memray, and by both at once.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use super::{
    call_objects::CallObjects,
    picture::{Form, Picture},
    programs::Program,
};
use crate::{Capture, Compiled, Python, Recording, Script, memray::clean_environment, program, workspace};

/// What makes a program do the same in each run: hashes of text decide in which order sets are walked, and each thread
/// of `OpenBLAS` has a buffer.
const ENVIRONMENT: [(&str, &str); 2] = [("PYTHONHASHSEED", "0"), ("OPENBLAS_NUM_THREADS", "1")];
/// What memray has recorded beside us.
const MEMRAY_CAPTURE: &str = "capture.bin";
/// Pictures in the folder of a program.
const PICTURES: [&str; 4] = ["ours", "memray", "both-ours", "both-memray"];

#[derive(Debug)]
pub struct Recordings {
    pub(super) ours: Picture,
    pub(super) theirs: Picture,
    /// Ours of the process in which memray recorded [`Self::both_theirs`].
    pub(super) both_ours: Picture,
    pub(super) both_theirs: Picture,
    pub(super) call_objects: CallObjects,
    /// Bytes of the thread-local variables of libraries that a program may load.
    pub(super) thread_locals: BTreeSet<i64>,
    pub(super) script: Script,
}

impl Recordings {
    /// Records, and leaves the pictures in the folder.
    ///
    /// # Panics
    /// If a recording fails, or if the program does not do the same in all.
    pub fn make(python: &Python, program: Program, folder: &Path) -> Self {
        let script = script(program);
        fs::create_dir_all(folder).expect("a folder can be made");
        let folder = &folder.canonicalize().expect("it is there");
        let library = program
            .has_library
            .then(|| Compiled::library(&format!("parity_{}.c", program.name)));
        let library_path = library
            .as_ref()
            .map(|library| library.path().display().to_string());
        let mut variables = ENVIRONMENT.to_vec();
        variables.extend(library_path.as_deref().map(|path| ("PARITY_LIBRARY", path)));

        let ours = record(Recording::script(python, &script), &variables);
        save(folder, "ours", &Form::of_capture(&ours, &script));
        let stdout = record_by_memray(python, &script, &variables, folder);
        assert_eq!(ours.stdout, stdout, "the same work under memray");
        save(folder, "memray", &read_memray_capture(python, &script, folder));
        let both = Recording::module(python, "memray");
        let both = arguments_of_memray(&script, folder)
            .into_iter()
            .fold(both, Recording::argument);
        let both = record(both, &variables);
        assert_eq!(ours.stdout, both.stdout, "the same work under both");
        save(folder, "both-ours", &Form::of_capture(&both, &script));
        save(
            folder,
            "both-memray",
            &read_memray_capture(python, &script, folder),
        );
        Self::read(python, program, folder)
    }

    /// Of a program that has been recorded.
    ///
    /// # Panics
    /// If the pictures are not in the folder.
    pub fn read(python: &Python, program: Program, folder: &Path) -> Self {
        let script = script(program);
        let [ours, theirs, both_ours, both_theirs] = PICTURES.map(|name| {
            let path = folder.join(name).with_extension("json");
            let text =
                fs::read(&path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()));
            let form = serde_json::from_slice(&text).expect("it was written in this form");
            Picture::new(form, &script.path)
        });
        Self {
            call_objects: CallObjects::of_files(python, &ours, &both_ours, &both_theirs),
            thread_locals: thread_locals(python),
            ours,
            theirs,
            both_ours,
            both_theirs,
            script,
        }
    }
}

/// The environment that the set-up makes.
///
/// # Panics
/// If it is not there.
pub fn python() -> Python {
    let program = workspace().join(".cache/parity-venv/bin/python");
    assert!(
        program.exists(),
        "`{}` is not there: run `scripts/make-parity-venv`",
        program.display()
    );
    Python::at(&program, "scripts/make-parity-venv")
}

/// What a program printed.
///
/// # Panics
/// If it failed.
pub(super) fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    String::from_utf8(output.stdout.clone()).expect("the program prints text")
}

fn script(program: Program) -> Script {
    Script::new(&format!("parity_{}.py", program.name))
}

fn record(mut recording: Recording<'_>, variables: &[(&str, &str)]) -> Capture {
    for (name, value) in variables {
        recording = recording.environment(name, value);
    }
    recording.run()
}

fn record_by_memray(python: &Python, script: &Script, variables: &[(&str, &str)], folder: &Path) -> String {
    let mut command: Command = python.command();
    // As under us, also in number: the environment is an array that grows.
    clean_environment(&mut command);
    command
        .current_dir(folder)
        .envs(variables.iter().copied())
        .args(["-m", "memray"])
        .args(arguments_of_memray(script, folder));
    succeeded(&command.output().expect("the interpreter has run before"))
}

fn arguments_of_memray(script: &Script, folder: &Path) -> Vec<String> {
    let capture = folder.join(MEMRAY_CAPTURE).display().to_string();
    let script = script.path.display().to_string();
    let words = ["run", "--quiet", "--force", "--no-compress", "--output"];
    words
        .into_iter()
        .map(str::to_owned)
        .chain([capture, script])
        .collect()
}

fn read_memray_capture(python: &Python, script: &Script, folder: &Path) -> Form {
    let output = python
        .command()
        .arg(program("parity_memray_capture.py"))
        .arg(folder.join(MEMRAY_CAPTURE))
        .arg(&script.path)
        .arg(script.line("end").to_string())
        .output();
    let text = succeeded(&output.expect("the interpreter has run before"));
    serde_json::from_str(&text).expect("the program prints this form")
}

fn thread_locals(python: &Python) -> BTreeSet<i64> {
    let output = python.command().arg(program("parity_thread_locals.py")).output();
    let text = succeeded(&output.expect("the interpreter has run before"));
    serde_json::from_str(&text).expect("the program prints this form")
}

fn save(folder: &Path, name: &str, form: &Form) {
    let path = folder.join(name).with_extension("json");
    let text = serde_json::to_vec(form).expect("it has no maps whose keys are not text");
    fs::write(path, text).expect("a file can be written");
}
