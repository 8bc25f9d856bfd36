//! Reports of a real recording, each against SQL over the same file: nothing is lost when threads, allocators or lines are
//! taken together, nothing is cut off, and figures of a thread are that thread's.
//!
//! `csv` and `speedscope`, whose order memray's tests look at, do not exist yet.

use std::{collections::BTreeMap, fs, path::Path};

use memray_tests::{Capture, Recording, Script, behavior::usual_python, memray};
use serde_json::Value;

use super::extension;

/// What must not act in a page, as an argument of the program.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'";

/// Thread (empty where merged), allocator, function, file, line: bytes and allocations.
type Figures = BTreeMap<(String, String, String, String, i64), (i64, i64)>;

fn recorded() -> Capture {
    let extension = extension();
    let script = Script::new("conformance_reports.py");
    Recording::script(usual_python(), &script)
        .argument(extension.folder())
        .argument(HOSTILE)
        .run()
}

/// What a report says on standard output, or writes.
fn report(capture: &Capture, folder: &Path, words: &str) -> String {
    let mut command = memray(folder);
    command.args(words.split(' '));
    let is_file = !words.starts_with("summary");
    if is_file {
        command.args(["--force", "--output", "report"]);
    }
    let output = command.arg(&capture.path).output().unwrap();
    assert!(output.status.success(), "{words}: {output:?}");
    if is_file {
        return fs::read_to_string(folder.join("report")).unwrap();
    }
    String::from_utf8(output.stdout).unwrap()
}

/// The data in a page.
fn data(page: &str) -> Value {
    let text = page.split_once("id=\"data\">").unwrap().1;
    serde_json::from_str(text.split_once("</script>").unwrap().0).unwrap()
}

fn column(rows: &Value, name: &str) -> Vec<i64> {
    let values = rows[name]
        .as_array()
        .unwrap_or_else(|| panic!("no column {name}"));
    values.iter().map(|value| value.as_i64().unwrap()).collect()
}

