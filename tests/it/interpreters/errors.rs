//! Interpreters that are not supported, made of C: each is an error that names what is wrong, with a hint.

use std::process::Command;

use memray_user::cpython;

use super::launch::at_entry;

/// What release builds have, up to the sizes of types.
const RUNTIME: &str = "char _PyRuntime[4096];\n";

/// Types with their sizes at `tp_basicsize`, as in 3.12.
const TYPES: &str = "unsigned long PyUnicode_Type[60] = {0, 0, 0, 0, 64}, PyBytes_Type[60] = {0, 0, 0, 0, 33}, \
    PyCode_Type[60] = {0, 0, 0, 0, 192};\n";

fn check(name: &str, parts: &[&str], expect: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let program = folder.join("python");
    let source = format!("{}int main(void) {{ return 0; }}\n", parts.concat());
    std::fs::write(folder.join("python.c"), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-rdynamic", "-o"])
        .arg(&program)
        .arg(folder.join("python.c"));
    assert!(compiler.status().unwrap().success(), "{name}: {compiler:?}");

    let error = at_entry(&Command::new(&program), |process| {
        let objects = process.objects().unwrap();
        cpython::detect(process, &objects).expect_err(name)
    });
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    let message = message.replace(program.to_str().unwrap(), "python");
    assert_eq!(message, expect, "{name}");
    assert!(error.hint().is_some(), "{name}");
}

fn version(packed: u32) -> String {
    format!("const unsigned long Py_Version = {packed:#x};\n")
}

#[test]
fn unsupported_versions() {
    let unsupported = |version| format!("`python` is CPython {version}, which is not supported");
    check("newer", &[RUNTIME, &version(0x0310_00f0)], &unsupported("3.16.0"));
    check(
        "alpha",
        &[RUNTIME, &version(0x030f_00a3)],
        &unsupported("3.15.0a3"),
    );
    let unknown = "cannot tell the version of the interpreter in `python`";
    check("no number", &[RUNTIME, &version(0)], unknown);
    check("no version", &[RUNTIME], unknown);

    let get_version = |version: &str| {
        format!(
            "#include <stdio.h>\nstatic char text[250];\nconst char *Py_GetVersion(void) {{ \
             snprintf(text, sizeof(text), \"%.80s (%.80s) %.80s\", \"{version}\", \"main\", \"[GCC 12]\"); \
             return text; }}\n"
        )
    };
    check(
        "older",
        &[RUNTIME, &get_version("3.7.16")],
        &unsupported("3.7.16"),
    );
    check(
        "between releases",
        &[RUNTIME, &get_version("3.9.0b5+")],
        &unsupported("3.9.0b5"),
    );
    check(
        "no version in the code",
        &[RUNTIME, &get_version("three")],
        unknown,
    );
}

#[test]
fn unsupported_builds() {
    let debug = "void _Py_NegativeRefcount(void) {}\n";
    check(
        "debug build",
        &[RUNTIME, &version(0x030c_01f0), TYPES, debug],
        "`python` is a debug build of CPython 3.12.1, which is not supported yet",
    );
    let offsets = |fields: &str| {
        format!(
            "struct {{ char cookie[8]; unsigned long fields[500]; }} _PyRuntime = {{\"xdebugpy\", {{{fields}}}}};\n"
        )
    };
    check(
        "free-threaded build",
        &[&offsets("0x030d00f0, 1"), &version(0x030d_00f0), TYPES],
        "`python` is a free-threaded build of CPython 3.13.0, which is not supported yet",
    );
    check(
        "debug offsets of another version",
        &[&offsets("0x030e00f0, 0"), &version(0x030d_00f0), TYPES],
        "cannot use the debug offsets in `python`: the table of debug offsets is that of version 0x30e00f0, the \
         interpreter is 3.13.0",
    );
    check(
        "other sizes",
        &[RUNTIME, &version(0x030b_01f0), TYPES],
        "`python` is a build of CPython 3.11.1 whose structures are not known: `PyUnicode_Type` has 64 bytes, not 80",
    );
    check(
        "no types",
        &[RUNTIME, &version(0x030c_01f0)],
        "`python` is a build of CPython 3.12.1 whose structures are not known: it has no `PyUnicode_Type`",
    );
}

#[test]
fn unknown_thread_states() {
    let parts = [RUNTIME, &version(0x030c_01f0), TYPES];
    let find = |cause| format!("cannot find the thread states of the interpreter in `python`: {cause}");
    let expect = find("the interpreter does not export `PyGILState_GetThisThreadState`");
    check("no accessor", &parts, &expect);

    let bound = "void *pthread_getspecific(unsigned);\n\
                 void *PyGILState_GetThisThreadState(void) \
                 { return pthread_getspecific(*(unsigned *)(_PyRuntime + 604)); }\n";
    let expect = find("the pthread key of 3.12.1 is at offset 600, not at 1544");
    check("the key elsewhere", &[&parts.concat(), bound], &expect);
}
