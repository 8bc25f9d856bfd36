//! Every report of a capture, as a user gets it, held to be harmless to the terminal, the browser and the tool that it is
//! shown by.

use std::{fs, process::Command};

use crate::{Capture, memray};

/// The reports that are text or data on standard output.
const TEXTS: [&[&str]; 6] = [
    &["stats"],
    &["stats", "--json"],
    &["summary"],
    &["tree"],
    &["flamegraph", "--format", "folded", "--output", "-"],
    &["flamegraph", "--format", "svg", "--output", "-"],
];

/// The reports that are pages.
const PAGES: [&[&str]; 2] = [&["flamegraph"], &["table"]];

/// C0 but for the line feed and the tab, DEL, C1, separators of lines, what sets direction, the mark of byte order.
fn is_dangerous(character: char) -> bool {
    matches!(u32::from(character),
        0..=8 | 0xb..=0x1f | 0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x206f | 0xfeff)
}

/// # Panics
/// If it is not UTF-8, or if a character of it could control who shows it.
pub fn assert_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    for line in text.lines() {
        if let Some(character) = line.chars().find(|&character| is_dangerous(character)) {
            let start: String = line.chars().take(200).collect();
            panic!("{what}: {character:?} in {start:?}");
        }
    }
}

impl Capture {
    /// Runs every report, for all views; returns what they wrote.
    ///
    /// # Panics
    /// If one fails, or is not harmless.
    pub fn harmless_reports(&self) -> Vec<String> {
        let views: [&[&str]; 3] = [&[], &["--leaks"], &["--temporary-allocations"]];
        let folder = self.path.parent().expect("a file lies in a folder");
        let mut written = Vec::new();
        for report in TEXTS.into_iter().chain(PAGES) {
            for view in views {
                // These are of the whole recording.
                if !view.is_empty() && matches!(report[0], "stats" | "tree" | "summary") {
                    continue;
                }
                let mut command = memray(folder);
                command.args(report).args(view);
                let is_page = PAGES.contains(&report);
                let page = folder.join("report.html");
                if is_page {
                    command.args(["--force", "--output"]).arg(&page);
                }
                let output = run(command.arg(&self.path));
                written.push(if is_page {
                    check_page(&fs::read(&page).expect("the report is there"))
                } else {
                    output
                });
            }
        }
        written
    }
}

fn run(command: &mut Command) -> String {
    let name = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} of {name}: {errors}", output.status);
    assert_harmless(&name, &output.stdout);
    assert_harmless(&name, &output.stderr);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The data block is JSON that cannot end its element, and the only script is ours, which the policy names.
fn check_page(page: &[u8]) -> String {
    assert_harmless("page", page);
    let page = String::from_utf8_lossy(page).into_owned();
    let parts = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .and_then(|(head, rest)| Some((head, rest.split_once("</script>")?)));
    let Some((head, (data, tail))) = parts else {
        panic!("a page without data")
    };
    assert!(!data.contains('<'), "markup in the data");
    let data: serde_json::Value = serde_json::from_str(data).expect("the data is JSON");
    assert!(data.is_object());
    assert!(head.contains("Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-"));
    assert!(!head.contains("<script"));
    assert_eq!(
        (tail.matches("<script").count(), tail.matches("</script").count()),
        (1, 1)
    );
    page
}