fn text(strings: &Value, index: i64) -> String {
    strings[usize::try_from(index).unwrap()]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The table of a page. Names of threads are without their numbers.
fn table(page: &str) -> Figures {
    let data = data(page);
    let (rows, strings) = (&data["rows"], &data["strings"]);
    let columns = ["allocator", "function", "file", "line", "bytes", "count"].map(|name| column(rows, name));
    let [allocators, functions, files, lines, bytes, counts] = columns;
    let threads = rows.get("thread").map(|_| column(rows, "thread"));
    let mut figures = Figures::new();
    for row in 0..lines.len() {
        let thread = threads
            .as_ref()
            .map_or_else(String::new, |threads| text(strings, threads[row]));
        let key = (
            thread,
            text(strings, allocators[row]),
            text(strings, functions[row]),
            text(strings, files[row]),
            lines[row],
        );
        let former = figures.insert(key.clone(), (bytes[row], counts[row]));
        assert_eq!(former, None, "two rows of {key:?}");
    }
    figures
}

/// The same by SQL; `bytes` and `count` are what the view sums up, `thread` is how a thread is called.
fn by_sql(capture: &Capture, sites: &str, thread: &str) -> Figures {
    let sql = format!(
        "SELECT json_array({thread}, a.name, l.function, l.file, l.line, SUM(s.bytes), SUM(s.count))
         FROM ({sites}) s JOIN threads h USING (thread_id) JOIN allocators a USING (allocator_id)
         JOIN locations l USING (stack_id) WHERE s.count > 0 OR s.bytes > 0
         GROUP BY {thread}, a.name, l.function, l.file, l.line"
    );
    let rows = capture.query(&sql);
    rows.iter()
        .map(|row| {
            let (thread, allocator, function, file, line, bytes, count) = serde_json::from_str(row).unwrap();
            ((thread, allocator, function, file, line), (bytes, count))
        })
        .collect()
}

const PEAK: &str = "SELECT stack_id, thread_id, allocator_id, bytes, allocations AS count FROM site_peaks";
const LEAKS: &str =
    "SELECT stack_id, thread_id, allocator_id, live_bytes AS bytes, live_count AS count FROM sites";
const TEMPORARY: &str =
    "SELECT stack_id, thread_id, allocator_id, temp_bytes AS bytes, temp_count AS count FROM sites";
const WIDER: &str = "SELECT stack_id, thread_id, allocator_id, SUM(size) AS bytes, COUNT(*) AS count
    FROM freed_allocations WHERE allocations_between <= 7 GROUP BY stack_id, thread_id, allocator_id";

const VIEWS: &[(&str, &str)] = &[
    ("", PEAK),
    (" --leaks", LEAKS),
    (" --temporary-allocations", TEMPORARY),
    (" --temporary-allocation-threshold=7", WIDER),
];

fn check_tables(capture: &Capture, folder: &Path) {
    for (option, sites) in VIEWS {
        let merged = table(&report(capture, folder, &format!("table{option}")));
        assert_eq!(merged, by_sql(capture, sites, "''"), "table{option}");
        assert!(!merged.is_empty(), "table{option}");
    }
    // How the page calls a thread whose name was missed is not known here: rows are compared without.
    let of_threads = |figures: Figures| {
        let mut rows: Vec<_> = figures
            .into_iter()
            .map(|((_, allocator, function, file, line), figures)| (allocator, function, file, line, figures))
            .collect();
        rows.sort();
        rows
    };
    let split = of_threads(table(&report(capture, folder, "table --split-threads")));
    assert_eq!(
        split,
        of_threads(by_sql(capture, PEAK, "CAST(h.thread_id AS TEXT)"))
    );
    let shared: Vec<(i64, i64)> = split
        .iter()
        .filter(|(_, function, ..)| function == "shared")
        .map(|(.., (bytes, count))| (bytes >> 20, *count))
        .collect();
    assert_eq!(shared, [(2, 2), (24, 4)], "two threads in one function");
}

/// The line that allocates in three ways has a row for each.
fn check_mixed(capture: &Capture, folder: &Path) {
    let line = i64::from(capture.script.as_ref().unwrap().line("mixed"));
    let merged = table(&report(capture, folder, "table"));
    let rows: Vec<String> = merged
        .iter()
        .filter(|((_, _, function, _, at), _)| function == "allocate" && *at == line)
        .map(|((_, allocator, ..), (bytes, count))| format!("{allocator} {} {count}", bytes >> 20))
        .collect();
    assert_eq!(rows, ["mmap 7 1", "posix_memalign 5 1", "valloc 27 3"]);
}

/// Own figures of nodes by place, without threads and allocators, are those of SQL.
fn check_flamegraph(capture: &Capture, folder: &Path) {
    const IMPORT_SYSTEM: i64 = 2;
    for (option, sites) in VIEWS {
        let data = data(&report(capture, folder, &format!("flamegraph{option}")));
        let (nodes, frames, strings) = (&data["nodes"], &data["frames"], &data["strings"]);
        let [node_frames, bytes, counts] = ["frame", "bytes", "count"].map(|name| column(nodes, name));
        let [functions, files, lines, flags] =
            ["function", "file", "line", "flags"].map(|name| column(frames, name));
        let mut found = BTreeMap::<_, (i64, i64)>::new();
        for node in 1..bytes.len() {
            let frame = usize::try_from(node_frames[node]).unwrap();
            let file = text(strings, files[frame]);
            let is_import = file.starts_with("<frozen importlib");
            assert_eq!(flags[frame] & IMPORT_SYSTEM != 0, is_import, "{file}");
            let place = (text(strings, functions[frame]), file, lines[frame]);
            let figures = found.entry(place).or_default();
            *figures = (figures.0 + bytes[node], figures.1 + counts[node]);
        }
        found.retain(|_, figures| *figures != (0, 0));
        let mut expected = BTreeMap::<_, (i64, i64)>::new();
        for ((_, _, function, file, line), (bytes, count)) in by_sql(capture, sites, "''") {
            let figures = expected.entry((function, file, line)).or_default();
            *figures = (figures.0 + bytes, figures.1 + count);
        }
        assert_eq!(found, expected, "flamegraph{option}");
    }
}

/// Every function of every stack has a row, and a recursive one counts what is below it once.
fn check_summary(capture: &Capture, folder: &Path) {
    let summary = report(capture, folder, "summary --max-rows 100000");
    let rows: BTreeMap<&str, Vec<&str>> = summary
        .lines()
        .filter(|line| line.starts_with('│'))
        .skip(1)
        .map(|line| {
            let mut cells = line.trim_matches('│').split('┆').map(str::trim);
            (cells.next().unwrap(), cells.collect())
        })
        .collect();
    let expected = capture.query(
        "WITH RECURSIVE up(node) AS (SELECT stack_id FROM site_peaks WHERE allocations > 0
           UNION SELECT s.parent_id FROM up JOIN stacks s ON s.stack_id = up.node WHERE s.parent_id IS NOT NULL)
         SELECT DISTINCT CASE WHEN file = '' THEN function ELSE function || ' at ' || file END
         FROM up JOIN locations ON stack_id = node ORDER BY 1",
    );
    let mut found: Vec<&str> = rows.keys().copied().collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    let file = capture.script.as_ref().unwrap().path.display();
    for number in 0..40 {
        let row = &rows[&*format!("small_{number} at <string>")];
        assert_eq!(row[4], "1", "{row:?}");
    }
    let recursive = &rows[&*format!("recursive at {file}")];
    assert_eq!(
        (recursive[0], recursive[2], recursive[4]),
        ("7.340MB", "7.340MB", "7")
    );
}

