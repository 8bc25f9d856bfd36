//! Reports of captures with several processes, with very many, and with such as have hostile names.

use super::*;
use crate::{
    analysis::OneProcess,
    model::{CaptureMetadata, ProcessOrigin, ProcessRow},
};

/// A capture of so many processes, of which only the first allocated.
fn crowd(count: u32) -> CaptureBuilder {
    let mut capture = small();
    let row = capture.metadata.processes[0].clone();
    capture.metadata.processes = (1..=count)
        .map(|process_id| ProcessRow {
            process_id,
            pid: 5000 + process_id,
            origin: ProcessOrigin::Attached,
            ..row.clone()
        })
        .collect();
    capture
}

#[test]
fn very_many_processes_are_a_few_lines() {
    let text = render(&crowd(3000), |source, output| {
        write_stats(source, StatsSettings::default(), output)
    });
    assert_eq!(text.matches("  attached  ").count(), 20);
    assert!(text.contains("\tand 2,980 more with smaller peaks; `memray stats --json` has all\n"));
    assert!(text.contains("- processes 5001, 5002, 5003, 5004, 5005 and 2995 more were attached to"));
    assert!(text.lines().count() < 100, "{text}");
    let json = render(&crowd(3000), |source, output| {
        write_stats_json(source, StatsSettings::default(), output)
    });
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["processes"].as_array().unwrap().len(), 3000);
    let page = render(&crowd(3000), |source, output| {
        let view = View::HighWaterMark;
        write_flamegraph(source, FlamegraphSettings { view }, output)
    });
    let data = page
        .split_once("id=\"data\">")
        .unwrap()
        .1
        .split_once("</script>")
        .unwrap()
        .0;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["meta"]["processes"]["pid"].as_array().unwrap().len(), 200);
    assert_eq!(data["meta"]["processes"]["left_out"], 2800);
}

#[test]
fn exactly_as_many_as_there_is_room_for() {
    for (count, more) in [(20, None), (21, Some("and 1 more with smaller peaks"))] {
        let text = render(&crowd(count), |source, output| {
            write_summary(source, SummarySettings::default(), output)
        });
        assert_eq!(text.matches("  attached  ").count(), 20);
        assert_eq!(text.contains("more with smaller peaks"), more.is_some());
        assert!(more.is_none_or(|more| text.contains(more)));
    }
}

/// On a narrow terminal each process has two lines, and none is broken.
#[test]
fn the_table_fits() {
    let mut text = String::new();
    let mut capture = prefork();
    capture.metadata.processes[1].command_line += &" --option".repeat(20);
    for width in [80, 160] {
        let stats = render(&capture, |source, output| {
            let settings = StatsSettings {
                width: Some(width),
                ..StatsSettings::default()
            };
            write_stats(source, settings, output)
        });
        let summary = render(&capture, |source, output| {
            let settings = SummarySettings {
                width: Some(width),
                ..SummarySettings::default()
            };
            write_summary(source, settings, output)
        });
        for report in [stats, summary] {
            let table = report
                .split_once("🧮 Processes:\n")
                .unwrap()
                .1
                .split_once("\n\n")
                .unwrap()
                .0;
            let columns = |line: &str| {
                line.chars()
                    .map(|letter| if letter == '\t' { 8 } else { 1 })
                    .sum::<usize>()
            };
            assert!(
                table.lines().all(|line| columns(line) <= usize::from(width)),
                "{table}"
            );
            text.extend([table, "\n\n"]);
        }
    }
    insta::assert_snapshot!("processes_narrow", text);
}

/// One process tells of itself where the recording did not run it.
#[test]
fn one_process_has_a_row_if_it_was_not_launched() {
    for (origin, told) in [
        (ProcessOrigin::Launched, false),
        (ProcessOrigin::Attached, true),
        (ProcessOrigin::Forked, true),
    ] {
        let mut capture = small();
        capture.metadata.processes[0].origin = origin;
        let stats = render(&capture, |source, output| {
            write_stats(source, StatsSettings::default(), output)
        });
        let json = render(&capture, |source, output| {
            write_stats_json(source, StatsSettings::default(), output)
        });
        let tree = render(&capture, |source, output| {
            write_tree(source, TreeSettings::default(), output)
        });
        assert_eq!(stats.contains("🧮 Processes:"), told, "{origin:?}");
        assert_eq!(json.contains("\"processes\""), told, "{origin:?}");
        assert!(!tree.contains("(pid 4242)"), "{origin:?}");
    }
}

#[test]
fn names_of_processes_cannot_act() {
    let mut capture = prefork();
    let evil = "\u{1b}[2J\u{202e}</script><img src=x onerror=alert(1)>;\r\n";
    for row in &mut capture.metadata.processes {
        evil.clone_into(&mut row.command_line);
        evil.clone_into(&mut row.python_version);
        evil.clone_into(&mut row.executable);
    }
    let one = OneProcess::new(capture.clone(), 702).unwrap();
    let sources: [&dyn CaptureSource; 2] = [&capture, &one];
    for source in sources {
        for (suffix, text) in all_reports(source, View::HighWaterMark) {
            let is_control = |character: char| escape::is_control(character) && !"\r\n\t".contains(character);
            assert!(!text.chars().any(is_control), "{suffix}");
            let is_markup = suffix.ends_with("html") || suffix == "svg";
            assert!(!is_markup || !text.contains("<img"), "{suffix}");
            assert!(suffix != "folded" || text.lines().all(|line| line.matches(';').count() <= 2));
        }
    }
}

/// What belongs to the capture and not to the process is not told of the process.
#[test]
fn one_process_is_told_of_alone() {
    let one = OneProcess::new(prefork(), 701).unwrap();
    for (suffix, text) in all_reports(&one, View::HighWaterMark) {
        assert!(!text.contains("picture.png"), "{suffix}");
        assert!(!text.contains("(pid 70"), "{suffix}");
        assert!(!text.contains("added up") || suffix.ends_with("html"), "{suffix}");
    }
    let metadata: CaptureMetadata = one.metadata().unwrap();
    assert_eq!((metadata.processes.len(), metadata.other_processes.len()), (1, 3));
}
