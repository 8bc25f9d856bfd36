//! The flame graph page.

use std::io::Write;

use serde::Serialize;

use super::{meta::Meta, script, strings::StringTable, write_page};
use crate::{
    analysis::{
        FrameFilter, FrameTree, ProcessFrames, Profile,
        filter::{is_import_system, is_irrelevant, is_standard_library},
    },
    model::{CaptureSource, FrameKind, FrameRow, View},
    report::ReportError,
};

#[derive(Clone, Copy, Debug)]
pub struct FlamegraphSettings {
    pub view: View,
}

#[derive(Serialize)]
struct Payload<'data> {
    meta: Meta,
    strings: Vec<&'data str>,
    frames: Frames,
    nodes: Nodes,
}

/// Columns; `function` and `file` index the strings.
#[derive(Default, Serialize)]
struct Frames {
    function: Vec<usize>,
    file: Vec<usize>,
    line: Vec<u32>,
    flags: Vec<u8>,
}

/// Columns, root first, parents before children; figures are a node's own, the page adds them up. No frame is
/// hidden here: the page does that as its reader wishes.
#[derive(Serialize)]
struct Nodes {
    parent: Vec<u32>,
    /// Index into the frames; that of the root means nothing.
    frame: Vec<u32>,
    bytes: Vec<u64>,
    count: Vec<u64>,
}

/// Bits of `Frames::flags`; `web/js/tree.js` has the same.
const IRRELEVANT: u8 = 1;
const IMPORT_SYSTEM: u8 = 2;
const STANDARD_LIBRARY: u8 = 4;
const NATIVE: u8 = 8;
const MARKER: u8 = 16;
const PROCESS: u8 = 32;

/// Writes the page.
pub fn write_flamegraph(
    source: &dyn CaptureSource,
    settings: FlamegraphSettings,
    output: &mut dyn Write,
) -> Result<(), ReportError> {
    let profile = Profile::load_by_process(source, settings.view)?;
    let tree = FrameTree::new(&profile, FrameFilter::SHOW_ALL);
    let mut strings = StringTable::default();
    // Frames of other views are in the capture too; the page gets those that it shows.
    let mut place_of: Vec<Option<u32>> = vec![None; profile.frames.len()];
    let mut frames = Frames::default();
    let mut nodes = Nodes {
        parent: vec![],
        frame: vec![],
        bytes: vec![],
        count: vec![],
    };
    let has_processes = profile.process_frames == ProcessFrames::Outermost;
    let mut used = 0;
    for node in &tree.nodes {
        let place = node.frame.map_or(0, |index| {
            *place_of[index as usize].get_or_insert_with(|| {
                let frame = profile.frame(index);
                frames.function.push(strings.index(&frame.function));
                frames.file.push(strings.index(&frame.file));
                frames.line.push(frame.line);
                let of_process = has_processes && node.parent == 0;
                frames
                    .flags
                    .push(flags(frame) | if of_process { PROCESS } else { 0 });
                used += 1;
                used - 1
            })
        });
        nodes.parent.push(node.parent);
        nodes.frame.push(place);
        nodes.bytes.push(node.own.bytes);
        nodes.count.push(node.own.count);
    }
    let payload = Payload {
        meta: Meta::load(source, &profile)?,
        strings: strings.into_texts(),
        frames,
        nodes,
    };
    write_page(
        "memray flame graph",
        include_str!("../../../web/flamegraph.html"),
        &MODULES,
        &payload,
        output,
    )
}

const MODULES: [&str; 9] = [
    script::UNITS,
    script::DOM,
    script::TREE,
    script::LAYOUT,
    script::COLOR,
    script::TIMELINE,
    script::PAGE,
    script::FLAME,
    script::FLAMEGRAPH,
];

fn flags(frame: &FrameRow) -> u8 {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    flag(is_irrelevant(frame), IRRELEVANT)
        | flag(is_import_system(frame), IMPORT_SYSTEM)
        | flag(is_standard_library(&frame.file), STANDARD_LIBRARY)
        | flag(frame.kind == FrameKind::Native, NATIVE)
        | flag(frame.kind == FrameKind::Marker, MARKER)
}
