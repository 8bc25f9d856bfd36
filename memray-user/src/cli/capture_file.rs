//! The file that a recording writes: what can be wrong with its name, whose it is, and what to do with it.

use std::{fs, io, path::Path};

use crate::error::{Blame, CommandError};

/// Refuses early what can be known before anything is started.
pub(super) fn check_output(output: &Path, force: bool) -> Result<(), CommandError> {
    let name = output.display();
    if output.is_dir() {
        let error = CommandError::user(format!("output file `{name}` is a directory"));
        return Err(error.hint("name a file with `--output`"));
    }
    // A terminal, a pipe, `/dev/null`: a database cannot be written there, with `--force` or without.
    if fs::metadata(output).is_ok_and(|metadata| !metadata.is_file()) {
        let error = CommandError::user(format!("output file `{name}` is not a regular file"));
        return Err(error.hint("a capture is a database: name a file for it with `--output`"));
    }
    if !force && fs::symlink_metadata(output).is_ok() {
        let error = CommandError::user(format!("output file `{name}` exists already"));
        return Err(error.hint("overwrite it with `--force`, or name another file with `--output`"));
    }
    let folder = output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            Err(folder_error(folder, error).hint("name another file with `--output`"))
        }
        Err(error) => {
            Err(folder_error(folder, error)
                .hint("create the directory first, or name another with `--output`"))
        }
    }
}

fn folder_error(folder: &Path, error: io::Error) -> CommandError {
    let text = format!("cannot write the capture into `{}`", folder.display());
    CommandError::new(Blame::User, anyhow::Error::new(error).context(text))
}

/// What to do with a capture that is finished.
pub(super) fn next_steps(output: &Path) -> String {
    let output = output.display();
    format!(
        "\nWrote {output}\n\n\
         See where the memory of its peak came from:\n\
         \x20 memray flamegraph {output}\n\
         or here in the terminal:\n\
         \x20 memray summary {output}\n\
         \x20 memray tree {output}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_recording_says_what_to_run_next() {
        let text = next_steps(Path::new("a.db"));
        assert!(
            text.contains("\nWrote a.db\n") && text.contains("\n  memray flamegraph a.db\n"),
            "{text}"
        );
    }

    #[test]
    fn outputs_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let exists = folder.path().join("a.db");
        fs::write(&exists, "").unwrap();
        let check = |path: &Path, force: bool, expect: &str| {
            let text = check_output(path, force)
                .err()
                .map_or_else(String::new, |error| error.render());
            assert!(
                text.contains(expect) && text.is_empty() == expect.is_empty(),
                "{text}"
            );
        };
        check(&exists, false, "exists already");
        check(&exists, true, "");
        check(Path::new("/dev/null"), true, "not a regular file");
        check(Path::new("/dev/null"), false, "not a regular file");
        check(&folder.path().join("b.db"), false, "");
        check(
            &folder.path().join("none/b.db"),
            false,
            "create the directory first",
        );
        check(&exists.join("b.db"), false, "cannot write the capture into");
        check(Path::new("b.db"), false, "");
    }
}
