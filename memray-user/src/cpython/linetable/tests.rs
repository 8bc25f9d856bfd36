use proptest::prelude::*;

use super::*;

const V3_9: PyVersion = PyVersion::new(3, 9, 18);
const V3_10: PyVersion = PyVersion::new(3, 10, 13);
const V3_12: PyVersion = PyVersion::new(3, 12, 1);

fn marked(version: PyVersion, table: &[u8], first_line: i32, offset: u32) -> Option<i32> {
    let marks = marks(version, table, first_line);
    assert!(marks.len() <= table.len() / RANGES_TO_MARK);
    line(version, table, first_line, &marks, offset)
}

/// Runs of equal lines, as (length in units of 2 bytes, line).
fn check(version: PyVersion, table: &[u8], first_line: i32, expect: &[(u32, Option<i32>)]) {
    let decoded = LineTable::decode(version, table, first_line);
    let mut offset = 0;
    for &(units, expected) in expect {
        for _ in 0..units {
            assert_eq!(
                decoded.line(offset),
                expected,
                "decoded, offset {offset} of {table:?}"
            );
            assert_eq!(
                marked(version, table, first_line, offset),
                expected,
                "offset {offset} of {table:?}"
            );
            offset += 2;
        }
    }
}

#[test]
fn lnotab() {
    // The example of Objects/lnotab_notes.txt: offsets 0, 6, 50, 350, 361 at lines 1, 2, 7, 207, 208.
    let table = [6, 1, 44, 5, 255, 0, 45, 127, 0, 73, 11, 1];
    let offset_and_line = [
        (0, 1),
        (5, 1),
        (6, 2),
        (49, 2),
        (50, 7),
        (349, 7),
        (350, 207),
        (360, 207),
        (361, 208),
    ];
    let decoded = LineTable::decode(V3_9, &table, 1);
    for (offset, line) in offset_and_line {
        assert_eq!(decoded.line(offset), Some(line), "offset {offset}");
    }
    // The last line goes on: the table does not know where the code ends.
    assert_eq!(decoded.line(1 << 30), Some(208));
    check(V3_9, &[], 7, &[(3, Some(7))]);
    check(
        V3_9,
        &[2, 1, 2, 0xfe],
        7,
        &[(1, Some(7)), (1, Some(8)), (1, Some(6))],
    );
    check(V3_9, &[2, 1, 2], 7, &[(1, Some(7)), (4, Some(8))]);
}

#[test]
fn deltas() {
    // A range longer than 254 bytes, an instruction without a line, a step back.
    let table = [254, 1, 2, 0, 2, 0x80, 4, 0xff];
    check(
        V3_10,
        &table,
        9,
        &[(128, Some(10)), (1, None), (2, Some(9)), (1, None)],
    );
    check(V3_10, &[], 9, &[(2, None)]);
}

#[test]
fn locations() {
    let table = [
        0x80 | (15 << 3), // one unit without a line
        0x80 | (13 << 3) | 1,
        2 << 1, // two units, 2 lines on
        0x80 | (3 << 3),
        0x12, // the same line, short columns
        0x80 | (11 << 3) | 2,
        1,
        9, // three units, 1 line on
        0x80 | (14 << 3),
        0x43,
        0x02,
        0,
        0,
        0, // one unit, -65 in two groups
    ];
    let expect = [
        (1, None),
        (2, Some(102)),
        (1, Some(102)),
        (3, Some(103)),
        (1, Some(103 - 65)),
        (1, None),
    ];
    check(V3_12, &table, 100, &expect);
}

#[test]
fn damaged_locations_end_the_table() {
    check(
        V3_12,
        &[0x80 | (10 << 3), 1, 1, 0x12, 0x80],
        5,
        &[(1, Some(5)), (1, None)],
    );
    check(V3_12, &[0x80 | (13 << 3)], 5, &[(1, None)]);
    check(
        V3_12,
        &[0x80 | (13 << 3), 64, 64, 64, 64, 64, 64, 64, 64, 0],
        5,
        &[(1, None)],
    );
}

#[test]
fn frames_without_a_line_show_the_first_line() {
    let table = LineTable::decode(V3_12, &[0x80 | (15 << 3), 0x80 | (11 << 3), 0, 0], 40);
    assert_eq!(table.line_to_show(Some(0)), 40);
    assert_eq!(table.line_to_show(Some(2)), 41);
    assert_eq!(table.line_to_show(Some(400)), 40);
    assert_eq!(table.line_to_show(None), 40);
    assert_eq!(LineTable::decode(V3_12, &[], -3).line_to_show(None), 0);
}

#[test]
fn offsets_in_code() {
    let minus_one = (-1_i64).cast_unsigned();
    let cases = [
        (V3_9, 0, 36, Some(36)),
        (V3_9, 0, minus_one, None),
        (V3_10, 0, 18, Some(36)),
        (V3_10, 0, minus_one, None),
        (V3_12, 0x1000, 0x1024, Some(0x24)),
        (V3_12, 0x1000, 0xffe, None),
        (V3_12, 0x1000, u64::MAX, None),
    ];
    for (version, first, instruction, expect) in cases {
        assert_eq!(
            instruction_offset(version, first, instruction),
            expect,
            "{version} {instruction:#x}"
        );
    }
}

/// Every question is a short one, also in a module of a hundred thousand lines.
#[test]
fn long_tables_have_marks() {
    for (version, entry) in [
        (V3_9, &[2, 1][..]),
        (V3_10, &[2, 1]),
        (V3_12, &[0x80 | (11 << 3), 0, 0]),
    ] {
        let table = entry.repeat(100_000);
        let marks = marks(version, &table, 1);
        assert_eq!(marks.len(), 100_000 / RANGES_TO_MARK, "{version}");
        for (number, mark) in (1_u32..).zip(&marks) {
            let (units, of_table) = (number * 64, number as usize * 64 * entry.len());
            assert_eq!(
                (mark.end, mark.table_bytes as usize),
                (units * 2, of_table),
                "{version}"
            );
        }
        let decoded = LineTable::decode(version, &table, 1);
        for offset in 0..200_002 {
            assert_eq!(
                line(version, &table, 1, &marks, offset),
                decoded.line(offset),
                "{version}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        minor in 8_u8..=15,
        table in proptest::collection::vec(any::<u8>(), 0..300),
        first_line: i32,
        offsets in proptest::collection::vec(any::<u32>(), 8),
    ) {
        let version = PyVersion::new(3, minor, 0);
        let decoded = LineTable::decode(version, &table, first_line);
        prop_assert!(decoded.ranges.len() <= table.len() + 1);
        prop_assert!(decoded.ranges.is_sorted_by_key(|&(end, _)| end));
        for offset in offsets.into_iter().chain(0..64).chain((64..5000).step_by(7)) {
            prop_assert_eq!(decoded.line(offset), marked(version, &table, first_line, offset));
        }
    }
}
