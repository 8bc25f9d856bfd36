//! Folded stacks: one line of text for each stack, as many tools read them.

use std::io::Write;

use super::{Notices, ReportError, label};
use crate::{
    analysis::{FrameFilter, FrameTree, Profile},
    model::{CaptureSource, FrameRow, View},
};

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
    let profile = Profile::load_by_process(source, view)?;
    for_each_line(&profile, &FrameTree::new(&profile, filter), |line| {
        writeln!(output, "{line}")?;
        Ok(())
    })?;
    Notices::load(source, &profile)
}

/// One text buffer serves all lines, so that memory stays at the longest stack.
pub(super) fn for_each_line(
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

fn folded_label(frame: &FrameRow) -> String {
    let (function, place) = (label::function(frame), label::place(frame));
    let text = if place.is_empty() {
        function
    } else {
        format!("{function} ({place})")
    };
    text.replace(';', ":")
}
