//! Captures whose rows contradict each other: every report is written, ends, and keeps the sums.

use proptest::prelude::*;

use super::*;
use crate::model::{
    Allocator, FrameKind, FrameRow, LossRow, SiteFigures, SizeHistogramRow, StackRow, StateRow, TimelineRow,
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

proptest! {
    // Each case renders every report.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_report_is_written(
        frames in frame_rows(),
        stacks in stack_rows(),
        sites in site_rows(),
        (timeline, histogram, state) in other_rows(),
    ) {
        let mut source = CaptureBuilder::new();
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
