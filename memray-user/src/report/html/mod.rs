//! Pages of HTML: one file each, without network, that works from disk.
//!
//! A page is a fixed frame, the style sheet and the scripts of `web/`, and one block of JSON. What the traced program
//! can choose is in that block alone, with every `<` escaped, and the scripts show it by `textContent` only. The
//! content security policy forbids all that is not in the file, and every script but ours by its hash.

mod flamegraph;
mod meta;
mod script;
mod sha256;
mod strings;
mod table;

use std::io::Write;

pub use flamegraph::{FlamegraphSettings, write_flamegraph};
use serde::Serialize;
pub use table::{TableSettings, Threads, write_table};

use super::{
    ReportError,
    json::{EscapedJson, JsonPlace},
};

const STYLE: &str = include_str!("../../../web/style.css");

/// Writes a page around `data`; `title` and `body` are ours, not the capture's.
fn write_page(
    title: &str,
    body: &str,
    modules: &[&str],
    data: &impl Serialize,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let script = script::bundle(modules);
    let hash = sha256_base64(&script);
    write!(
        output,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{hash}'; \
         style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n{body}\n\
         <script type=\"application/json\" id=\"data\">"
    )?;
    serde_json::to_writer(EscapedJson::new(JsonPlace::Page, output), data)?;
    write!(output, "</script>\n<script>{script}</script>\n</body>\n</html>\n")?;
    Ok(())
}

/// The name of a script in the policy.
pub(super) fn sha256_base64(script: &str) -> String {
    sha256::base64(&sha256::digest(script.as_bytes()))
}
