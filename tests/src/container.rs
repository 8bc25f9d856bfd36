//! A root of its own with another C library and another Python than the machine's, made of what
//! `scripts/fetch-pythons` unpacks or `scripts/build-musl-python` builds; nothing is mounted outside of the container's
//! own namespaces.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{Python, Script, Target, memray::memray_binary, program, workspace};

/// The one library of the machine that the fetched interpreters use.
const ZLIB: &str = "/lib/x86_64-linux-gnu/libz.so.1";

/// Where it is inside.
const LIBRARY: &str = "library";

/// How a program is put into the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the machine's processes, users and network around it.
    Chroot,
    /// All namespaces but that of users; the program is process 1.
    Namespaces,
    /// A user namespace as well, in which root is nobody in particular.
    Users,
    /// As container engines do it: the old root is unmounted, so that paths mean the same inside and in the kernel's
    /// lists. By bubblewrap.
    Pivoted,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Chroot, Self::Namespaces, Self::Users, Self::Pivoted];
}

/// Removed when dropped, which must be after its programs have ended.
#[derive(Debug)]
pub struct Container {
    folder: TempDir,
    kind: Kind,
    /// What is mounted as its `/usr`.
    usr: PathBuf,
}

/// A program inside of a container, as it is there.
#[derive(Debug)]
pub struct Inside {
    pub python: Python,
    pub script: Script,
    /// Starts it from outside.
    pub command: Command,
}

impl Container {
    /// With Debian's newest Pythons and their glibc.
    ///
    /// # Panics
    /// If the root cannot be made.
    pub fn new(kind: Kind) -> Self {
        Self::with_usr(kind, forky().join("usr"))
    }

    /// With CPython 3.13 on musl.
    ///
    /// # Panics
    /// If the root cannot be made.
    pub fn musl(kind: Kind) -> Self {
        Self::with_usr(kind, musl_root().join("usr"))
    }

    fn with_usr(kind: Kind, usr: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for name in [
            "usr", "proc", "dev", "sys", "tmp", "programs", "memray", "library",
        ] {
            fs::create_dir(folder.path().join(name)).expect("a folder can be made");
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), folder.path().join(name)).expect("a link can be made");
        }
        let zlib = Path::new(ZLIB);
        let copy = folder.path().join(LIBRARY).join("libz.so.1");
        fs::copy(zlib, copy).unwrap_or_else(|error| panic!("cannot copy `{ZLIB}`: {error}"));
        Self { folder, kind, usr }
    }

    /// `attached.py` inside, ready.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(&self, minor: u8) -> Target {
        let Inside {
            python,
            script,
            command,
        } = self.program(minor, "attached.py");
        let mut target = Target::start(command, &python, Some(&script));
        target.find_innermost();
        target
    }

    /// A script of `tests/programs` with a Python of the container.
    pub fn program(&self, minor: u8, script: &str) -> Inside {
        let python = Python {
            program: PathBuf::from(format!("/usr/bin/python3.{minor}")),
            version: (3, minor),
        };
        let path = Path::new("/programs").join(script);
        let mut script = Script::new(script);
        script.path = path;
        let mut command = self.command();
        command.arg(&python.program).arg(&script.path);
        Inside {
            python,
            script,
            command,
        }
    }

    /// What starts `memray` beside a target inside, and where `memray` is there.
    pub fn inside(target: &Target) -> (Vec<String>, PathBuf) {
        let pid = target.pid().to_string();
        let words = [
            "nsenter", "--target", &pid, "--mount", "--pid", "--uts", "--ipc", "--net", "--root", "--wd=/",
        ];
        (words.map(str::to_owned).to_vec(), PathBuf::from("/memray/memray"))
    }

    fn command(&self) -> Command {
        let mut command = match self.kind {
            Kind::Pivoted => return bubblewrap(self.folder.path(), &self.usr),
            Kind::Chroot => unshare(&["--mount"]),
            Kind::Namespaces => unshare(&["--mount", "--pid", "--uts", "--ipc", "--net", "--fork"]),
            Kind::Users => unshare(&[
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
            ]),
        };
        command.args(["sh", "-c"]).arg(mounts()).arg("sh");
        command
            .arg(self.folder.path())
            .arg(&self.usr)
            .arg(programs())
            .arg(memray_folder());
        command
    }
}

fn bubblewrap(folder: &Path, usr: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-all", "--die-with-parent", "--uid", "1000", "--ro-bind"])
        .arg(usr)
        .args(["/usr", "--ro-bind"])
        .arg(programs())
        .args(["/programs", "--ro-bind"])
        .arg(folder.join(LIBRARY))
        .args(["/library", "--setenv", "LD_LIBRARY_PATH", "/library"]);
    for name in ["bin", "sbin", "lib", "lib64"] {
        command.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    command
}

fn unshare(options: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(options);
    command
}

/// What the mount namespace has in it. The machine's `/tmp` is there too, so that a capture that is written inside is
/// one outside.
fn mounts() -> &'static OsStr {
    OsStr::new(
        "set -e
root=$1
mount --bind \"$2\" \"$root/usr\"
mount --bind \"$3\" \"$root/programs\"
mount --bind \"$4\" \"$root/memray\"
mount --rbind /dev \"$root/dev\"
mount --rbind /sys \"$root/sys\"
mount --bind /tmp \"$root/tmp\"
mount -t proc proc \"$root/proc\" 2>/dev/null || mount --rbind /proc \"$root/proc\"
shift 4
export LD_LIBRARY_PATH=/library
exec chroot \"$root\" \"$@\"",
    )
}

fn forky() -> PathBuf {
    made("forky", "scripts/fetch-pythons")
}

/// Where the CPython on musl is, which starts under its own root or by its own loader.
///
/// # Panics
/// If it is missing.
pub fn musl_root() -> PathBuf {
    made("musl/root", "scripts/build-musl-python")
}

fn made(name: &str, maker: &str) -> PathBuf {
    let root = workspace().join(".cache/pythons").join(name);
    root.canonicalize()
        .unwrap_or_else(|error| panic!("`{}`: {error}; `{maker}` makes it", root.display()))
}

fn programs() -> PathBuf {
    let folder = program("");
    folder.canonicalize().expect("it is where the tests are")
}

fn memray_folder() -> PathBuf {
    let binary = memray_binary();
    let folder = binary.parent().unwrap_or(Path::new("/"));
    folder.canonicalize().expect("the binary lies in it")
}
