//! What a recording says, ours or memray's, in one form: allocations by stack, allocator and size.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Output,
    rc::Rc,
};

use memray_tests::{Capture, Python, program};
use serde::Deserialize;

/// A line of a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub file: Rc<str>,
    pub function: Rc<str>,
    pub line: u32,
}

/// Innermost frame first, the program's own module last; empty where no frame of the program is in the stack.
pub(super) type Stack = Rc<[Place]>;

#[derive(Clone, Debug)]
pub(super) struct Allocation {
    pub stack: Stack,
    pub allocator: Rc<str>,
    pub size: i64,
    pub count: i64,
}

#[derive(Debug)]
pub(super) struct Picture {
    /// All that were made.
    pub made: Vec<Allocation>,
    /// Those alive when the live bytes were highest.
    pub peak: Vec<Allocation>,
}

impl Picture {
    /// The capture of `memray run`.
    pub(super) fn of_capture(capture: &Capture, script: &Path) -> Self {
        let made =
            "SELECT stack_id, a.name, size, COUNT(*) FROM allocations JOIN allocators a USING (allocator_id)";
        let groups = "GROUP BY stack_id, a.name, size";
        let at_peak = "WHERE alloc_ts <= peak_ts AND (free_ts IS NULL OR free_ts > peak_ts)";
        let picture = Self {
            made: rows(capture, script, &format!("{made} {groups}")),
            peak: rows(capture, script, &format!("{made} JOIN state {at_peak} {groups}")),
        };
        let peak_bytes = capture.number("SELECT SUM(peak_bytes) FROM state");
        assert_eq!(
            Some(bytes(&picture.peak)),
            peak_bytes,
            "composition and height of the peak"
        );
        picture
    }

    /// A capture of memray 1.20, read by memray itself.
    pub(super) fn of_memray(python: &Python, capture: &Path, script: &Path) -> Self {
        let output = python
            .command()
            .arg(program("parity_memray_capture.py"))
            .arg(capture)
            .output();
        let text = succeeded(&output.expect("the interpreter has run before"));
        let found: MemrayCapture = serde_json::from_str(&text).expect("the program prints this form");
        let frames: Vec<Place> = found
            .frames
            .into_iter()
            .map(|(file, function, line)| Place {
                file: file.into(),
                function: function.into(),
                line,
            })
            .collect();
        let stacks: Vec<Stack> = found
            .stacks
            .iter()
            .map(|stack| cut(stack.iter().map(|&frame| frames[frame].clone()), script))
            .collect();
        let allocations = |rows: Vec<(usize, String, i64, i64)>| {
            let allocation = |(stack, allocator, size, count): (usize, String, i64, i64)| Allocation {
                stack: Rc::clone(&stacks[stack]),
                allocator: allocator.into(),
                size,
                count,
            };
            rows.into_iter().map(allocation).collect()
        };
        Self {
            made: allocations(found.made),
            peak: allocations(found.peak),
        }
    }
}

#[derive(Deserialize)]
struct MemrayCapture {
    frames: Vec<(String, String, u32)>,
    stacks: Vec<Vec<usize>>,
    made: Vec<(usize, String, i64, i64)>,
    peak: Vec<(usize, String, i64, i64)>,
}

pub(super) fn bytes(allocations: &[Allocation]) -> i64 {
    allocations
        .iter()
        .map(|allocation| allocation.size * allocation.count)
        .sum()
}

pub(super) fn count(allocations: &[Allocation]) -> i64 {
    allocations.iter().map(|allocation| allocation.count).sum()
}

/// What a program printed.
pub(super) fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    String::from_utf8(output.stdout.clone()).expect("the program prints text")
}

/// The size of objects that CPython makes for a call, where pymalloc leaves them to `malloc`.
#[derive(Debug, Default)]
pub(super) struct CallObjects {
    frames: BTreeSet<(Rc<str>, u32, i64)>,
    generators: BTreeSet<(Rc<str>, u32, i64)>,
}

impl CallObjects {
    /// Of all functions of the files that the allocations name.
    pub(super) fn of_files(python: &Python, allocations: &[Allocation]) -> Self {
        let files: BTreeSet<&str> = allocations
            .iter()
            .flat_map(|allocation| allocation.stack.iter())
            .map(|place| &*place.file)
            .filter(|file| Path::new(file).is_file())
            .collect();
        let list: Vec<u8> = files.into_iter().collect::<Vec<_>>().join("\n").into();
        let mut command = python.command();
        command.arg(program("parity_object_sizes.py"));
        let text = succeeded(&memray_tests::behavior::run_with_input(command, &list));
        let rows: Vec<(String, u32, i64, i64)> =
            serde_json::from_str(&text).expect("the program prints this form");
        let mut found = Self::default();
        for (file, line, frame, generator) in rows {
            let file: Rc<str> = file.into();
            found.frames.insert((Rc::clone(&file), line, frame));
            found.generators.insert((file, line, generator));
        }
        found
    }

    pub(super) fn is_frame(&self, allocation: &Allocation) -> bool {
        key(allocation).is_some_and(|key| self.frames.contains(&key))
    }

    pub(super) fn is_generator(&self, allocation: &Allocation) -> bool {
        key(allocation).is_some_and(|key| self.generators.contains(&key))
    }
}

fn key(allocation: &Allocation) -> Option<(Rc<str>, u32, i64)> {
    let Allocation {
        stack,
        allocator,
        size,
        ..
    } = allocation;
    // The outermost frame, the program's, was called by nothing that both sides see.
    let [callee, _caller, ..] = &**stack else {
        return None;
    };
    (&**allocator == "malloc" && *size > 512).then(|| (Rc::clone(&callee.file), callee.line, *size))
}

fn rows(capture: &Capture, script: &Path, sql: &str) -> Vec<Allocation> {
    let mut stacks = BTreeMap::<i64, Stack>::new();
    let mut statement = capture
        .connection
        .prepare(sql)
        .expect("the schema has the columns");
    let rows = statement.query_map([], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, String>(1)?,
            row.get(2)?,
            row.get(3)?,
        ))
    });
    rows.expect("the statement has no parameters")
        .map(|row| {
            let (stack_id, allocator, size, count) = row.expect("the columns have these types");
            let stack = stacks.entry(stack_id).or_insert_with(|| {
                let frames = capture.stack(stack_id).into_iter().rev();
                let places = frames.map(|frame| Place {
                    file: frame.file.as_str().into(),
                    function: frame.function.as_str().into(),
                    line: frame.line,
                });
                cut(places, script)
            });
            Allocation {
                stack: Rc::clone(stack),
                allocator: allocator.into(),
                size,
                count,
            }
        })
        .collect()
}

fn cut(places: impl Iterator<Item = Place>, script: &Path) -> Stack {
    let places: Vec<Place> = places.collect();
    let end = places.iter().rposition(|place| Path::new(&*place.file) == script);
    places[..end.map_or(0, |end| end + 1)].into()
}
