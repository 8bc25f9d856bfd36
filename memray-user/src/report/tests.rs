//! Every report of every view over captures that matter, read once by a person and kept.

mod pages;
mod processes;
mod untrusted;

use std::io::Write;

use super::*;
use crate::{
    analysis::{
        FrameFilter,
        testing::{CaptureBuilder, deep, hostile, prefork, realistic, small, unfinished},
    },
    escape,
    model::{CaptureSource, MappingKind, MappingTotalsRow},
};

const VIEWS: [View; 3] = [View::HighWaterMark, View::Leaks, View::Temporary { threshold: 3 }];

/// What a report writes, as text.
fn render(
    source: &dyn CaptureSource,
    report: impl Fn(&dyn CaptureSource, &mut dyn Write) -> Result<(), ReportError>,
) -> String {
    let mut output = Vec::new();
    report(source, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

fn captures() -> [(&'static str, CaptureBuilder); 5] {
    [
        ("empty", CaptureBuilder::new()),
        ("small", small()),
        ("unfinished", unfinished()),
        ("hostile", hostile()),
        ("prefork", prefork()),
    ]
}

/// One snapshot for each capture, with all views.
fn check_views(
    name: &str,
    report: impl Fn(View, &dyn CaptureSource, &mut dyn Write) -> Result<(), ReportError>,
) {
    for (capture, source) in captures() {
        let mut text = String::new();
        for view in VIEWS {
            text.extend(["===== ", &view_title(view), " =====\n"]);
            text.push_str(&render(&source, |source, output| report(view, source, output)));
        }
        assert!(
            !text
                .chars()
                .any(|character| escape::is_control(character) && !"\n\t".contains(character))
        );
        let text = text.replace(&"long_name_".repeat(500), "<5,000 letters>");
        insta::assert_snapshot!(format!("{name}_{capture}"), text);
    }
}

#[test]
fn stats_text() {
    check_views("stats", |view, source, output| {
        write_stats(
            source,
            StatsSettings {
                view,
                ..StatsSettings::default()
            },
            output,
        )
    });
}

#[test]
fn stats_json() {
    check_views("stats_json", |view, source, output| {
        write_stats_json(
            source,
            StatsSettings {
                view,
                largest: 2,
                ..StatsSettings::default()
            },
            output,
        )
    });
}

#[test]
fn summary_text() {
    check_views("summary", |view, source, output| {
        write_summary(
            source,
            SummarySettings {
                view,
                width: Some(150),
                ..SummarySettings::default()
            },
            output,
        )
    });
}

#[test]
fn tree_text() {
    check_views("tree", |view, source, output| {
        write_tree(
            source,
            TreeSettings {
                view,
                ..TreeSettings::default()
            },
            output,
        )
    });
}

#[test]
fn folded_text() {
    check_views("folded", |view, source, output| {
        let notices = write_folded(source, view, FrameFilter::default(), output)?;
        notices.write(Color::Never, output)
    });
}

/// What is no heap is shown beside it.
#[test]
fn stats_of_what_is_no_heap() {
    let mut source = small();
    let [.., last] = source.timeline.as_mut_slice() else {
        panic!("the sample has a timeline");
    };
    last.rss_bytes = Some(61_000_000);
    last.rss_anon_bytes = Some(40_000_000);
    last.rss_file_bytes = Some(20_000_000);
    last.rss_shmem_bytes = Some(1_000_000);
    let mapped = |kind, highest_bytes, live_bytes| MappingTotalsRow {
        process_id: 1,
        kind,
        map_count: 2,
        map_bytes: highest_bytes,
        live_count: 1,
        live_bytes,
        highest_bytes,
        highest_ts: 5,
        heap_peak_bytes: 0,
    };
    source.mapping_totals = vec![
        mapped(MappingKind::Reserved, 1 << 30, 1 << 20),
        mapped(MappingKind::Stack, 8_392_704, 0),
    ];
    let text = render(&source, |source, output| {
        write_stats(source, StatsSettings::default(), output)
    });
    let json = render(&source, |source, output| {
        write_stats_json(source, StatsSettings::default(), output)
    });
    let (_, text) = text.split_once("🧮").unwrap();
    let (_, json) = json.split_once("\"peak_resident\"").unwrap();
    let (json, _) = json.split_once("\"losses\"").unwrap();
    insta::assert_snapshot!("stats_beside", format!("{text}\n{json}"));
}

/// The whole recording is the default of `stats`, as in memray.
#[test]
fn stats_of_the_whole_recording() {
    let text = render(&small(), |source, output| {
        write_stats(
            source,
            StatsSettings {
                largest: 1,
                ..StatsSettings::default()
            },
            output,
        )
    });
    insta::assert_snapshot!("stats_all", text);
}

#[test]
fn summary_sorts_and_limits() {
    for sort in SortColumn::ALL {
        let settings = SummarySettings {
            sort,
            max_rows: Some(3),
            width: Some(120),
            ..SummarySettings::default()
        };
        let text = render(&small(), |source, output| write_summary(source, settings, output));
        insta::assert_snapshot!(format!("summary_sorted_{}", sort as u8), text);
    }
    assert_eq!(SortColumn::from_number(0), None);
    assert_eq!(SortColumn::from_number(5), Some(SortColumn::AllocationCount));
    assert_eq!(SortColumn::from_number(6), None);
}

/// Locations are wrapped: all of a name is there, no figure is broken, and no line is wider than the terminal.
#[test]
fn summary_cuts_nothing_off() {
    for width in [80, 110, 129, 130, 200] {
        for sort in SortColumn::ALL {
            let settings = SummarySettings {
                sort,
                width: Some(width),
                ..SummarySettings::default()
            };
            let text = render(&hostile(), |source, output| {
                write_summary(source, settings, output)
            });
            let table: Vec<&str> = text.lines().take_while(|line| !line.starts_with('⚠')).collect();
            let names = table
                .iter()
                .filter_map(|line| line.strip_prefix('│')?.split('┆').next());
            assert!(
                names
                    .map(str::trim)
                    .collect::<String>()
                    .contains(&"long_name_".repeat(500))
            );
            // A joined emoji is several characters in two columns.
            let mut plain = table.iter().filter(|line| !line.contains(['🙂', '👩']));
            assert_eq!(
                plain.find(|line| line.chars().count() != usize::from(width)),
                None
            );
            for whole in ["15.000kB", "100.00%", "Memory %", "Count"] {
                assert!(text.contains(whole), "{width} {whole}");
            }
        }
    }
    let settings = SummarySettings {
        width: Some(60),
        ..SummarySettings::default()
    };
    insta::assert_snapshot!(
        "summary_narrow",
        render(&small(), |source, output| write_summary(source, settings, output))
    );
}

#[test]
fn tree_names_what_is_below_the_threshold() {
    for (biggest, filter) in [
        (2, FrameFilter::default()),
        (1, FrameFilter::SHOW_ALL),
        (0, FrameFilter::SHOW_ALL),
    ] {
        let settings = TreeSettings {
            filter,
            biggest,
            ..TreeSettings::default()
        };
        let text = render(&small(), |source, output| write_tree(source, settings, output));
        insta::assert_snapshot!(format!("tree_biggest_{biggest}"), text);
    }
}

#[test]
fn color_is_only_there_when_asked_for() {
    for color in [Color::Never, Color::Always] {
        for text in [
            render(&unfinished(), |source, output| {
                write_stats(
                    source,
                    StatsSettings {
                        color,
                        ..StatsSettings::default()
                    },
                    output,
                )
            }),
            render(&unfinished(), |source, output| {
                write_summary(
                    source,
                    SummarySettings {
                        color,
                        ..SummarySettings::default()
                    },
                    output,
                )
            }),
            render(&unfinished(), |source, output| {
                write_tree(
                    source,
                    TreeSettings {
                        color,
                        ..TreeSettings::default()
                    },
                    output,
                )
            }),
        ] {
            assert_eq!(text.contains("\x1b["), color == Color::Always);
            assert_eq!(text.matches("\x1b[0m").count() * 2, text.matches("\x1b[").count());
        }
    }
}

#[test]
fn deep_stacks_pass_through_every_report() {
    let source = deep(4096);
    let stats = render(&source, |source, output| {
        write_stats(source, StatsSettings::default(), output)
    });
    assert!(stats.contains("- recurse:/home/user/deep.py:3 -> 40.960kB"));
    let summary = render(&source, |source, output| {
        write_summary(source, SummarySettings::default(), output)
    });
    assert!(summary.contains("40.960kB ┆        100.00%"));
    let tree = render(&source, |source, output| {
        write_tree(source, TreeSettings::default(), output)
    });
    assert!(tree.contains("allocations from 3,896 locations below the configured threshold"));
    let mut lines = 0;
    for (view, width) in [(View::HighWaterMark, 200 * 4), (View::Leaks, 200 * 4)] {
        let settings = TreeSettings {
            view,
            ..TreeSettings::default()
        };
        let tree = render(&source, |source, output| write_tree(source, settings, output));
        lines += tree.lines().count();
        assert!(tree.lines().all(|line| line.chars().count() < width + 80));
    }
    assert!(lines > 400);
    // A thousand are enough here: folded stacks that each hold all their callers grow with the square.
    let svg = render(&deep(1000), |source, output| {
        write_svg(source, View::HighWaterMark, FrameFilter::default(), output)
    });
    assert!(svg.contains("recurse (/home/user/deep.py:3)"));
}

#[test]
fn svg_holds_names_as_text_and_says_what_is_lost() {
    for view in VIEWS {
        let svg = |source: &CaptureBuilder| {
            render(source, |source, output| {
                write_svg(source, view, FrameFilter::default(), output)
            })
        };
        let hostile = svg(&hostile());
        assert!(hostile.contains("&lt;img src=x onerror=alert(1)"));
        assert!(!hostile.contains("<img") && !hostile.contains("<b>"));
        assert_eq!(
            (
                hostile.matches("<script").count(),
                hostile.matches("</script").count()
            ),
            (1, 1)
        );
        assert!(
            !hostile
                .chars()
                .any(|character| escape::is_control(character) && !"\r\n\t".contains(character))
        );
        assert!(hostile.contains("The recording is incomplete:"));
        assert!(svg(&unfinished()).contains("the recording is still running or was cut off"));
        assert!(svg(&CaptureBuilder::new()).contains("No allocations in this view."));
        assert_eq!(svg(&small()), svg(&small()));
    }
}

/// A reader that has gone, as `head` does.
struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_known_as_such() {
    let (source, view) = (small(), View::HighWaterMark);
    for error in [
        write_stats(&source, StatsSettings::default(), &mut ClosedPipe),
        write_stats_json(&source, StatsSettings::default(), &mut ClosedPipe),
        write_summary(&source, SummarySettings::default(), &mut ClosedPipe),
        write_tree(&source, TreeSettings::default(), &mut ClosedPipe),
        write_svg(&source, view, FrameFilter::default(), &mut ClosedPipe),
        write_folded(&source, view, FrameFilter::default(), &mut ClosedPipe).map(drop),
        write_flamegraph(&source, FlamegraphSettings { view }, &mut ClosedPipe),
    ] {
        let error = error.unwrap_err();
        assert!(error.is_broken_pipe(), "{error:?}");
        assert_eq!(error.hint(), None);
    }
    let hint = Some("copy the capture again".to_owned());
    let capture = CaptureError {
        message: "truncated".to_owned(),
        hint,
        source: None,
    };
    let error = ReportError::from(capture);
    assert_eq!(error.hint(), Some("copy the capture again"));
    assert!(!error.is_broken_pipe());
}

#[test]
#[ignore = "writes reports to look at, into the directory of MEMRAY_SAMPLES"]
fn samples() {
    let folder = std::path::PathBuf::from(std::env::var_os("MEMRAY_SAMPLES").expect("MEMRAY_SAMPLES is set"));
    let more = [("deep", deep(4096)), ("realistic", realistic(5000))];
    for (name, capture) in captures().into_iter().chain(more) {
        for (suffix, text) in all_reports(&capture, View::HighWaterMark) {
            std::fs::write(folder.join(format!("{name}.{suffix}")), text).unwrap();
        }
    }
}

#[test]
#[ignore = "prints how long each report of 200,000 stacks takes; only an optimized build says much"]
fn timing() {
    let capture = realistic(200_000);
    println!(
        "{} stack nodes, {} frames",
        capture.stacks.len(),
        capture.frames.len()
    );
    for (suffix, text) in all_reports(&capture, View::HighWaterMark) {
        println!("{suffix}: {} bytes", text.len());
    }
}

/// All reports of a view by suffix; prints how long each took.
fn all_reports(capture: &dyn CaptureSource, view: View) -> Vec<(&'static str, String)> {
    let threads = Threads::Split;
    let summary = SummarySettings {
        width: Some(140),
        max_rows: Some(100),
        ..SummarySettings::default()
    };
    type Report = Box<dyn Fn(&dyn CaptureSource, &mut dyn Write) -> Result<(), ReportError>>;
    let reports: [(&str, Report); 8] = [
        (
            "flame.html",
            Box::new(move |source, output| write_flamegraph(source, FlamegraphSettings { view }, output)),
        ),
        (
            "table.html",
            Box::new(move |source, output| write_table(source, TableSettings { view, threads }, output)),
        ),
        (
            "svg",
            Box::new(move |source, output| write_svg(source, view, FrameFilter::default(), output)),
        ),
        (
            "folded",
            Box::new(move |source, output| {
                write_folded(source, view, FrameFilter::default(), output).map(drop)
            }),
        ),
        (
            "tree.txt",
            Box::new(|source, output| write_tree(source, TreeSettings::default(), output)),
        ),
        (
            "summary.txt",
            Box::new(move |source, output| write_summary(source, summary, output)),
        ),
        (
            "stats.txt",
            Box::new(|source, output| write_stats(source, StatsSettings::default(), output)),
        ),
        (
            "stats.json",
            Box::new(|source, output| write_stats_json(source, StatsSettings::default(), output)),
        ),
    ];
    reports
        .into_iter()
        .map(|(suffix, report)| {
            let start = std::time::Instant::now();
            let text = render(capture, report);
            println!("{suffix}: {:?}", start.elapsed());
            (suffix, text)
        })
        .collect()
}
