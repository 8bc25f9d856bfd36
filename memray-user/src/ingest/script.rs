//! Where the interpreter's start-up ends and the program's own code begins.
//!
//! CPython imports `site` and its kind before it runs the program. memray begins to track when it runs the
//! script; the same moment is seen from outside as the first event whose outermost Python frame is the one from
//! which CPython runs the program (Modules/main.c: `pymain_run_file`, `pymain_run_command`, `pymain_run_module`).

/// How the program was named on the command line, which decides what its outermost frame is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScriptStart {
    /// All of the recording counts: attached to a running process, no Python, or start-up asked for.
    #[default]
    Immediately,
    /// `python script.py`, with the path as given; also a directory or zip file with a `__main__`.
    File(String),
    /// `python -c`.
    CommandString,
    /// `python -m`.
    Module,
}

impl ScriptStart {
    /// Whether a stack with this outermost frame belongs to the program.
    pub fn begins_at(&self, function: &str, file: &str) -> bool {
        match self {
            Self::Immediately => true,
            Self::File(given) => {
                (function == "<module>" && names_file(given, file)) || is_runpy(function, file)
            }
            Self::CommandString => function == "<module>" && file == "<string>",
            Self::Module => is_runpy(function, file),
        }
    }
}

/// Up to 3.8 a script's `co_filename` is the path as given, from 3.9 its absolute form, for which CPython puts the
/// working directory before it and takes a leading `./` away (Python/fileutils.c, `_Py_abspath`).
fn names_file(given: &str, file: &str) -> bool {
    if file == given {
        return true;
    }
    let mut relative = given;
    while let Some(rest) = relative.strip_prefix("./") {
        relative = rest.trim_start_matches('/');
    }
    !relative.is_empty()
        && !given.starts_with('/')
        && file.starts_with('/')
        && file
            .strip_suffix(relative)
            .is_some_and(|directory| directory.ends_with('/'))
}

/// `-m`, a directory and a zip file all run through this function of `runpy`, which is frozen from 3.11 on.
fn is_runpy(function: &str, file: &str) -> bool {
    function == "_run_module_as_main" && (file == "<frozen runpy>" || file.ends_with("/runpy.py"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_begins_at_its_outermost_frame() {
        let file = |given: &str| ScriptStart::File(given.to_owned());
        for (script, function, name, expect) in [
            (file("main.py"), "<module>", "main.py", true),
            (file("main.py"), "<module>", "/home/me/main.py", true),
            (file("./main.py"), "<module>", "/home/me/main.py", true),
            (file(".//./main.py"), "<module>", "/home/me/main.py", true),
            (file("../main.py"), "<module>", "/home/me/../main.py", true),
            (file("/home/me/main.py"), "<module>", "/home/me/main.py", true),
            (
                file("/home/me/main.py"),
                "<module>",
                "/tmp/home/me/main.py",
                false,
            ),
            (file("main.py"), "<module>", "/home/me/domain.py", false),
            (file("main.py"), "<module>", "<frozen site>", false),
            (file("main.py"), "main", "main.py", false),
            (file(""), "<module>", "/usr/lib/", false),
            (file("app"), "_run_module_as_main", "<frozen runpy>", true),
            (ScriptStart::CommandString, "<module>", "<string>", true),
            (ScriptStart::CommandString, "<module>", "main.py", false),
            (
                ScriptStart::Module,
                "_run_module_as_main",
                "/usr/lib/python3.9/runpy.py",
                true,
            ),
            (ScriptStart::Module, "_run_module_as_main", "<frozen runpy>", true),
            (ScriptStart::Module, "_run_code", "<frozen runpy>", false),
            (ScriptStart::Module, "_run_module_as_main", "mine.py", false),
            (ScriptStart::Immediately, "", "", true),
        ] {
            assert_eq!(
                script.begins_at(function, name),
                expect,
                "{script:?} {function} {name}"
            );
        }
    }
}
