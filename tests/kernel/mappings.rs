//! Pages that a program maps, unmaps and moves by itself.

use memray_tests::{Capture, Python, Recording, Script, capture::Row};

/// `1p` is a page. Rows of one mapping that was cut come together: first what lives, then what has ended.
const EXPECTED: &[&str] = &[
    "1234577 mmap freed: <module>@of_the_module > of_the_module@module",
    "1234579 mmap live: <module>@of_the_module > of_the_module@module kept",
    "401p mmap freed: <module>@raw > raw@raw",
    "409p mmap live: <module>@raw > raw@shared > map_pages@mmap",
    "100p mmap live: <module>@partly > partly@partly > map_pages@mmap",
    "700p mmap live: <module>@partly > partly@partly > map_pages@mmap",
    "200p mmap freed: <module>@partly > partly@partly > map_pages@mmap",
    "418p mmap live: <module>@partly > partly@one byte > map_pages@mmap",
    "1p mmap freed: <module>@partly > partly@one byte > map_pages@mmap",
    "400p mmap live: <module>@partly > partly@from the end > map_pages@mmap",
    "21p mmap freed: <module>@partly > partly@from the end > map_pages@mmap",
    "4p mmap freed: <module>@partly > partly@around > map_pages@mmap",
    "4p mmap freed: <module>@partly > partly@around > map_pages@mmap",
    "2p mmap live: <module>@partly > partly@left > map_at@fixed > map_pages@mmap",
    "2p mmap freed: <module>@partly > partly@left > map_at@fixed > map_pages@mmap",
    "2p mmap live: <module>@partly > partly@right > map_at@fixed > map_pages@mmap",
    "2p mmap freed: <module>@partly > partly@right > map_at@fixed > map_pages@mmap",
    "50p mmap live: <module>@over_another > over_another@below > map_pages@mmap",
    "349p mmap live: <module>@over_another > over_another@below > map_pages@mmap",
    "101p mmap freed: <module>@over_another > over_another@below > map_pages@mmap",
    "101p mmap live: <module>@over_another > over_another@above > map_at@fixed > map_pages@mmap",
    "11p mmap live: <module>@over_another > over_another@taken back > map_pages@mmap",
    "300p mmap live: <module>@over_another > over_another@taken back > map_pages@mmap",
    "120p mmap freed: <module>@over_another > over_another@taken back > map_pages@mmap",
    "701p mmap freed: <module>@moved > moved@before growth > map_pages@mmap",
    "1403p mremap live: <module>@moved > moved@growth > move@mremap",
    "709p mmap freed: <module>@moved > moved@before shrinking > map_pages@mmap",
    "353p mremap live: <module>@moved > moved@shrinking > move@mremap",
    "719p mmap live: <module>@moved > moved@immovable > map_pages@mmap",
    "307p mmap freed: <module>@moved > moved@first > map_pages@mmap",
    "4p mmap live: <module>@moved > moved@second > map_pages@mmap",
    "307p mmap freed: <module>@moved > moved@second > map_pages@mmap",
    "307p mremap live: <module>@moved > moved@onto the second > move@mremap",
    "727p mmap freed: <module>@moved > moved@before growth and end > map_pages@mmap",
    "1453p mremap freed: <module>@moved > moved@growth and end > move@mremap",
];

/// What the functions of the script map; arenas of pymalloc can be made anywhere, and no mapping has their size.
fn is_of_script(capture: &Capture, row: &Row) -> bool {
    const ARENAS: [i64; 2] = [256 << 10, 1 << 20];
    let stack = capture.stack(row.stack_id);
    let file = capture.script.as_ref().unwrap().path.to_str().unwrap();
    let is_inside = stack.len() > 1 && stack.iter().all(|frame| frame.file == file);
    is_inside && row.allocator.starts_with('m') && row.allocator != "malloc" && !ARENAS.contains(&row.size)
}

fn in_pages(text: &str) -> String {
    let (size, rest) = text.split_once(' ').expect("a row begins with its size");
    match size.parse::<i64>() {
        Ok(bytes) if bytes % 4096 == 0 => format!("{}p {rest}", bytes / 4096),
        _ => text.to_owned(),
    }
}

#[test]
fn pages_mapped_and_moved() {
    let script = Script::new("mappings.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).argument("pages").run();
        let rows: Vec<String> = capture
            .all_rows()
            .iter()
            .filter(|row| is_of_script(&capture, row))
            .map(|row| in_pages(&capture.row_text(row)))
            .collect();
        capture.expect_lines(&rows, EXPECTED);

        // However a mapping is cut, it was made once.
        let calls = capture.query(
            "SELECT alloc_count, live_count FROM sites JOIN locations USING (stack_id)
             WHERE alloc_bytes = 1000 * 4096",
        );
        assert_eq!(calls, ["1 1"], "{}", capture.name());
    });
}

#[test]
fn stacks_of_threads_are_no_heap() {
    let script = Script::new("mappings.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).argument("threads").run();
        let stack_bytes = 77 << 20;
        let rows = capture.rows(|size| size >= stack_bytes || size == 733 * 4096);
        let sizes: Vec<_> = rows.iter().map(|row| row.size).collect();
        assert_eq!(sizes, [733 * 4096; 3], "{}", capture.name());
    });
}
