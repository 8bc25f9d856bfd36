//! A capture as tests read it: through SQLite alone, without the product's own reader.

mod check;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::{Python, Script};

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: u32,
    pub kind: String,
}

/// One allocation, or a piece of a mapping.
#[derive(Clone, Debug)]
pub struct Row {
    pub size: i64,
    pub allocator: String,
    /// Name of the thread that made it.
    pub thread: String,
    pub thread_id: i64,
    pub process_id: i64,
    pub stack_id: i64,
    pub alloc_ts: i64,
    /// `None` while it lives.
    pub free_ts: Option<i64>,
    /// Allocations of the same thread between its beginning and its end.
    pub between: Option<i64>,
}

/// A finished recording.
#[derive(Debug)]
pub struct Capture {
    /// Keeps the file.
    _directory: TempDir,
    pub path: PathBuf,
    pub python: Python,
    pub script: Option<Script>,
    /// What the program printed.
    pub stdout: String,
    pub connection: Connection,
    /// The stack of the caller, and the innermost frame.
    stacks: BTreeMap<i64, (Option<i64>, Frame)>,
}

impl Capture {
    pub(crate) fn open(
        directory: TempDir,
        path: PathBuf,
        python: Python,
        script: Option<Script>,
        stdout: String,
    ) -> Self {
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stacks = read_stacks(&connection);
        Self {
            _directory: directory,
            path,
            python,
            script,
            stdout,
            connection,
            stacks,
        }
    }

