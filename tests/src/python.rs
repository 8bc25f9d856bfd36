//! The interpreters that the tests run on.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Checks of [`Python::each`] that run at one time.
const AT_A_TIME: usize = 4;

/// One CPython of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    pub program: PathBuf,
    /// `(major, minor)`.
    pub version: (u8, u8),
}

impl Python {
    /// Every interpreter that the product promises to support, by version: pyenv's, the system's and those that
    /// `scripts/fetch-pythons` unpacks.
    ///
    /// # Panics
    /// If one is missing: a test that skipped it would pass without having tested it.
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Python>> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut all = Vec::new();
            for minor in 8..=13 {
                all.push(Self::of_pyenv(minor));
            }
            all.push(Self::at(Path::new("/usr/bin/python3"), "apt-get install python3"));
            for minor in [14, 15] {
                let program = workspace().join(format!(".cache/pythons/bin/python3.{minor}"));
                all.push(Self::at(&program, "scripts/fetch-pythons"));
            }
            all
        })
    }

    /// Runs a check on every interpreter, some at a time: a recording waits for the kernel more than it computes.
    ///
    /// # Panics
    /// If the check panics on any of them; the others are checked all the same.
    pub fn each(check: impl Fn(&Self) + Sync) {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(Vec::new());
        let work = || {
            while let Some(python) = Self::all().get(next.fetch_add(1, Ordering::Relaxed)) {
                // The panic has been printed, with the interpreter's name, where it happened.
                if catch_unwind(AssertUnwindSafe(|| check(python))).is_err() {
                    failed
                        .lock()
                        .expect("nothing panics under the lock")
                        .push(python.name());
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(work);
            }
        });
        let mut failed = failed.into_inner().expect("nothing panics under the lock");
        failed.sort();
        assert!(failed.is_empty(), "failed on:\n{}", failed.join("\n"));
    }

    /// A command that runs this interpreter, unimpressed by the environment of the tests.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        Self::clean_environment(&mut command);
        command
    }

    /// Takes away what changes how an interpreter behaves.
    pub(crate) fn clean_environment(command: &mut Command) {
        for variable in [
            "PYTHONHOME",
            "PYTHONPATH",
            "PYTHONMALLOC",
            "PYTHONSTARTUP",
            "PYTHONWARNINGS",
            "PYTHONUTF8",
        ] {
            command.env_remove(variable);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1");
    }

    /// What a failed assertion says.
    pub fn name(&self) -> String {
        let (major, minor) = self.version;
        format!("CPython {major}.{minor} ({})", self.program.display())
    }

    /// Where its standard library is found, for a program that embeds it.
    ///
    /// # Panics
    /// If the interpreter does not lie in a folder `bin`.
    pub fn home(&self) -> &Path {
        let home = self.program.parent().and_then(Path::parent);
        home.expect("an interpreter lies in `bin`")
    }

    /// The shared libpython of a pyenv interpreter.
    pub fn library(&self) -> PathBuf {
        let (major, minor) = self.version;
        self.home().join(format!("lib/libpython{major}.{minor}.so.1.0"))
    }

    /// Names of code objects say where they are defined.
    pub fn has_qualified_names(&self) -> bool {
        self.version >= (3, 11)
    }

    /// A comprehension runs in the frame of its function.
    pub fn inlines_comprehensions(&self) -> bool {
        self.version >= (3, 12)
    }

    /// The newest 3.`minor` of pyenv.
    ///
    /// # Panics
    /// If there is none.
    pub fn of_pyenv(minor: u8) -> Self {
        let root = env::var_os("PYENV_ROOT").map_or_else(
            || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".pyenv"),
            PathBuf::from,
        );
        let prefix = format!("3.{minor}.");
        let newest = std::fs::read_dir(root.join("versions"))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                Some((name.strip_prefix(&prefix)?.parse::<u32>().ok()?, name))
            })
            .max();
        let hint = format!("pyenv install 3.{minor}");
        let Some((_, name)) = newest else {
            panic!(
                "no CPython 3.{minor} under `{}`; `{hint}` installs it",
                root.display()
            );
        };
        let program = root
            .join("versions")
            .join(name)
            .join(format!("bin/python3.{minor}"));
        Self::at(&program, &hint)
    }

    /// The interpreter at a path.
    ///
    /// # Panics
    /// If it does not start; then the hint says what provides it.
    pub fn at(program: &Path, hint: &str) -> Self {
        let output = Command::new(program)
            .args(["-I", "-S", "-c", "import sys; print(*sys.version_info[:2])"])
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot run `{}`: {error}; `{hint}` provides it",
                    program.display()
                )
            });
        let text = String::from_utf8_lossy(&output.stdout);
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
            let errors = String::from_utf8_lossy(&output.stderr);
            panic!(
                "`{}` does not start: {errors}; `{hint}` provides it",
                program.display()
            );
        };
        Self {
            program: program.to_owned(),
            version: (major, minor),
        }
    }
}

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
