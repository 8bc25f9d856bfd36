//! The flame graph as SVG, drawn by inferno.

use std::io::Write;

use inferno::flamegraph::{
    self, Direction, Options, TextTruncateDirection,
    color::{MultiPalette, Palette},
};

use super::{Notices, ReportError, folded::for_each_line, view_title};
use crate::{
    analysis::{FrameFilter, FrameTree, Profile},
    escape::printable,
    model::{CaptureSource, View},
    units::size_text,
};

/// Frames with less than one part in this many are not told to inferno, which draws none below 0.01 %; their bytes are
/// in their callers' boxes. Keeps its memory small.
const SMALLEST_SHARE: u64 = 20_000;

/// Letters of a monospaced line of 12 pixels that fit into inferno's 1,200.
const LINE_LETTERS: usize = 150;

const LINE_PIXELS: usize = 16;

/// Writes a flame graph that needs nothing but a browser, root on top. Notices are at its foot, and its subtitle says
/// that they are there.
pub fn write_svg(
    source: &dyn CaptureSource,
    view: View,
    filter: FrameFilter,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let metadata = source.metadata()?;
    let profile = Profile::load_by_process(source, view)?;
    let notices = Notices::load(source, &profile)?;
    let mut lines = Vec::new();
    let mut tree = FrameTree::new(&profile, filter);
    tree.fold_smaller_than(profile.total.bytes / SMALLEST_SHARE);
    for_each_line(&profile, &tree, |line| {
        lines.push(line.to_owned());
        Ok(())
    })?;
    let title = format!("memray: {}, {}", view_title(view), size_text(profile.total.bytes));
    let subtitle = subtitle(&metadata.command_line, &notices);
    let foot = foot(&notices);
    // inferno adds in 64 bits without a check; no machine has that much memory, but a damaged file can say so.
    let drawn = tree
        .nodes
        .iter()
        .map(|node| u128::from(node.own.bytes))
        .sum::<u128>();
    let instead = match (lines.is_empty(), i64::try_from(drawn)) {
        (true, _) => Some("No allocations in this view."),
        (false, Err(_)) => Some("The sizes in this capture are too large to be true, and to be drawn."),
        (false, Ok(_)) => None,
    };
    if let Some(words) = instead {
        return write_words(&[&title, &subtitle, words], &foot, output);
    }
    let mut options = Options::default();
    options.title = title;
    options.subtitle = Some(subtitle);
    "bytes".clone_into(&mut options.count_name);
    "Frame:".clone_into(&mut options.name_type);
    options.colors = Palette::Multi(MultiPalette::Python);
    options.text_truncate_direction = TextTruncateDirection::Right;
    // Colors from names instead of a random source: equal captures give equal files.
    options.deterministic = true;
    options.hash = true;
    options.direction = Direction::Inverted;
    if foot.is_empty() {
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), output)?;
        return Ok(());
    }
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    write_with_foot(&String::from_utf8_lossy(&svg), &foot, output)
}

fn subtitle(command_line: &str, notices: &Notices) -> String {
    let command_line = printable(command_line);
    let mut subtitle: String = command_line.chars().take(LINE_LETTERS / 2).collect();
    if subtitle.len() < command_line.len() {
        subtitle.push('…');
    }
    if let Some(headline) = notices.headline() {
        subtitle.push_str("   ⚠ ");
        subtitle.push_str(headline.trim_end_matches(':'));
        subtitle.push_str(", see below");
    }
    subtitle
}

/// The notices in lines that fit.
fn foot(notices: &Notices) -> Vec<String> {
    let headline = notices.headline().map(|headline| format!("⚠ {headline}"));
    let texts = notices
        .0
        .iter()
        .flat_map(|notice| wrapped(&format!("- {}", notice.text)));
    headline.into_iter().chain(texts).collect()
}

