//! `tree`: the view's call tree as text, biggest branches first.
//!
//! A caller with one callee that carries all its memory is a chain; chains go straight down behind `↳` instead of
//! further to the right, so that a recursion of thousands of frames is as narrow as a single call.

use std::io::Write;

use super::{Color, Notices, ReportError, label, style::Style};
use crate::{
    analysis::{Children, Figures, FrameFilter, FrameTree, Profile, Rank, Remainder},
    model::{CaptureSource, View},
    units::{count_text, percent_text, size_text},
};

#[derive(Clone, Copy, Debug)]
pub struct TreeSettings {
    pub view: View,
    pub filter: FrameFilter,
    /// How many allocating locations are shown; the others are summed in one line.
    pub biggest: usize,
    pub color: Color,
}

impl Default for TreeSettings {
    fn default() -> Self {
        Self {
            view: View::HighWaterMark,
            filter: FrameFilter::default(),
            biggest: 200,
            color: Color::Never,
        }
    }
}

/// Writes the tree, then the notices. Children and the remainder add up to the root.
pub fn write_tree(
    source: &dyn CaptureSource,
    settings: TreeSettings,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let profile = Profile::load_by_process(source, settings.view)?;
    let notices = Notices::load(source, &profile)?;
    if profile.is_empty() {
        return notices.write_empty(settings.view, settings.color, output);
    }
    let mut tree = FrameTree::new(&profile, settings.filter);
    let remainder = tree.keep_largest(settings.biggest, Rank::Size);
    let children = tree.children(Rank::Size);
    Printer {
        profile: &profile,
        tree: &tree,
        children: &children,
        color: settings.color,
        output,
    }
    .print(remainder)?;
    notices.write(settings.color, output)
}

struct Printer<'report> {
    profile: &'report Profile,
    tree: &'report FrameTree,
    children: &'report Children,
    color: Color,
    output: &'report mut dyn Write,
}

/// A node still to be printed, `level` branches to the right.
struct Pending {
    node: u32,
    level: usize,
    is_last: bool,
}

impl Printer<'_> {
    fn print(&mut self, remainder: Remainder) -> Result<(), ReportError> {
        let whole = self.profile.total;
        // Stacks of which every frame is hidden.
        let hidden = self.tree.nodes[0].own;
        writeln!(self.output, "▼ 📂 {} <ROOT>", self.amount(whole, whole))?;
        let mut pending = Vec::new();
        self.push_children(&mut pending, 0, 1, remainder.locations > 0 || !hidden.is_zero());
        // For each level, whether its line goes on below.
        let mut open: Vec<bool> = Vec::new();
        while let Some(Pending {
            mut node,
            level,
            is_last,
        }) = pending.pop()
        {
            open.truncate(level - 1);
            let outer = indentation(&open);
            let branch = if is_last { "└── " } else { "├── " };
            open.push(!is_last);
            let inner = indentation(&open);
            let row = self.row(node, whole, "▼ 📂", "📄");
            writeln!(self.output, "{outer}{branch}{row}")?;
            while let Some(callee) = self.only_callee(node) {
                node = callee;
                let row = self.row(node, whole, "📂", "📄");
                writeln!(self.output, "{inner}↳ {row}")?;
            }
            self.push_children(&mut pending, node, level + 1, false);
        }
        if !hidden.is_zero() {
            let branch = if remainder.locations > 0 {
                "├──"
            } else {
                "└──"
            };
            let text = self
                .color
                .paint(Style::Faint, "... allocations in hidden frames alone");
            writeln!(self.output, "{branch} ❓ {} {text}", self.amount(hidden, whole))?;
        }
        if remainder.locations > 0 {
            let locations = match remainder.locations {
                1 => "1 location".to_owned(),
                locations => format!("{} locations", count_text(locations)),
            };
            let amount = self.amount(remainder.figures, whole);
            let text = format!("... allocations from {locations} below the configured threshold");
            writeln!(
                self.output,
                "└── ❓ {amount} {}",
                self.color.paint(Style::Faint, &text)
            )?;
        }
        Ok(())
    }

    fn push_children(&self, pending: &mut Vec<Pending>, node: u32, level: usize, more_follows: bool) {
        for (position, &child) in self.children.of(node).iter().rev().enumerate() {
            pending.push(Pending {
                node: child,
                level,
                is_last: position == 0 && !more_follows,
            });
        }
    }

    fn only_callee(&self, node: u32) -> Option<u32> {
        match self.children.of(node) {
            &[callee] if self.tree.nodes[node as usize].own.is_zero() => Some(callee),
            _ => None,
        }
    }

    fn row(&self, node: u32, whole: Figures, caller: &str, leaf: &str) -> String {
        let icon = if self.children.of(node).is_empty() {
            leaf
        } else {
            caller
        };
        let amount = self.amount(self.tree.nodes[node as usize].total, whole);
        let Some(frame) = self.tree.nodes[node as usize].frame else {
            return String::new();
        };
        let frame = self.profile.frame(frame);
        let (function, place) = (label::function(frame), label::place(frame));
        let place = if place.is_empty() {
            place
        } else {
            format!("  {}", self.color.paint(Style::Faint, &place))
        };
        format!("{icon} {amount} {function}{place}")
    }

    fn amount(&self, part: Figures, whole: Figures) -> String {
        let percent = percent_text(part.bytes, whole.bytes);
        let text = format!("{} ({percent} %)", size_text(part.bytes));
        self.color.paint(Style::Share(part.percent_of(whole)), &text)
    }
}

fn indentation(open: &[bool]) -> String {
    open.iter()
        .map(|&open| if open { "│   " } else { "    " })
        .collect()
}
