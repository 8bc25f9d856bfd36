//! From a capture file to every report of it, where the file, its rows or the names in it mean harm.
//!
//! Whatever a report writes must be harmless to who shows it: no control character goes to a terminal or a pipe, the
//! data block of a page is JSON that cannot end its element and all around it is ours, a picture has no markup of
//! others, and a folded line is one line.

use std::{fs, io::Write, path::Path, sync::OnceLock, time::Duration};

use proptest::{prelude::*, sample::Index};

use super::{
    Bounds,
    bytes::{Mutation, hostile_number, mutated, mutations},
    fuzz_test,
    names::{assert_harmless, name},
};
use crate::{
    analysis::{FrameFilter, OneProcess},
    error::CommandError,
    model::{Batch, CaptureSource, SiteRow, View},
    report::{
        self, Color, FlamegraphSettings, ReportError, StatsSettings, SummarySettings, TableSettings, Threads,
        TreeSettings,
    },
    store::{CaptureReader, CaptureWriter, Overwrite, tests::sample_batch},
};

const BOUNDS: Bounds = Bounds {
    memory_bytes: 256 << 20,
    time: Duration::from_secs(30),
};

const VIEWS: [View; 5] = [
    View::HighWaterMark,
    View::Leaks,
    View::All,
    View::Temporary { threshold: 1 },
    View::Temporary { threshold: u64::MAX },
];

/// Renders; an error is told as a command tells it.
fn render(what: &str, write: impl FnOnce(&mut dyn Write) -> Result<(), ReportError>) -> Option<String> {
    let mut output = Vec::new();
    match write(&mut output) {
        Ok(()) => Some(String::from_utf8(output).unwrap_or_else(|error| panic!("{what}: {error}"))),
        Err(error) => {
            let told = CommandError::from(error).render();
            assert!(told.len() < 1 << 20, "{what}: an error of {} bytes", told.len());
            None
        }
    }
}