/// `text` in lines of at most [`LINE_LETTERS`], broken at a space where there is one.
fn wrapped(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let mut lines = Vec::new();
    let mut rest = letters.as_slice();
    while rest.len() > LINE_LETTERS {
        let space = rest[..LINE_LETTERS].iter().rposition(|&letter| letter == ' ');
        let end = space
            .filter(|&space| space > LINE_LETTERS / 2)
            .unwrap_or(LINE_LETTERS);
        lines.push(rest[..end].iter().collect());
        rest = &rest[end..];
    }
    lines.push(rest.iter().collect());
    lines
}

/// Writes inferno's drawing with lines of text below it: the height, the view box and the background grow.
fn write_with_foot(svg: &str, foot: &[String], output: &mut dyn Write) -> Result<(), ReportError> {
    let drawn = svg
        .split_once(" height=\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let height: usize = drawn.and_then(|(height, _)| height.parse().ok()).unwrap_or(0);
    let taller = height + LINE_PIXELS * (foot.len() + 1);
    let (head, body) = svg.split_at(
        svg.find("<g id=\"frames\"")
            .or_else(|| svg.find("<svg id="))
            .unwrap_or(0),
    );
    let head = head
        .replacen(
            &format!(" height=\"{height}\""),
            &format!(" height=\"{taller}\""),
            2,
        )
        .replacen(&format!(" 1200 {height}\""), &format!(" 1200 {taller}\""), 1);
    let body = body.strip_suffix("</svg>").unwrap_or(body);
    write!(output, "{head}{body}")?;
    write_lines(foot, height + LINE_PIXELS / 2, output)?;
    writeln!(output, "</svg>")?;
    Ok(())
}

fn write_lines(lines: &[String], top: usize, output: &mut dyn Write) -> Result<(), ReportError> {
    for (number, line) in lines.iter().enumerate() {
        let y = top + LINE_PIXELS * number;
        writeln!(
            output,
            "<text x=\"10\" y=\"{y}\" font-size=\"12\">{}</text>",
            xml_text(line)
        )?;
    }
    Ok(())
}

/// A drawing without frames: three lines, the first large, and the foot.
fn write_words(words: &[&str; 3], foot: &[String], output: &mut dyn Write) -> Result<(), ReportError> {
    let height = 110 + LINE_PIXELS * foot.len();
    let [title, subtitle, body] = words.map(xml_text);
    writeln!(
        output,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"{height}\" font-family=\"monospace\">\n\
         <text x=\"10\" y=\"30\" font-size=\"17\">{title}</text>\n\
         <text x=\"10\" y=\"55\" font-size=\"12\">{subtitle}</text>\n\
         <text x=\"10\" y=\"80\" font-size=\"12\">{body}</text>"
    )?;
    write_lines(foot, 105, output)?;
    writeln!(output, "</svg>")?;
    Ok(())
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_nothing_is_lost() {
        for text in [
            "",
            "short",
            &"word ".repeat(200),
            &"é".repeat(400),
            &format!("{} {}", "a".repeat(10), "b".repeat(160)),
        ] {
            let lines = wrapped(text);
            assert!(lines.iter().all(|line| line.chars().count() <= LINE_LETTERS));
            assert_eq!(lines.concat(), text);
        }
        assert!(wrapped(&"word ".repeat(200))[1].starts_with(" word"));
    }

    #[test]
    fn the_foot_has_room() {
        let svg = "<svg width=\"1200\" height=\"178\" viewBox=\"0 0 1200 178\"><rect y=\"0\" height=\"178\"/>\
                   <svg id=\"frames\"><rect height=\"178\"/></svg></svg>";
        let mut output = Vec::new();
        write_with_foot(svg, &["a<b".to_owned(), "c".to_owned()], &mut output).unwrap();
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "<svg width=\"1200\" height=\"226\" viewBox=\"0 0 1200 226\"><rect y=\"0\" height=\"226\"/>\
             <svg id=\"frames\"><rect height=\"178\"/></svg><text x=\"10\" y=\"186\" font-size=\"12\">a&lt;b</text>\n\
             <text x=\"10\" y=\"202\" font-size=\"12\">c</text>\n</svg>\n"
        );
    }
}
