//! Captures whose rows contradict each other: every report is written, ends, and keeps the sums.

use proptest::prelude::*;

use super::*;
use crate::{
    analysis::OneProcess,
    model::{
        Allocator, FrameKind, FrameRow, LossRow, ProcessOrigin, ProcessRow, SiteFigures, SizeHistogramRow,
        StackRow, StateRow, ThreadRow, TimelineRow,
    },
};

fn frame_rows() -> impl Strategy<Value = Vec<FrameRow>> {
    let kinds = prop_oneof![
        Just(FrameKind::Python),
        Just(FrameKind::Native),
        Just(FrameKind::Marker)
    ];
    let row = (
        0_u32..8,
        "\\PC{0,6}|<frozen runpy>",
        "[a-z/.;]{0,12}",
        any::<u32>(),
        kinds,
    );
    prop::collection::vec(row, 0..8).prop_map(|rows| {
        rows.into_iter()
            .map(|(frame_id, function, file, line, kind)| FrameRow {
                frame_id,
                function,
                file,
                line,
                kind,
            })
            .collect()
    })
}

/// Identifiers repeat, run backwards, refer to themselves, to later rows and to none.
fn stack_rows() -> impl Strategy<Value = Vec<StackRow>> {
    let row = (0_u32..10, prop::option::of(0_u32..10), 0_u32..10, any::<u32>());
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        rows.into_iter()
            .map(|(stack_id, parent_id, frame_id, depth)| StackRow {
                stack_id,
                parent_id,
                frame_id,
                depth,
            })
            .collect()
    })
}

fn site_rows() -> impl Strategy<Value = Vec<SiteFigures>> {
    let bytes = prop_oneof![0_u64..5000, Just(u64::MAX)];
    let allocator = prop::sample::select(Allocator::ALL.to_vec());
    let row = (0_u32..12, 0_u32..3, allocator, bytes, 0_u64..4);
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        rows.into_iter()
            .map(|(stack_id, thread_id, allocator, bytes, count)| SiteFigures {
                stack_id,
                thread_id,
                allocator,
                bytes,
                count,
            })
            .collect()
    })
}

fn other_rows() -> impl Strategy<Value = (Vec<TimelineRow>, Vec<SizeHistogramRow>, StateRow)> {
    let point = (0_u32..3, any::<[u64; 3]>(), any::<Option<u64>>());
    let size = (any::<[u64; 2]>(), 0_u64..3);
    (
        prop::collection::vec(point, 0..6),
        prop::collection::vec(size, 0..6),
        any::<[u64; 6]>(),
    )
        .prop_map(
            |(points, sizes, [alloc_count, alloc_bytes, peak_bytes, peak_ts, min_size, max_size])| {
                let points =
                    points
                        .into_iter()
                        .map(
                            |(process_id, [ts, live_bytes, max_bytes], rss_bytes)| TimelineRow {
                                process_id,
                                ts,
                                live_bytes,
                                max_bytes,
                                rss_bytes,
                                ..TimelineRow::default()
                            },
                        );
                let sizes = sizes
                    .into_iter()
                    .map(|([size_from, size_to], alloc_count)| SizeHistogramRow {
                        process_id: 1,
                        size_from,
                        size_to,
                        allocator: Allocator::Malloc,
                        alloc_count,
                        alloc_bytes: alloc_count,
                    });
                let state = StateRow {
                    alloc_count,
                    alloc_bytes,
                    peak_bytes,
                    peak_ts,
                    min_size,
                    max_size,
                    ..StateRow::default()
                };
                (points.collect(), sizes.collect(), state)
            },
        )
}

/// Processes and threads, whose identifiers repeat and refer to none.
fn process_rows() -> impl Strategy<Value = (Vec<ProcessRow>, Vec<ThreadRow>)> {
    let origin = prop::sample::select(ProcessOrigin::ALL.to_vec());
    let process = (
        [0_u32..4, 0_u32..3],
        prop::option::of(0_u32..4),
        "\\PC{0,80}",
        any::<(u64, Option<u64>, Option<i32>, Option<u64>)>(),
        origin,
    );
    let processes = prop::collection::vec(process, 0..6).prop_map(|rows| {
        rows.into_iter()
            .map(
                |([process_id, pid], parent_process_id, command_line, times, origin)| ProcessRow {
                    process_id,
                    pid,
                    parent_process_id,
                    command_line,
                    started_ns: times.0,
                    ended_ns: times.1,
                    exit_status: times.2,
                    script_started_ns: times.3,
                    origin,
                    ..ProcessRow::default()
                },
            )
            .collect()
    });
    let threads = prop::collection::vec([0_u32..3, 0_u32..4], 0..5).prop_map(|rows| {
        rows.into_iter()
            .map(|[thread_id, process_id]| ThreadRow {
                thread_id,
                process_id,
                tid: 1,
                name: String::new(),
            })
            .collect()
    });
    (processes, threads)
}

proptest! {
    // Each case renders every report.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_report_is_written(
        frames in frame_rows(),
        stacks in stack_rows(),
        sites in site_rows(),
        (timeline, histogram, state) in other_rows(),
        (processes, threads) in process_rows(),
        started_at_ms in any::<u64>(),
    ) {
        let mut source = CaptureBuilder::new();
        source.metadata.started_at_ms = started_at_ms;
        (source.metadata.processes, source.metadata.threads) = (processes, threads);
        (source.frames, source.stacks, source.sites) = (frames, stacks, sites);
        (source.timeline, source.histogram) = (timeline, histogram);
        source.metadata.states = vec![state, state];
        source.losses.push(LossRow {
            process_id: None,
            reason: "x".to_owned(),
            kind: "lost".to_owned(),
            events: u64::MAX,
            bytes: u64::MAX,
            description: String::new(),
        });
        source.losses.push(source.losses[0].clone());
        for (_, text) in all_reports(&source, View::All) {
            prop_assert!(text.is_empty() || text.ends_with('\n') || text.ends_with('>'));
        }
        if let Ok(one) = OneProcess::new(source.clone(), 1) {
            all_reports(&one, View::HighWaterMark);
        }
        let whole = source.sites.iter().fold(0_u64, |sum, site| sum.saturating_add(site.bytes));
        let page = render(&source, |source, output| {
            write_flamegraph(source, FlamegraphSettings { view: View::All }, output)
        });
        let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let nodes = data["nodes"]["bytes"].as_array().unwrap();
        prop_assert_eq!(nodes.iter().fold(0_u64, |sum, bytes| sum.saturating_add(bytes.as_u64().unwrap())), whole);
    }
}