fn check_stats(capture: &Capture, folder: &Path) {
    let stats: Value = serde_json::from_str(&report(capture, folder, "stats --json")).unwrap();
    let number = |sql: &str| capture.number(sql).unwrap();
    for (key, sql) in [
        ("total_num_allocations", "SELECT SUM(alloc_count) FROM sites"),
        ("total_bytes_allocated", "SELECT SUM(alloc_bytes) FROM sites"),
    ] {
        assert_eq!(stats[key].as_i64(), Some(number(sql)), "{key}");
    }
    for bin in stats["allocation_size_histogram"].as_array().unwrap() {
        let [from, to, count] = ["min_bytes", "max_bytes", "count"].map(|key| bin[key].as_i64().unwrap());
        // The capture's own classes: of mappings that were cut the pieces have other sizes than the call.
        let sql = format!(
            "SELECT ifnull(SUM(alloc_count), 0) FROM size_histogram WHERE size_from BETWEEN {from} AND {to}"
        );
        assert_eq!(number(&sql), count, "{from} to {to}");
    }
    let allocators = capture.query(
        "SELECT upper(name), SUM(alloc_count) FROM sites JOIN allocators USING (allocator_id) GROUP BY 1 ORDER BY 1",
    );
    let found: BTreeMap<String, i64> =
        serde_json::from_value(stats["allocator_type_distribution"].clone()).unwrap();
    let found: Vec<String> = found
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    assert_eq!(found, allocators);
    let largest = stats["top_allocations_by_size"][0]["size"].as_i64().unwrap();
    let expected = number(
        "SELECT MAX(bytes) FROM (SELECT SUM(alloc_bytes) AS bytes FROM sites JOIN locations USING (stack_id)
         GROUP BY function, file, line)",
    );
    assert_eq!(largest, expected);
    let command_line = stats["metadata"]["command_line"].as_str().unwrap();
    assert!(
        command_line.contains("</script><script>alert(1)"),
        "{command_line}"
    );
}

/// The command line is in each page, as text.
fn check_escapes(capture: &Capture, folder: &Path) {
    for words in ["table", "flamegraph"] {
        let page = report(capture, folder, words);
        for hostile in ["<script>alert", "<img", "</script><script>"] {
            assert!(!page.contains(hostile), "{words}: {hostile}");
        }
        let text = data(&page)["meta"].to_string();
        assert!(text.contains("</script><script>alert(1)"), "{words}: {text}");
    }
}

#[test]
fn against_sql() {
    let capture = recorded();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    check_tables(&capture, folder);
    check_mixed(&capture, folder);
    check_flamegraph(&capture, folder);
    check_summary(&capture, folder);
    check_stats(&capture, folder);
    check_escapes(&capture, folder);
}
