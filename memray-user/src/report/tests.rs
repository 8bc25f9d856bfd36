//! Every report of every view over captures that matter, read once by a person and kept.

use std::io::Write;

use super::*;
use crate::{
    analysis::{
        FrameFilter,
        testing::{CaptureBuilder, deep, hostile, realistic, small, unfinished},
    },
    model::CaptureSource,
};

#[test]
#[ignore = "writes pages to look at, into the directory of MEMRAY_SAMPLES"]
fn samples() {
    let folder = std::path::PathBuf::from(std::env::var_os("MEMRAY_SAMPLES").expect("MEMRAY_SAMPLES is set"));
    let captures: [(&str, CaptureBuilder); 6] = [
        ("empty", CaptureBuilder::new()),
        ("small", small()),
        ("unfinished", unfinished()),
        ("hostile", hostile()),
        ("deep", deep(4096)),
        ("realistic", realistic(5000)),
    ];
    for (name, capture) in &captures {
        let write = |suffix: &str, bytes: Vec<u8>| std::fs::write(folder.join(format!("{name}{suffix}")), bytes).unwrap();
        let view = View::HighWaterMark;
        let render = |report: &dyn Fn(&dyn CaptureSource, &mut dyn Write) -> Result<(), ReportError>| {
            let mut output = Vec::new();
            report(capture, &mut output).unwrap();
            output
        };
        write(".flame.html", render(&|source, output| write_flamegraph(source, FlamegraphSettings { view }, output)));
        let threads = Threads::Split;
        write(".table.html", render(&|source, output| write_table(source, TableSettings { view, threads }, output)));
        write(".svg", render(&|source, output| write_svg(source, view, FrameFilter::default(), output)));
        write(".tree.txt", render(&|source, output| write_tree(source, TreeSettings::default(), output)));
        let width = Some(140);
        write(".summary.txt", render(&|source, output| write_summary(source, SummarySettings { width, ..SummarySettings::default() }, output)));
        write(".stats.txt", render(&|source, output| write_stats(source, StatsSettings::default(), output)));
        write(".stats.json", render(&|source, output| write_stats_json(source, StatsSettings::default(), output)));
        write(".folded", render(&|source, output| write_folded(source, view, FrameFilter::default(), output).map(drop)));
    }
}
