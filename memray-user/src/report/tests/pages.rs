//! The HTML reports: their data, and that nothing of the traced program can act in them.

use super::*;
use crate::report::html::sha256_base64;

fn flamegraph(source: &CaptureBuilder, view: View) -> String {
    render(source, |source, output| {
        write_flamegraph(source, FlamegraphSettings { view }, output)
    })
}

fn table(source: &CaptureBuilder, view: View, threads: Threads) -> String {
    render(source, |source, output| {
        write_table(source, TableSettings { view, threads }, output)
    })
}

/// What lies between two texts.
fn between<'page>(page: &'page str, start: &str, end: &str) -> &'page str {
    page.split_once(start).unwrap().1.split_once(end).unwrap().0
}

fn data(page: &str) -> serde_json::Value {
    serde_json::from_str(between(page, "id=\"data\">", "</script>")).unwrap()
}

fn check_data(name: &str, page: &str) {
    let text = serde_json::to_string(&data(page)).unwrap();
    let text = text
        .replace(&"long_name_".repeat(500), "<5,000 letters>")
        .replace("],\"", "],\n\"")
        .replace("},{", "},\n{");
    insta::assert_snapshot!(name, text);
}

#[test]
fn data_of_every_capture() {
    for (name, source) in captures() {
        check_data(
            &format!("flamegraph_{name}"),
            &flamegraph(&source, View::HighWaterMark),
        );
        check_data(
            &format!("table_{name}"),
            &table(&source, View::HighWaterMark, Threads::Merged),
        );
    }
}

#[test]
fn data_of_other_views_and_threads() {
    check_data("flamegraph_leaks", &flamegraph(&small(), View::Leaks));
    check_data(
        "flamegraph_temporary",
        &flamegraph(&small(), View::Temporary { threshold: 1 }),
    );
    let mut source = small();
    let work = source.sites[3];
    source.metadata.threads.push(crate::model::ThreadRow {
        thread_id: 2,
        process_id: 1,
        tid: 4250,
        name: String::new(),
    });
    source.sites.push(crate::model::SiteFigures {
        thread_id: 2,
        bytes: 7,
        count: 1,
        ..work
    });
    source.sites.push(crate::model::SiteFigures {
        thread_id: 99,
        bytes: 5,
        count: 1,
        ..work
    });
    check_data(
        "table_split",
        &table(&source, View::HighWaterMark, Threads::Split),
    );
    let merged = data(&table(&source, View::HighWaterMark, Threads::Merged));
    assert_eq!(merged["rows"]["bytes"][0], 18_000_012);
}

#[test]
fn own_figures_add_up_to_the_view() {
    for (_, source) in captures() {
        for view in VIEWS {
            let whole: u64 = source.sites(view).unwrap().iter().map(|site| site.bytes).sum();
            for (page, part) in [
                (flamegraph(&source, view), "nodes"),
                (table(&source, view, Threads::Split), "rows"),
            ] {
                let bytes = data(&page)[part]["bytes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|bytes| bytes.as_u64().unwrap())
                    .sum::<u64>();
                assert_eq!(bytes, whole);
            }
        }
    }
}

#[test]
fn names_cannot_leave_their_block() {
    for page in [
        flamegraph(&hostile(), View::HighWaterMark),
        table(&hostile(), View::Leaks, Threads::Split),
    ] {
        assert_eq!(page.matches("</script").count(), 2);
        assert_eq!(page.matches("<script").count(), 2);
        assert!(!page.contains("<img") && !page.contains("<b>") && !page.contains("<!--"));
        assert!(
            !page
                .chars()
                .any(|character| escape::is_control(character) && character != '\n')
        );
        let names = data(&page)["strings"].to_string();
        assert!(names.contains("esc\\u001b]0;owned\\u0007") && names.contains(&"long_name_".repeat(500)));
    }
}

#[test]
fn the_policy_allows_the_one_script_and_no_network() {
    for page in [
        flamegraph(&small(), View::HighWaterMark),
        table(&small(), View::HighWaterMark, Threads::Merged),
    ] {
        let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
        let script = between(&page, "</script>\n<script>", "</script>");
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(policy.contains(&format!("script-src 'sha256-{}';", sha256_base64(script))));
        assert!(!policy.contains("unsafe-eval") && !policy.contains("http"));
        // The one address is the name of the SVG vocabulary, which nothing loads.
        assert_eq!(
            page.matches("http").count(),
            page.matches("http-equiv").count() + page.matches("http://www.w3.org/2000/svg").count()
        );
    }
}

#[test]
fn equal_captures_give_equal_pages() {
    assert_eq!(
        flamegraph(&realistic(300), View::Leaks),
        flamegraph(&realistic(300), View::Leaks)
    );
    assert_eq!(
        table(&realistic(300), View::Leaks, Threads::Split),
        table(&realistic(300), View::Leaks, Threads::Split)
    );
}
