//! The diagnosis as text: a heading for each part, a line for each finding, wrapped at the width of the terminal.
//!
//! Everything that can come from the process is escaped, here and nowhere before.

use std::io::{self, Write};

use super::{
    Diagnosis,
    finding::{Finding, State},
    objects::ObjectReport,
    process::ProcessReport,
};
use crate::{
    escape::printable,
    report::{Color, style::Style},
};

/// Wider lines are hard to read.
const WIDEST: usize = 100;
/// The columns of a finding need this much.
const NARROWEST: usize = 80;
/// State, and name behind it.
const STATE_COLUMN: usize = 2;
const NAME_COLUMN: usize = 11;
const TEXT_COLUMN: usize = 31;
/// In the lines of probes: offset, what is probed, and why there.
const OFFSET_COLUMN: usize = 24;
const KIND_COLUMN: usize = 38;
const REASON_COLUMN: usize = 53;
/// Arguments of a program can be megabytes.
const COMMAND_LINE_CHARACTERS: usize = 300;

/// Columns of a line, and whether escape sequences may be written.
#[derive(Clone, Copy, Debug)]
pub struct TextSettings {
    pub width: usize,
    pub color: Color,
}

/// Writes all of it.
pub fn write_text(diagnosis: &Diagnosis, settings: TextSettings, output: &mut dyn Write) -> io::Result<()> {
    let width = settings.width.clamp(NARROWEST, WIDEST);
    let mut page = Page {
        settings: TextSettings { width, ..settings },
        output,
    };
    match &diagnosis.process {
        None => {
            page.section("Kernel", &diagnosis.kernel)?;
            page.section("User", &diagnosis.user)?;
        }
        Some(process) => {
            page.machine(diagnosis)?;
            page.process(process)?;
        }
    }
    page.heading("Verdict")?;
    for finding in diagnosis.verdict.findings() {
        page.finding(finding)?;
    }
    Ok(())
}

struct Page<'output> {
    settings: TextSettings,
    output: &'output mut dyn Write,
}

impl Page<'_> {
    fn heading(&mut self, title: &str) -> io::Result<()> {
        writeln!(
            self.output,
            "{}",
            self.settings.color.paint(Style::Heading, title)
        )
    }

    fn section(&mut self, title: &str, findings: &[Finding]) -> io::Result<()> {
        self.heading(title)?;
        for finding in findings {
            self.finding(finding)?;
        }
        writeln!(self.output)
    }

    /// Only what is not as it should be, for whoever wants to know of a process.
    fn machine(&mut self, diagnosis: &Diagnosis) -> io::Result<()> {
        let all = diagnosis.kernel.iter().chain(&diagnosis.user);
        let mut found: Vec<Finding> = all
            .filter(|finding| finding.state != State::Ok)
            .cloned()
            .collect();
        // What is missing is why something is unknown.
        if found.iter().any(|finding| finding.state == State::Missing) {
            found.retain(|finding| finding.state != State::Unknown);
        }
        if found.is_empty() {
            let text = "has all that a recording needs; `memray doctor` without a process lists it";
            found.push(Finding::ok("machine", text));
        }
        self.section("Machine", &found)
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let Finding {
            name,
            state,
            text,
            hint,
        } = finding;
        let style = match state {
            State::Ok => Style::Good,
            State::Limited => Style::Warning,
            State::Missing | State::Unknown => Style::Bad,
        };
        let word = self.settings.color.paint(style, state.word());
        let padding = " ".repeat(NAME_COLUMN - STATE_COLUMN - state.word().len());
        let width = TEXT_COLUMN - NAME_COLUMN;
        let head = format!("{}{word}{padding}{name:<width$}", " ".repeat(STATE_COLUMN));
        self.lines(&head, TEXT_COLUMN, &printable(text))?;
        if let Some(hint) = hint {
            self.lines(
                &" ".repeat(TEXT_COLUMN),
                TEXT_COLUMN,
                &printable(&format!("hint: {hint}")),
            )?;
        }
        Ok(())
    }

    fn process(&mut self, process: &ProcessReport) -> io::Result<()> {
        let ProcessReport {
            pid,
            executable: _,
            command_line,
            python_version: _,
            findings,
            objects,
        } = process;
        self.heading(&format!("Process {pid}"))?;
        let words = command_line.join(" ");
        if !words.is_empty() {
            let mut shown: String = words.chars().take(COMMAND_LINE_CHARACTERS).collect();
            if shown.len() < words.len() {
                shown.push_str(" ...");
            }
            self.lines("  ", 2, &printable(&shown))?;
        }
        for finding in findings {
            self.finding(finding)?;
        }
        writeln!(self.output)?;
        if objects.is_empty() {
            return Ok(());
        }
        self.heading("Probes")?;
        for object in objects {
            self.object(object)?;
        }
        writeln!(self.output)
    }

    fn object(&mut self, object: &ObjectReport) -> io::Result<()> {
        let ObjectReport {
            path,
            is_deleted,
            probes,
            not_probed,
        } = object;
        let mark = if *is_deleted {
            " (replaced or removed since)"
        } else {
            ""
        };
        writeln!(self.output, "  {}{mark}", printable(path))?;
        for probe in probes {
            let place = match probe.function_offset {
                0 => format!("{:#x}", probe.file_offset),
                offset => format!("{:#x} (+{offset})", probe.file_offset),
            };
            let kind = if probe.has_return {
                "entry, return"
            } else {
                "entry"
            };
            let head = columns(
                &format!("    {}", printable(&probe.function)),
                &[(OFFSET_COLUMN, &place), (KIND_COLUMN, kind), (REASON_COLUMN, "")],
            );
            self.lines(&head, REASON_COLUMN, probe.reason)?;
        }
        for skipped in not_probed {
            let head = columns(
                &format!("    {}", printable(&skipped.function)),
                &[(OFFSET_COLUMN, "")],
            );
            let text = format!("no probe: {}", skipped.reason);
            self.lines(&head, OFFSET_COLUMN, &printable(&text))?;
        }
        Ok(())
    }

    /// `head`, then `text` from `column` on, in as many lines as it takes.
    fn lines(&mut self, head: &str, column: usize, text: &str) -> io::Result<()> {
        let wrapped = wrap(text, self.settings.width - column);
        let mut lines = wrapped.iter();
        let first = lines.next().map_or("", String::as_str);
        writeln!(self.output, "{}", format!("{head}{first}").trim_end())?;
        for line in lines {
            writeln!(self.output, "{}{line}", " ".repeat(column))?;
        }
        Ok(())
    }
}

/// Cells at their columns; one that is too long pushes what follows.
fn columns(first: &str, cells: &[(usize, &str)]) -> String {
    let mut line = first.to_owned();
    for (column, cell) in cells {
        let length = line.chars().count();
        line.push_str(&" ".repeat(column.saturating_sub(length).max(1)));
        line.push_str(cell);
    }
    line
}

/// Breaks between words; a word that is too long stays whole, so that a path can be copied.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if length > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests;
