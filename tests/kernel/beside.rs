//! What a program maps that is no heap, and what becomes heap without an allocator or mmap.

use memray_tests::{Capture, Python, Recording, Script};

/// Rows of `mappings`; `1p` is a page. Pieces of one mapping come together: first what is there, then what has ended.
const MAPPINGS: &[&str] = &[
    "601p reserved: kinds@reserved",
    "607p reserved: kinds@reserved and shared",
    "37p file: kinds@private file",
    "41p file: kinds@writable private file",
    "43p shared_file: kinds@shared file",
    "613p stack: kinds@stack",
    "47p file ended: kinds@gone file",
    "100p reserved: committed@reservation",
    "600p reserved: committed@reservation",
    "100p reserved ended: committed@reservation",
    "200p reserved ended: committed@reservation",
    "402p reserved: committed@raw reservation",
    "101p reserved ended: committed@raw reservation",
    "406p reserved: committed@keyed reservation",
    "103p reserved ended: committed@keyed reservation",
    "521p reserved: committed@refused reservation",
    "53p file: committed@file made writable",
    "50p reserved: over@under all",
    "100p reserved: over@under all",
    "280p reserved: over@under all",
    "20p reserved ended: over@under all",
    "50p reserved ended: over@under all",
    "5p file: over@file over reserved",
    "10p file: over@file over reserved",
    "5p file ended: over@file over reserved",
    "10p reserved: over@reserved over heap",
    "5p shared_file: over@shared over private",
    "10p reserved ended: holes@row of kinds",
    "10p reserved ended: holes@row of kinds",
    "10p reserved ended: holes@row of kinds",
    "10p reserved ended: holes@row of kinds",
    "5p file: holes@first ten",
    "5p file ended: holes@first ten",
    "5p stack: holes@last ten",
    "5p stack ended: holes@last ten",
    "617p reserved ended: moved@before its move",
    "1237p reserved: moved@moved",
];

/// Rows of the heap.
const HEAP: &[&str] = &[
    "150p mprotect live: <module>@way > committed@commit > usable@mprotect",
    "50p mprotect freed: <module>@way > committed@commit > usable@mprotect",
    "101p mprotect live: <module>@way > committed@raw commit",
    "103p mprotect live: <module>@way > committed@keyed commit",
    "40p mmap live: <module>@way > over@heap over reserved > map_pages@mmap",
    "10p mmap freed: <module>@way > over@heap over reserved > map_pages@mmap",
    "10p mmap freed: <module>@way > holes@second ten > map_pages@mmap",
    "1233576 brk live: <module>@way > end_of_data@grown",
    "1000 brk freed: <module>@way > end_of_data@grown",
    "1 brk freed: <module>@way > end_of_data@grown",
    "234571 brk freed: <module>@way > end_of_data@grown again",
    "333331 brk live: <module>@way > end_of_data@raw",
];

fn in_pages(bytes: i64) -> String {
    if bytes % 4096 == 0 {
        format!("{}p", bytes / 4096)
    } else {
        bytes.to_string()
    }
}

/// `size kind [ended]: function@line` of what the functions of the script map; the file is mapped through others too.
fn mappings(capture: &Capture) -> Vec<String> {
    let file = capture.script.as_ref().unwrap().path.to_str().unwrap();
    let rows = capture.query(
        "SELECT m.stack_id, m.size, m.kind, m.unmapped_ts IS NOT NULL FROM mappings m
         ORDER BY m.mapped_ts, m.unmapped_ts IS NOT NULL, m.size",
    );
    let mut lines = Vec::new();
    for row in &rows {
        let words: Vec<&str> = row.split(' ').collect();
        let stack_id = words[0].parse().unwrap();
        let stack = capture.stack(stack_id);
        if stack.len() < 2 || stack.iter().any(|frame| frame.file != file) {
            continue;
        }
        let text = capture.stack_text(stack_id);
        let place = text.split(" > ").nth(1).unwrap();
        let ended = if words[3] == "1" { " ended" } else { "" };
        let size = in_pages(words[1].parse().unwrap());
        lines.push(format!("{size} {}{ended}: {place}", words[2]));
    }
    lines
}

fn heap(capture: &Capture) -> Vec<String> {
    let file = capture.script.as_ref().unwrap().path.to_str().unwrap();
    let is_of_script = |stack_id| {
        let stack = capture.stack(stack_id);
        stack.len() > 1 && stack.iter().all(|frame| frame.file == file)
    };
    let mut rows = capture.all_rows();
    // Arenas of pymalloc can be made anywhere, and no mapping of the script has their size.
    rows.retain(|row| {
        let is_ranged = ["mmap", "mprotect", "brk"].contains(&row.allocator.as_str());
        is_ranged && ![256 << 10, 1 << 20].contains(&row.size) && is_of_script(row.stack_id)
    });
    let text = |row| {
        let text = capture.row_text(row);
        let (size, rest) = text.split_once(' ').unwrap();
        format!("{} {rest}", in_pages(size.parse().unwrap()))
    };
    rows.iter().map(text).collect()
}

#[test]
fn pages_of_every_kind() {
    let script = Script::new("beside.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).argument("pages").run();
        capture.expect_lines(&mappings(&capture), MAPPINGS);
        capture.expect_lines(&heap(&capture), HEAP);

        // However a mapping is cut or moved, each call made one.
        let counts = capture.query(
            "SELECT name, SUM(alloc_count), SUM(live_count) FROM sites JOIN allocators USING (allocator_id)
             WHERE name IN ('brk', 'mprotect') GROUP BY name ORDER BY name",
        );
        assert_eq!(counts, ["brk 3 2", "mprotect 3 3"], "{}", capture.name());
        let stacks =
            capture.query("SELECT kind, live_bytes, highest_bytes FROM mapped_memory WHERE kind = 'stack'");
        let expected = format!("stack {} {}", (613 + 5) * 4096, (613 + 10) * 4096);
        assert_eq!(stacks, [expected], "{}", capture.name());
    });
}

/// Of three threads that are there at one time. glibc maps a stack with its guard page in it or before it, by version, and
/// keeps some for threads to come.
#[test]
fn stacks_of_threads() {
    let script = Script::new("beside.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).argument("threads").run();
        let name = capture.name();
        let stacks = capture.query("SELECT size FROM mappings WHERE kind = 'stack'");
        let bytes: i64 = 77 << 20;
        let known = [bytes, bytes + 4096].map(|bytes| vec![bytes.to_string(); 3]);
        assert!(known.contains(&stacks), "{name}: {stacks:?}");
        let totals = capture
            .query("SELECT map_count, highest_bytes - map_bytes FROM mapping_totals WHERE kind = 'stack'");
        assert_eq!(totals, ["3 0"], "{name}");

        let usable = "SELECT size FROM allocations JOIN allocators USING (allocator_id)
                      WHERE name = 'mprotect' OR size >= 77 << 20";
        assert!(
            capture.query(usable).is_empty(),
            "{name}: {:?}",
            capture.query(usable)
        );
    });
}
