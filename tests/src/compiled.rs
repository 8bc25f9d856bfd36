//! C programs and libraries of the tests, compiled when a test needs them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{Python, program};

/// What the C compiler made of a file in `tests/programs`; removed when dropped.
#[derive(Debug)]
pub struct Compiled {
    directory: TempDir,
    path: PathBuf,
}

impl Compiled {
    /// A library for `ctypes`.
    pub fn library(source: &str) -> Self {
        Self::new(source, &["-shared".to_owned(), "-fPIC".to_owned()])
    }

    /// An extension module for every version that the tests know: of the limited API of the oldest.
    pub fn extension(source: &str, module: &str) -> Self {
        let headers = Python::of_pyenv(8).home().join("include/python3.8");
        let options = [
            format!("-I{}", headers.display()),
            "-shared".to_owned(),
            "-fPIC".to_owned(),
        ];
        Self::named(source, &format!("{module}.abi3.so"), &options)
    }

    /// A library of C++ for `ctypes`, which brings what it needs of the language: an interpreter may have a C library of
    /// its own, whose loader does not find it.
    pub fn library_of_cpp(source: &str) -> Self {
        Self::new(
            source,
            &["-shared", "-fPIC", "-static-libstdc++", "-static-libgcc"].map(str::to_owned),
        )
    }

    pub fn program(source: &str) -> Self {
        Self::new(source, &[])
    }

    /// A program that brings its C library in its own file.
    pub fn static_program(source: &str) -> Self {
        Self::new(source, &["-static".to_owned()])
    }

    /// A program that is linked with a library.
    pub fn program_with(source: &str, library: &Path) -> Self {
        Self::new(source, &[library.display().to_string()])
    }

    /// A program that is linked with the shared libpython of a pyenv interpreter.
    pub fn program_with_python(source: &str, python: &Python) -> Self {
        let library = python.library();
        let folder = library.parent().expect("a library lies in a folder").display();
        let search = format!("-Wl,-rpath,{folder}");
        Self::new(source, &[library.display().to_string(), search])
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in which it lies alone.
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    fn new(source: &str, options: &[String]) -> Self {
        Self::named(source, "compiled", options)
    }

    /// `-O0` and `-fno-builtin` keep every call: an optimizer may leave out a `malloc` whose block nobody uses.
    fn named(source: &str, name: &str, options: &[String]) -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path().join(name);
        let compiler = if Path::new(source)
            .extension()
            .is_some_and(|extension| extension == "cpp")
        {
            "c++"
        } else {
            "cc"
        };
        let output = Command::new(compiler)
            .args([
                "-O0",
                "-g",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fno-builtin",
                "-pthread",
            ])
            .arg("-o")
            .args([&path, &program(source)])
            // Libraries come after what needs them.
            .args(options)
            .output()
            .unwrap_or_else(|error| {
                panic!("cannot run `{compiler}`: {error}; `apt-get install gcc g++ libc6-dev`")
            });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{source}` does not compile: {errors}");
        Self { directory, path }
    }
}
