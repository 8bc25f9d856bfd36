//! Files that a report is written to: where they lie by default, and that they are whole or not there.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    process,
};

use clap::{Args, ValueHint};

use crate::{
    error::{Blame, CommandError},
    printer::{Printer, Talk},
    report::ReportError,
};

#[derive(Args)]
pub(super) struct OutputArguments {
    /// Where the report goes; `-` for standard output [default: beside the capture]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Overwrite the output file
    #[arg(short, long)]
    force: bool,
}

/// Writes one report.
pub(super) type Render<'a> = dyn FnOnce(&mut dyn io::Write) -> Result<(), ReportError> + 'a;

impl OutputArguments {
    /// Renders to the file that was asked for, or to `default`, and says which it is.
    pub(super) fn write(self, default: PathBuf, render: Box<Render<'_>>) -> Result<(), CommandError> {
        let Self { output, force } = self;
        let printer = Printer::new(Talk::Normal);
        if output.as_deref() == Some(Path::new("-")) {
            return to_stdout(render);
        }
        let path = output.unwrap_or(default);
        {
            let _line = printer.progress("writing the report");
            write_file(&path, force, render)?;
        }
        printer
            .result(&format!("Wrote {}", path.display()))
            .map_err(|error| failure(&path, error))
    }

    pub(super) fn is_given(&self) -> bool {
        self.output.is_some()
    }
}

/// Renders before it writes, so that a progress line and a report never meet on one terminal.
pub(super) fn to_stdout(render: Box<Render<'_>>) -> Result<(), CommandError> {
    let mut text = Vec::new();
    {
        let _line = Printer::new(Talk::Normal).progress("reading the capture");
        render(&mut text)?;
    }
    let mut output = io::stdout().lock();
    output
        .write_all(&text)
        .and_then(|()| output.flush())
        .map_err(ReportError::Write)?;
    Ok(())
}

fn write_file(path: &Path, force: bool, render: Box<Render<'_>>) -> Result<(), CommandError> {
    match fs::metadata(path) {
        // A terminal, a pipe, /dev/null: there is nothing to replace.
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            let file = File::options()
                .write(true)
                .open(path)
                .map_err(|error| failure(path, error))?;
            return fill(file, render);
        }
        Ok(metadata) if metadata.is_dir() => {
            let error = CommandError::user(format!("`{}` is a directory", path.display()));
            return Err(error.hint("name a file with `--output`"));
        }
        Ok(_) if !force => {
            let error = CommandError::user(format!("`{}` exists already", path.display()));
            return Err(error.hint("overwrite it with `--force`, or name another file with `--output`"));
        }
        _ => {}
    }
    // Written aside and moved, so that a failure leaves what was there before.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.partial", process::id()));
    let file = File::create_new(&partial).map_err(|error| failure(path, error))?;
    fill(file, render)
        .and_then(|()| fs::rename(&partial, path).map_err(|error| failure(path, error)))
        .inspect_err(|_error| {
            // The first failure is the one to tell.
            let _ignored = fs::remove_file(&partial);
        })
}

fn fill(file: File, render: Box<Render<'_>>) -> Result<(), CommandError> {
    let mut output = BufWriter::new(file);
    render(&mut output)?;
    output.flush().map_err(ReportError::Write)?;
    Ok(())
}

fn failure(path: &Path, error: io::Error) -> CommandError {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => Some("create the directory first, or name another with `--output`"),
        io::ErrorKind::PermissionDenied => Some("name a place that you may write to with `--output`"),
        io::ErrorKind::StorageFull => Some("make room, or name another place with `--output`"),
        _ => None,
    };
    let error = anyhow::Error::new(error).context(format!("failed to write `{}`", path.display()));
    let error = CommandError::new(Blame::User, error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Box<Render<'static>> {
        Box::new(move |output| Ok(output.write_all(text.as_bytes())?))
    }

    #[test]
    fn an_existing_file_needs_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.html");
        write_file(&path, false, text("first")).unwrap();
        let error = write_file(&path, false, text("second")).unwrap_err();
        assert!(error.render().contains("exists already"), "{}", error.render());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        write_file(&path, true, text("second")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    }

    #[test]
    fn a_failed_report_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.html");
        let fail: Box<Render<'_>> = Box::new(|output| {
            output.write_all(b"half")?;
            Err(ReportError::Write(io::Error::from(io::ErrorKind::StorageFull)))
        });
        write_file(&path, false, fail).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_file_is_written_to_and_not_replaced() {
        write_file(Path::new("/dev/null"), false, text("gone")).unwrap();
        write_file(Path::new("/"), true, text("never")).unwrap_err();
        write_file(Path::new("/nonexistent/a.html"), true, text("never")).unwrap_err();
    }
}
