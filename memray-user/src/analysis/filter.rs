//! Frames that say how Python runs a program and not what the program does.
//!
//! memray has two such groups and hides each at will: *irrelevant* frames (the launcher `runpy` and the
//! interpreter's own calling machinery) and the *import system*. A hidden frame's memory moves to its caller.

use crate::model::{FrameKind, FrameRow};

/// Which groups are left out of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFilter {
    pub hide_irrelevant: bool,
    pub hide_import_system: bool,
}

impl FrameFilter {
    pub const SHOW_ALL: Self = Self {
        hide_irrelevant: false,
        hide_import_system: false,
    };

    pub fn hides(self, frame: &FrameRow) -> bool {
        (self.hide_irrelevant && is_irrelevant(frame)) || (self.hide_import_system && is_import_system(frame))
    }
}

impl Default for FrameFilter {
    /// As in memray: irrelevant frames hidden, the import system shown.
    fn default() -> Self {
        Self {
            hide_irrelevant: true,
            hide_import_system: false,
        }
    }
}

/// The launcher of `python -m`, or C functions by which the interpreter calls and evaluates.
pub fn is_irrelevant(frame: &FrameRow) -> bool {
    match frame.kind {
        FrameKind::Python => frame.file == "<frozen runpy>" || is_library_file(&frame.file, "runpy.py"),
        FrameKind::Native => {
            IRRELEVANT_FUNCTIONS.contains(&frame.function.as_str())
                || IRRELEVANT_PREFIXES
                    .iter()
                    .any(|prefix| frame.function.starts_with(prefix))
        }
        FrameKind::Marker => false,
    }
}

/// `importlib`, frozen or not, and the C functions behind `import`.
pub fn is_import_system(frame: &FrameRow) -> bool {
    match frame.kind {
        FrameKind::Python => {
            frame.file.starts_with("<frozen importlib")
                || is_library_file(&frame.file, "importlib/__init__.py")
                || is_library_file(&frame.file, "importlib/_bootstrap.py")
                || is_library_file(&frame.file, "importlib/_bootstrap_external.py")
        }
        FrameKind::Native => {
            IMPORT_FUNCTIONS.contains(&frame.function.as_str())
                || IMPORT_PREFIXES
                    .iter()
                    .any(|prefix| frame.function.starts_with(prefix))
        }
        FrameKind::Marker => false,
    }
}

/// True if `file` lies in a standard library: `<frozen …>`, or under `lib/python3.N` but not under the folders of
/// installed packages there. The paths are those of the traced process; nothing is looked up.
pub fn is_standard_library(file: &str) -> bool {
    if file.starts_with("<frozen ") {
        return true;
    }
    library_path(file)
        .is_some_and(|path| !path.starts_with("site-packages/") && !path.starts_with("dist-packages/"))
}

/// The C entry points of a program and of the interpreter, and helpers without a common prefix (CPython 3.8 to
/// 3.14: Python/pythonrun.c, Python/ceval.c, Objects/call.c, Objects/methodobject.c).
const IRRELEVANT_FUNCTIONS: [&str; 12] = [
    "_start",
    "__libc_start_main",
    "__libc_start_call_main",
    "main",
    "Py_BytesMain",
    "Py_Main",
    "Py_RunMain",
    "run_mod",
    "run_eval_code_obj",
    "call_function",
    "function_code_fastcall",
    "do_call_core",
];

const IRRELEVANT_PREFIXES: [&str; 19] = [
    "_PyEval_",
    "PyEval_",
    "_PyFunction_",
    "_PyMethodDef_",
    "_PyObject_Call",
    "PyObject_Call",
    "_PyObject_FastCall",
    "_PyObject_MakeTpCall",
    "_PyObject_Vectorcall",
    "PyObject_Vectorcall",
    "_PyVectorcall_",
    "PyVectorcall_",
    "_PyRun_",
    "PyRun_",
    "cfunction_",
    "method_vectorcall",
    "object_vacall",
    "pymain_",
    "vectorcall_",
];

/// Python/import.c and Python/ceval.c.
const IMPORT_FUNCTIONS: [&str; 4] = [
    "import_name",
    "import_from",
    "import_find_and_load",
    "builtin___import__",
];

const IMPORT_PREFIXES: [&str; 2] = ["PyImport_", "_PyImport_"];

fn is_library_file(file: &str, path: &str) -> bool {
    library_path(file) == Some(path)
}

/// What follows `lib/python3.N/` in a path.
fn library_path(file: &str) -> Option<&str> {
    let mut rest = file;
    loop {
        let start = rest.find("/python3.")?;
        let (before, after) = (&rest[..start], &rest[start + "/python3.".len()..]);
        let version = after.split('/').next().unwrap_or_default();
        let in_library = ["/lib", "/lib64", "/lib32"]
            .iter()
            .any(|folder| before.ends_with(folder));
        if in_library
            && version
                .strip_suffix('t')
                .unwrap_or(version)
                .bytes()
                .all(|byte| byte.is_ascii_digit())
            && let Some((_, path)) = after.split_once('/')
        {
            return Some(path);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, function: &str, file: &str) -> FrameRow {
        FrameRow {
            frame_id: 1,
            function: function.to_owned(),
            file: file.to_owned(),
            line: 1,
            kind,
        }
    }

    #[test]
    fn groups() {
        use FrameKind::{Marker, Native, Python};
        for (kind, function, file, irrelevant, import_system) in [
            (Python, "run_path", "<frozen runpy>", true, false),
            (Python, "run_path", "/usr/lib/python3.11/runpy.py", true, false),
            (Python, "run_path", "/home/u/runpy.py", false, false),
            (Python, "main", "/home/u/example.py", false, false),
            (
                Python,
                "_find_and_load",
                "<frozen importlib._bootstrap>",
                false,
                true,
            ),
            (
                Python,
                "import_module",
                "/usr/lib/python3.11/importlib/__init__.py",
                false,
                true,
            ),
            (
                Python,
                "version",
                "/usr/lib/python3.11/importlib/metadata/__init__.py",
                false,
                false,
            ),
            (
                Native,
                "_PyEval_EvalFrameDefault",
                "libpython3.12.so",
                true,
                false,
            ),
            (Native, "import_name", "libpython3.12.so", false, true),
            (
                Native,
                "PyImport_ImportModuleLevelObject",
                "libpython3.12.so",
                false,
                true,
            ),
            (Native, "PyList_Append", "libpython3.12.so", false, false),
            (Python, "_PyEval_x", "a.py", false, false),
            (Marker, "main", "", false, false),
        ] {
            let frame = frame(kind, function, file);
            assert_eq!(is_irrelevant(&frame), irrelevant, "{function} {file}");
            assert_eq!(is_import_system(&frame), import_system, "{function} {file}");
        }
    }

    #[test]
    fn standard_library() {
        for (file, expect) in [
            ("<frozen os>", true),
            ("<string>", false),
            ("/usr/lib/python3.11/json/decoder.py", true),
            ("/opt/py/lib/python3.13t/threading.py", true),
            ("/usr/lib/python3.11/site-packages/numpy/core.py", false),
            ("/usr/local/lib/python3.11/dist-packages/numpy/core.py", false),
            ("/usr/lib/python3/dist-packages/numpy/core.py", false),
            ("/src/lib/python3.x/app.py", false),
            ("/src/python3.11/app.py", false),
            ("/src/lib/python3.11", false),
            ("/lib/python3.9/venv/lib/python3.9/site-packages/a.py", true),
            ("", false),
        ] {
            assert_eq!(is_standard_library(file), expect, "{file}");
        }
    }
}