/// Every report of the view, held to what it must not contain.
fn check_reports(source: &dyn CaptureSource, view: View) {
    let filter = FrameFilter::default();
    let stats = StatsSettings {
        view,
        ..StatsSettings::default()
    };
    let color = StatsSettings {
        color: Color::Never,
        ..stats
    };
    let text = |name: &str, text: Option<String>| {
        if let Some(text) = text {
            assert_harmless(name, &text);
        }
    };
    text(
        "stats",
        render("stats", |output| report::write_stats(source, color, output)),
    );
    text(
        "summary",
        render("summary", |output| {
            let settings = SummarySettings {
                view,
                ..SummarySettings::default()
            };
            report::write_summary(source, settings, output)
        }),
    );
    text(
        "tree",
        render("tree", |output| {
            let settings = TreeSettings {
                view,
                ..TreeSettings::default()
            };
            report::write_tree(source, settings, output)
        }),
    );
    let folded = render("folded", |output| {
        report::write_folded(source, view, filter, output).map(drop)
    });
    for line in folded.as_deref().unwrap_or_default().lines() {
        assert_harmless("folded", line);
        let bytes = line.rsplit_once(' ').map(|(_, bytes)| bytes.parse::<u64>());
        assert!(matches!(bytes, Some(Ok(1..))), "folded: {line:?}");
    }
    if let Some(json) = render("json", |output| report::write_stats_json(source, stats, output)) {
        assert_harmless("json", &json);
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
    if let Some(svg) = render("svg", |output| report::write_svg(source, view, filter, output)) {
        check_picture(&svg);
    }
    if let Some(page) = render("flame graph", |output| {
        report::write_flamegraph(source, FlamegraphSettings { view }, output)
    }) {
        check_page(&page);
    }
    for threads in [Threads::Merged, Threads::Split] {
        let settings = TableSettings { view, threads };
        if let Some(page) = render("table", |output| report::write_table(source, settings, output)) {
            check_page(&page);
        }
    }
}

/// The page without its data is the same for every capture, but for the title that names the view.
fn check_page(page: &str) {
    let (head, rest) = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .unwrap();
    let (data, tail) = rest.split_once("</script>").unwrap();
    assert!(!data.contains('<'), "markup in the data");
    assert_harmless("data", data);
    serde_json::from_str::<serde_json::Value>(data).unwrap();
    let own = format!("{head}{tail}");
    assert_eq!(
        own.matches("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';")
            .count(),
        1
    );
    assert_eq!(own.matches("<script").count(), 1, "only ours");
    assert_eq!(own.matches("</script>").count(), 1);
    assert_harmless("page", &own);
    for attack in ["alert(1)", "DROP TABLE", "onload", "passwd"] {
        assert!(!own.contains(attack), "{attack} outside of the data");
    }
}

/// Well-formed enough for a browser to see no element that is not ours, and every character one that XML allows.
fn check_picture(svg: &str) {
    assert_harmless("svg", svg);
    assert!(!svg.contains(['\u{fffe}', '\u{ffff}']), "what XML must not hold");
    // inferno's own, around its script; names are in none.
    let mut outside = String::new();
    for (number, part) in svg.split("<![CDATA[").enumerate() {
        let behind = if number == 0 {
            Some(part)
        } else {
            part.split_once("]]>").map(|(_, behind)| behind)
        };
        outside.push_str(behind.expect("each of these ends"));
    }
    for element in outside.split('<').skip(1) {
        let name: String = element
            .trim_start_matches(['/', '?', '!'])
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let known = [
            "xml",
            "DOCTYPE",
            "svg",
            "defs",
            "linearGradient",
            "stop",
            "style",
            "script",
            "rect",
            "text",
            "title",
            "g",
            "a",
        ];
        assert!(
            known.contains(&name.as_str()) || element.starts_with("!--"),
            "<{name}"
        );
        let quotes = element.split('>').next().unwrap_or_default().matches('"').count();
        assert!(
            quotes % 2 == 0 || name == "text" || name == "title",
            "an attribute that is open: {element:.80}"
        );
    }
    assert!(svg.matches("<script").count() <= 1);
}

/// The sample of the store with the names given, and a number wherever one was hostile.
fn batch(names: &[String], numbers: &[(Index, u64)]) -> Batch {
    let mut batch = sample_batch();
    let mut names = names.iter().cycle().cloned();
    let mut next = || names.next().unwrap_or_default();
    for process in &mut batch.processes {
        process.command_line = next();
        process.executable = next();
        process.python_version = next();
        process.python_allocator = next();
    }
    batch.threads.iter_mut().for_each(|thread| thread.name = next());
    for frame in &mut batch.frames {
        frame.function = next();
        frame.file = next();
    }
    for loss in &mut batch.losses {
        loss.reason = next();
        loss.description = next();
    }
    batch.meta.push(("command_line".to_owned(), next()));
    batch.meta.push((next(), next()));
    // All sites of the sample show all its frames in some view.
    for (at, number) in numbers {
        let index = at.index(batch.sites.len());
        let site: &mut SiteRow = &mut batch.sites[index];
        *[
            &mut site.alloc_bytes,
            &mut site.live_bytes,
            &mut site.peak_bytes,
            &mut site.temp_bytes,
            &mut site.live_count,
        ][at.index(5)] = *number;
        batch.timeline[at.index(2)].max_bytes = *number;
        batch.states[at.index(2)].peak_ts = *number;
        batch.losses[at.index(2)].events = *number;
    }
    batch
}

fn write(path: &Path, batch: &Batch) {
    let mut writer = CaptureWriter::create(path, Overwrite::Replace, None).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

fn check_file(path: &Path, view: View) {
    match CaptureReader::open(path) {
        Ok(reader) => {
            check_reports(&reader, view);
            if let Ok(one) = OneProcess::new(reader, 4_000_001) {
                check_reports(&one, view);
            }
        }
        Err(error) => assert!(CommandError::from(error).render().len() < 1 << 20),
    }
}

fuzz_test!(
    hostile_names,
    hostile_names_long,
    BOUNDS,
    (
        prop::collection::vec(name(), 1..12),
        prop::collection::vec((any::<Index>(), hostile_number()), 0..4),
        prop::sample::select(VIEWS.to_vec()),
    ),
    |(names, numbers, view): (Vec<String>, Vec<(Index, u64)>, View)| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        write(&path, &batch(&names, &numbers));
        check_file(&path, view);
    }
);

/// A capture of a few pages, with names that are hostile already.
fn sound_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        let names: Vec<String> = super::names::ATTACKS
            .iter()
            .map(|&name| name.to_owned())
            .collect();
        let mut batch = batch(&names, &[]);
        let row = batch.freed[0];
        batch.freed.resize(600, row);
        write(&path, &batch);
        fs::read(&path).unwrap()
    })
}

fuzz_test!(
    changed_files,
    changed_files_long,
    BOUNDS,
    (
        prop_oneof![3 => mutations(1..8), 1 => mutations(30..60)],
        prop::option::weighted(0.2, any::<Index>()),
        prop::sample::select(VIEWS.to_vec()),
    ),
    |(changes, page, view): (Vec<Mutation>, Option<Index>, View)| {
        let mut bytes = sound_bytes().to_vec();
        // Changes of one page only, whose header and cells they meet then.
        let start = page.map_or(0, |page| page.index(bytes.len() / 4096) * 4096);
        let changed = mutated(
            &bytes[start..],
            &changes,
            if start > 0 { 4096 } else { usize::MAX },
        );
        bytes.truncate(start);
        bytes.extend(changed);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.db");
        fs::write(&path, &bytes).unwrap();
        check_file(&path, view);
    }
);
