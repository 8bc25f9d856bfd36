//! Folded stacks, and the SVG that inferno draws from them.

use std::io::Write;

use inferno::flamegraph::{
    self, Direction, Options,
    color::{MultiPalette, Palette},
};

use super::{Notices, ReportError, escape::printable, label, view_title};
use crate::{
    analysis::{FrameFilter, FrameTree, Profile},
    model::{CaptureSource, View},
    units::size_text,
};

/// Frames with less than one part in this many are not told to inferno, which draws none below 0.01 %; their bytes are
/// in their callers' boxes. Keeps its memory small.
const SMALLEST_SHARE: u64 = 20_000;

/// Writes a line for each distinct stack: its frames from the outermost, separated by `;`, and its bytes.
///
/// A frame is `function (file:line)`; a `;` in a name becomes `:`. Stacks of no bytes have no line. The format has no
/// place for a remark, so the notices are returned for the caller to print.
pub fn write_folded(
    source: &dyn CaptureSource,
    view: View,
    filter: FrameFilter,
    output: &mut dyn Write,
) -> Result<Notices, ReportError> {
    let profile = Profile::load(source, view)?;
    for_each_line(&profile, &FrameTree::new(&profile, filter), |line| {
        writeln!(output, "{line}")?;
        Ok(())
    })?;
    Notices::load(source, &profile)
}

/// Writes a flame graph that needs nothing but a browser, root on top. Notices are in its subtitle.
pub fn write_svg(
    source: &dyn CaptureSource,
    view: View,
    filter: FrameFilter,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let metadata = source.metadata()?;
    let profile = Profile::load(source, view)?;
    let notices = Notices::load(source, &profile)?;
    let mut lines = Vec::new();
    let mut tree = FrameTree::new(&profile, filter);
    tree.fold_smaller_than(profile.total.bytes / SMALLEST_SHARE);
    for_each_line(&profile, &tree, |line| {
        lines.push(line.to_owned());
        Ok(())
    })?;
    let title = format!("memray: {}, {}", view_title(view), size_text(profile.total.bytes));
    let mut subtitle = printable(&metadata.command_line).into_owned();
    if let Some(headline) = notices.headline() {
        let texts: Vec<&str> = notices.0.iter().map(|notice| notice.text.as_str()).collect();
        subtitle = format!("{subtitle} ⚠ {headline} {}", texts.join("; "));
    }
    if lines.is_empty() {
        return write_empty_svg(&title, &subtitle, output);
    }
    let mut options = Options::default();
    options.title = title;
    options.subtitle = Some(subtitle);
    "bytes".clone_into(&mut options.count_name);
    "Frame:".clone_into(&mut options.name_type);
    options.colors = Palette::Multi(MultiPalette::Python);
    // Colors from names instead of a random source: equal captures give equal files.
    options.deterministic = true;
    options.hash = true;
    options.direction = Direction::Inverted;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), output)?;
    Ok(())
}

/// One text buffer serves all lines, so that memory stays at the longest stack.
fn for_each_line(
    profile: &Profile,
    tree: &FrameTree,
    mut take: impl FnMut(&str) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    let labels: Vec<String> = profile.frames.iter().map(folded_label).collect();
    let mut line = String::new();
    let mut path = Vec::new();
    for node in &tree.nodes {
        if node.own.bytes == 0 {
            continue;
        }
        path.clear();
        let mut current = node;
        while let Some(frame) = current.frame {
            path.push(frame);
            current = &tree.nodes[current.parent as usize];
        }
        line.clear();
        for &frame in path.iter().rev() {
            line.push_str(&labels[frame as usize]);
            line.push(';');
        }
        // All frames hidden: the memory is there and needs a name.
        if line.pop().is_none() {
            line.push_str("<root>");
        }
        line.push(' ');
        line.push_str(&node.own.bytes.to_string());
        take(&line)?;
    }
    Ok(())
}

fn folded_label(frame: &crate::model::FrameRow) -> String {
    let (function, place) = (label::function(frame), label::place(frame));
    let text = if place.is_empty() {
        function
    } else {
        format!("{function} ({place})")
    };
    text.replace(';', ":")
}

fn write_empty_svg(title: &str, subtitle: &str, output: &mut dyn Write) -> Result<(), ReportError> {
    writeln!(
        output,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"120\" font-family=\"monospace\">\n\
         <text x=\"20\" y=\"35\" font-size=\"17\">{}</text>\n\
         <text x=\"20\" y=\"60\">{}</text>\n\
         <text x=\"20\" y=\"90\">No allocations in this view.</text>\n</svg>",
        xml_text(title),
        xml_text(subtitle),
    )?;
    Ok(())
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
