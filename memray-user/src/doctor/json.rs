//! `memray doctor --json`: one document, described in `docs/concepts/doctor.md`.
//!
//! Keys and names of findings stay; new ones can come, and texts can change.

use std::io::Write;

use serde::Serialize;

use super::{Diagnosis, finding::Finding, process::ProcessReport, verdict::Verdict};
use crate::report::{EscapedJson, JsonPlace, ReportError};

#[derive(Serialize)]
struct Document<'data> {
    memray_version: &'static str,
    works: bool,
    verdict: &'data Verdict,
    kernel: &'data [Finding],
    user: &'data [Finding],
    process: Option<&'data ProcessReport>,
}

/// Writes the document and a newline.
pub fn write_json(diagnosis: &Diagnosis, output: &mut dyn Write) -> Result<(), ReportError> {
    let document = Document {
        memray_version: env!("CARGO_PKG_VERSION"),
        works: diagnosis.works(),
        verdict: &diagnosis.verdict,
        kernel: &diagnosis.kernel,
        user: &diagnosis.user,
        process: diagnosis.process.as_ref(),
    };
    serde_json::to_writer_pretty(EscapedJson::new(JsonPlace::File, output), &document)?;
    writeln!(output)?;
    Ok(())
}