    /// All allocations in the order in which they were made, each as a whole.
    pub fn all_rows(&self) -> Vec<Row> {
        let sql = "SELECT size, a.name, h.name, r.thread_id, stack_id, alloc_ts, free_ts, allocations_between, process_id
            FROM (SELECT alloc_ts, free_ts, size, stack_id, thread_id, allocator_id, allocations_between
                  FROM freed_allocations
                  UNION ALL
                  SELECT alloc_ts, NULL, size, stack_id, thread_id, allocator_id, NULL
                  FROM live_allocations) r
            LEFT JOIN allocators a USING (allocator_id) LEFT JOIN threads h ON h.thread_id = r.thread_id
            ORDER BY alloc_ts, free_ts, size";
        let mut statement = self.connection.prepare(sql).expect("the schema has the columns");
        let rows = statement.query_map([], |row| {
            Ok(Row {
                size: row.get(0)?,
                allocator: row.get(1)?,
                thread: row.get(2)?,
                thread_id: row.get(3)?,
                stack_id: row.get(4)?,
                alloc_ts: row.get(5)?,
                free_ts: row.get(6)?,
                between: row.get(7)?,
                process_id: row.get(8)?,
            })
        });
        rows.and_then(Iterator::collect)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    /// Allocations of sizes that only the program under test makes.
    pub fn rows(&self, is_wanted: impl Fn(i64) -> bool) -> Vec<Row> {
        let mut rows = self.all_rows();
        rows.retain(|row| is_wanted(row.size));
        rows
    }

    /// Outermost frame first.
    pub fn stack(&self, stack_id: i64) -> Vec<&Frame> {
        let mut frames = Vec::new();
        let mut next = Some(stack_id);
        while let Some(stack_id) = next {
            let Some((parent, frame)) = self.stacks.get(&stack_id) else {
                panic!("{}: no stack {stack_id}", self.name());
            };
            assert!(
                parent.is_none_or(|parent| parent < stack_id),
                "{}: a circle",
                self.name()
            );
            frames.push(frame);
            next = *parent;
        }
        frames.reverse();
        frames
    }

    /// A single number, or `None` for NULL.
    pub fn number(&self, sql: &str) -> Option<i64> {
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{}: {sql}: {error}", self.name()))
    }

    /// Lines of columns joined by spaces.
    pub fn query(&self, sql: &str) -> Vec<String> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(sql)?;
            let columns = statement.column_count();
            let rows = statement.query_map([], |row| {
                let words: rusqlite::Result<Vec<String>> =
                    (0..columns).map(|index| Ok(word(row.get_ref(index)?))).collect();
                Ok(words?.join(" "))
            })?;
            rows.collect()
        };
        read().unwrap_or_else(|error| panic!("{}: {sql}: {error}", self.name()))
    }

    /// What a failed assertion says about whose capture it is.
    pub fn name(&self) -> String {
        self.python.name()
    }

    /// `size allocator freed|live thread: frames`, the thread only where it is not the main one.
    pub fn row_text(&self, row: &Row) -> String {
        let Row {
            size,
            allocator,
            thread,
            free_ts,
            ..
        } = row;
        let end = if free_ts.is_some() { "freed" } else { "live" };
        let thread = if thread == "MainThread" {
            String::new()
        } else {
            format!(" [{thread}]")
        };
        let stack = self.stack_text(row.stack_id);
        format!("{size} {allocator} {end}{thread}: {stack}")
    }

    /// `function@marker` for each frame of the script, `function (file)` for others, outermost first.
    pub fn stack_text(&self, stack_id: i64) -> String {
        let frames = self
            .stack(stack_id)
            .into_iter()
            .map(|frame| self.frame_text(frame));
        frames.collect::<Vec<_>>().join(" > ")
    }

    /// Compares rows as text, in order. In what is expected names are qualified, as CPython has them from 3.11 on.
    ///
    /// # Panics
    /// If they differ.
    pub fn expect(&self, rows: &[Row], expected: &[&str]) {
        let rows: Vec<String> = rows.iter().map(|row| self.row_text(row)).collect();
        self.expect_lines(&rows, expected);
    }

    /// As [`Capture::expect`] for lines whose frames are already text.
    pub fn expect_lines(&self, found: &[String], expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|line| self.names_of_version(line)).collect();
        let differences: Vec<String> = (0..found.len().max(expected.len()))
            .filter(|&index| found.get(index) != expected.get(index))
            .map(|index| {
                let show = |lines: &[String]| lines.get(index).map_or("nothing", String::as_str).to_owned();
                format!(
                    "row {index}\n  found    {}\n  expected {}",
                    show(found),
                    show(&expected)
                )
            })
            .collect();
        assert!(
            differences.is_empty(),
            "{}\n{}",
            self.name(),
            differences.join("\n")
        );
    }

    fn frame_text(&self, frame: &Frame) -> String {
        let Frame {
            function,
            file,
            line,
            kind,
        } = frame;
        if kind != "python" {
            return format!("{function} ({kind})");
        }
        match &self.script {
            Some(script) if script.path == Path::new(file) => match script.marker(*line) {
                Some(marker) => format!("{function}@{marker}"),
                None => format!("{function}@{line}"),
            },
            _ => {
                let name = Path::new(file)
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                format!("{function} ({name})")
            }
        }
    }

    /// Names of code objects were not qualified before 3.11.
    fn names_of_version(&self, line: &str) -> String {
        if self.python.has_qualified_names() {
            return line.to_owned();
        }
        let Some((head, stack)) = line.split_once(": ") else {
            return line.to_owned();
        };
        let bare = |frame: &str| -> String {
            let end = frame.find(['@', ' ']).unwrap_or(frame.len());
            let (function, rest) = frame.split_at(end);
            let name = function.rsplit('.').next().unwrap_or(function);
            format!("{name}{rest}")
        };
        let stack: Vec<String> = stack.split(" > ").map(bare).collect();
        format!("{head}: {}", stack.join(" > "))
    }
}

fn word(value: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

fn read_stacks(connection: &Connection) -> BTreeMap<i64, (Option<i64>, Frame)> {
    let sql =
        "SELECT stack_id, parent_id, function, file, line, kind FROM stacks JOIN frames USING (frame_id)";
    let mut statement = connection.prepare(sql).expect("the schema has the columns");
    let rows = statement.query_map([], |row| {
        let frame = Frame {
            function: row.get(2)?,
            file: row.get(3)?,
            line: row.get(4)?,
            kind: row.get(5)?,
        };
        Ok((row.get(0)?, (row.get(1)?, frame)))
    });
    rows.and_then(Iterator::collect).expect("stacks can be read")
}
