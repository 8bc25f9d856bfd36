//! The decoders of line tables against CPython itself: every instruction of the standard library.

use std::process::Stdio;

use memray_tests::{Python, program};
use memray_user::cpython::{PyVersion, linetable};

/// `NO_LINE` of `line_table_oracle.py`.
const NO_LINE: i32 = i32::MIN;

/// Fewer code objects than the smallest standard library has means that the oracle did not find it.
const FEWEST_CODE_OBJECTS: usize = 9000;

struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    fn take(&mut self, length: usize) -> &'bytes [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn signed(&mut self) -> i32 {
        i32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn length(&mut self) -> usize {
        usize::try_from(self.signed()).unwrap()
    }
}

/// Lines of one code object as CPython and as we see them; returns the number of instructions compared.
fn compare(version: PyVersion, reader: &mut Reader<'_>) -> usize {
    let first_line = reader.signed();
    let code_bytes = reader.length();
    let table_bytes = reader.length();
    let range_count = reader.length();
    let table = reader.take(table_bytes);

    let decoded = linetable::LineTable::decode(version, table, first_line);
    let mut offset = 0;
    for range in 0..range_count {
        let end = u32::try_from(reader.signed()).unwrap();
        let line = Some(reader.signed()).filter(|&line| line != NO_LINE);
        // A single answer decodes the table again: asked once per code object, not always at the same place.
        if range == table_bytes % range_count {
            let marks = linetable::marks(version, table, first_line);
            let single = linetable::line(version, table, first_line, &marks, offset);
            assert_eq!(
                single, line,
                "{version}, offset {offset}, first line {first_line}, {table:02x?}"
            );
        }
        while offset < end {
            let ours = decoded.line(offset);
            assert_eq!(
                ours, line,
                "{version}, offset {offset}, first line {first_line}, {table:02x?}"
            );
            offset += 2;
        }
    }
    assert_eq!(
        usize::try_from(offset).unwrap(),
        code_bytes,
        "{version}: ranges do not cover the code"
    );
    code_bytes / 2
}

fn check(python: &Python) {
    let output = python
        .command()
        .args(["-I", "-S"])
        .arg(program("line_table_oracle.py"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the oracle failed on {python:?}");

    let (major, minor) = python.version;
    let version = PyVersion::new(major, minor, 0);
    let mut reader = Reader(&output.stdout);
    let (mut code_objects, mut instructions) = (0_usize, 0_usize);
    while !reader.0.is_empty() {
        instructions += compare(version, &mut reader);
        code_objects += 1;
    }
    assert!(
        code_objects > FEWEST_CODE_OBJECTS,
        "{python:?}: only {code_objects} code objects, {instructions} instructions"
    );
}

macro_rules! lines_are_those_of_cpython {
    ($($name:ident: $minor:literal,)*) => {$(
        #[test]
        fn $name() {
            let mut pythons = Python::all().iter().filter(|python| python.version == (3, $minor)).peekable();
            assert!(pythons.peek().is_some());
            pythons.for_each(check);
        }
    )*};
}

lines_are_those_of_cpython! {
    lines_of_3_8: 8,
    lines_of_3_9: 9,
    lines_of_3_10: 10,
    lines_of_3_11: 11,
    lines_of_3_12: 12,
    lines_of_3_13: 13,
    lines_of_3_14: 14,
    lines_of_3_15: 15,
}
