//! A program that is not Python but runs one: libpython linked, or loaded late, when its thread-local variables
//! lie elsewhere in each thread.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use memray_tests::{Python, workspace};

use super::check_program;

const LINKED: &str = "int Py_BytesMain(int, char **); \
    int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }";

/// The interpreter is not the first to make pthread keys, so its own is beyond the first block of 32.
const LOADED: &str = "#include <dlfcn.h>\n\
    #include <pthread.h>\n\
    int main(int argc, char **argv) { \
        pthread_key_t key; \
        for (int count = 0; count < 40; count++) pthread_key_create(&key, 0); \
        void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL); \
        int (*run)(int, char **) = (int (*)(int, char **))dlsym(library, \"Py_BytesMain\"); \
        return run(argc, argv); \
    }";

/// A shared libpython and what it needs around it.
struct Library {
    path: PathBuf,
    home: PathBuf,
    /// Of the C library that belongs to it.
    loader: Option<PathBuf>,
}

impl Library {
    fn of_pyenv(minor: u8) -> Self {
        let python = Python::all()
            .iter()
            .find(|python| python.version == (3, minor))
            .unwrap();
        let home = python.program.parent().and_then(Path::parent).unwrap().to_owned();
        Self {
            path: home.join(format!("lib/libpython3.{minor}.so.1.0")),
            home,
            loader: None,
        }
    }

    fn of_debian(minor: u8) -> Self {
        let root = workspace().join(".cache/pythons/forky").canonicalize().unwrap();
        Self {
            path: root.join(format!("usr/lib/x86_64-linux-gnu/libpython3.{minor}.so.1.0")),
            home: root.join("usr"),
            loader: Some(root.join("lib64/ld-linux-x86-64.so.2")),
        }
    }

    fn check(&self, source: &str) {
        let folder = tempfile::tempdir().unwrap();
        let (source_path, program) = (folder.path().join("embed.c"), folder.path().join("embed"));
        std::fs::write(&source_path, source).unwrap();
        let mut compiler = Command::new("cc");
        compiler.arg("-o").arg(&program).arg(&source_path);
        compiler.arg(format!("-DLIBRARY=\"{}\"", self.path.display()));
        let library_folder = self.path.parent().unwrap().display();
        // DT_RPATH, which holds for libraries of libraries too.
        compiler.arg(format!("-Wl,--disable-new-dtags,-rpath,{library_folder}"));
        if let Some(loader) = &self.loader {
            compiler.arg(format!("-Wl,--dynamic-linker,{}", loader.display()));
        }
        if source == LINKED {
            compiler.arg(&self.path).arg("-Wl,--allow-shlib-undefined");
        }
        let status = compiler.status().unwrap();
        assert!(status.success(), "{compiler:?}");

        let interpreter = check_program(Command::new(&program).env("PYTHONHOME", &self.home));
        assert_eq!(
            interpreter.object_path.canonicalize().unwrap(),
            self.path.canonicalize().unwrap()
        );
    }
}

#[test]
fn linked_libraries() {
    for library in [
        Library::of_pyenv(8),
        Library::of_pyenv(13),
        Library::of_debian(14),
        Library::of_debian(15),
    ] {
        library.check(LINKED);
    }
}

#[test]
fn libraries_loaded_late() {
    for library in [
        Library::of_pyenv(10),
        Library::of_pyenv(12),
        Library::of_debian(14),
        Library::of_debian(15),
    ] {
        library.check(LOADED);
    }
}
