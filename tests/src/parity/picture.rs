//! What a recording says, ours or memray's, in one form: allocations by stack, allocator and size.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use crate::{Capture, Script};

/// When allocations are counted, in the order of [`Row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// All that were made.
    Made,
    /// Those alive when the live bytes were highest.
    Peak,
    /// Those alive when the program ran its last line.
    End,
    /// Those alive when the recording stopped.
    Leaked,
}

impl Moment {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Made => "in all",
            Self::Peak => "at the peak",
            Self::End => "at the end",
            Self::Leaked => "leaked",
        }
    }
}

/// A line of a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub file: Rc<str>,
    /// Without what it is defined in: memray shows no more.
    pub function: Rc<str>,
    pub line: u32,
}

/// Innermost frame first, the program's own module or the first frame of a thread last; empty where the program has no
/// part in it.
pub(super) type Stack = Rc<[Place]>;

#[derive(Clone, Debug)]
pub(super) struct Allocation {
    pub stack: Stack,
    pub allocator: Rc<str>,
    pub size: i64,
    pub counts: [i64; 4],
}

impl Allocation {
    pub(super) fn count(&self, moment: Moment) -> i64 {
        self.counts[moment as usize]
    }
}

#[derive(Debug)]
pub(super) struct Picture {
    pub allocations: Vec<Allocation>,
}

/// Stack, allocator, size, counts at the moments.
type Row = (usize, String, i64, [i64; 4]);

/// A picture as files have it, and as the reader of memray's captures prints it.
#[derive(Serialize, Deserialize)]
pub(super) struct Form {
    frames: Vec<(String, String, u32)>,
    stacks: Vec<Vec<usize>>,
    rows: Vec<Row>,
}

impl Form {
    /// The capture of `memray run`.
    ///
    /// # Panics
    /// If what is alive at the peak is not as much as the peak is high.
    pub(super) fn of_capture(capture: &Capture, script: &Script) -> Self {
        let end_ts = end_ts(capture, script);
        let sql = format!(
            "SELECT stack_id, a.name, size, COUNT(*),
                SUM(alloc_ts <= peak_ts AND (free_ts IS NULL OR free_ts > peak_ts)),
                SUM(alloc_ts <= {end_ts} AND (free_ts IS NULL OR free_ts > {end_ts})),
                SUM(free_ts IS NULL)
            FROM allocations JOIN allocators a USING (allocator_id) JOIN state s USING (process_id)
            GROUP BY stack_id, a.name, size"
        );
        let mut statement = capture
            .connection
            .prepare(&sql)
            .expect("the schema has the columns");
        let (mut frames, mut stacks) = (Numbered::default(), Numbered::default());
        let rows = statement.query_map([], |row| {
            let stack = capture.stack(row.get(0)?);
            let stack = stack
                .into_iter()
                .rev()
                .map(|frame| frames.number((frame.file.clone(), frame.function.clone(), frame.line)));
            let counts = [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
            Ok((stacks.number(stack.collect()), row.get(1)?, row.get(2)?, counts))
        });
        let rows: Vec<Row> = rows
            .and_then(Iterator::collect)
            .expect("the columns have these types");
        let at_peak: i64 = rows.iter().map(|(_, _, size, counts)| size * counts[1]).sum();
        assert_eq!(
            Some(at_peak),
            capture.number("SELECT SUM(peak_bytes) FROM state"),
            "composition and height of the peak"
        );
        Self {
            frames: frames.in_order,
            stacks: stacks.in_order,
            rows,
        }
    }
}

impl Picture {
    pub(super) fn new(form: Form, script: &Path) -> Self {
        let Form { frames, stacks, rows } = form;
        let mut texts = BTreeSet::<Rc<str>>::new();
        let mut text = |text: &str| -> Rc<str> {
            if let Some(known) = texts.get(text) {
                return Rc::clone(known);
            }
            let new: Rc<str> = text.into();
            texts.insert(Rc::clone(&new));
            new
        };
        let places: Vec<Place> = frames
            .iter()
            .map(|(file, function, line)| Place {
                file: text(file),
                function: text(function.rsplit('.').next().unwrap_or(function)),
                line: *line,
            })
            .collect();
        let stacks: Vec<Stack> = stacks
            .iter()
            .map(|stack| cut(stack.iter().map(|&frame| places[frame].clone()).collect(), script))
            .collect();
        let allocations = rows
            .into_iter()
            .map(|(stack, allocator, size, counts)| Allocation {
                stack: Rc::clone(&stacks[stack]),
                allocator: text(&allocator),
                size,
                counts,
            })
            .collect();
        Self { allocations }
    }

    /// The files of all frames.
    pub(super) fn files(&self) -> BTreeSet<&str> {
        let places = self.allocations.iter().flat_map(|allocation| &*allocation.stack);
        places.map(|place| &*place.file).collect()
    }
}

/// When the program made the allocation of its last line.
fn end_ts(capture: &Capture, script: &Script) -> i64 {
    let sql = format!(
        "SELECT MAX(alloc_ts) FROM allocations JOIN locations USING (stack_id) WHERE file = '{}' AND line = {}",
        script.path.display(),
        script.line("end")
    );
    capture
        .number(&sql)
        .expect("the last line of the program allocates")
}

/// Numbers in the order in which things are first asked for.
struct Numbered<T> {
    numbers: BTreeMap<T, usize>,
    in_order: Vec<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            numbers: BTreeMap::new(),
            in_order: Vec::new(),
        }
    }
}

impl<T: Ord + Clone> Numbered<T> {
    fn number(&mut self, thing: T) -> usize {
        if let Some(number) = self.numbers.get(&thing) {
            return *number;
        }
        let number = self.in_order.len();
        self.in_order.push(thing.clone());
        self.numbers.insert(thing, number);
        number
    }
}

/// Leaves out the callers of the program, which are memray's runner and `runpy`, and whole stacks that are theirs alone.
fn cut(mut places: Vec<Place>, script: &Path) -> Stack {
    let is_thread = |place: &Place| &*place.function == "_bootstrap" && place.file.ends_with("/threading.py");
    let end = places
        .iter()
        .rposition(|place| Path::new(&*place.file) == script)
        .map(|end| end + 1);
    let whole = places.last().is_some_and(is_thread).then_some(places.len());
    places.truncate(end.or(whole).unwrap_or(0));
    places.into()
}

/// Blocks of `malloc` by size, of a module that the script imports.
#[cfg(test)]
pub(super) fn of_sizes(script: &Path, sizes: &[i64]) -> Picture {
    let place = |file: &str, function: &str| (file.to_owned(), function.to_owned(), 7);
    let form = Form {
        frames: vec![place("/a.py", "f"), place(&script.to_string_lossy(), "<module>")],
        stacks: vec![vec![0, 1]],
        rows: sizes
            .iter()
            .map(|&size| (0, "malloc".to_owned(), size, [1; 4]))
            .collect(),
    };
    Picture::new(form, script)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stack: &[(&str, &str)], expected: &[&str]) {
        let form = Form {
            frames: stack
                .iter()
                .map(|&(file, function)| (file.to_owned(), function.to_owned(), 1))
                .collect(),
            stacks: vec![(0..stack.len()).collect()],
            rows: vec![(0, "malloc".to_owned(), 1, [1, 0, 0, 0])],
        };
        let picture = Picture::new(form, Path::new("/p.py"));
        let stack = &picture.allocations[0].stack;
        let functions: Vec<&str> = stack.iter().map(|place| &*place.function).collect();
        assert_eq!(functions, expected);
    }

    #[test]
    fn stacks_begin_with_the_program() {
        let runner = ("/memray/run.py", "_run_tracker");
        let module = ("/p.py", "<module>");
        check(&[("/a.py", "A.f"), module, runner], &["f", "<module>"]);
        check(&[("/a.py", "f"), ("/p.py", "g"), module], &["f", "g", "<module>"]);
    }

    #[test]
    fn stacks_of_threads_are_whole() {
        let thread = ("/lib/threading.py", "Thread._bootstrap");
        check(&[("/a.py", "f"), thread], &["f", "_bootstrap"]);
        check(&[("/a.py", "f"), ("/p.py", "g"), thread], &["f", "g"]);
    }

    #[test]
    fn what_is_not_the_programs_has_none() {
        check(&[("/a.py", "f"), ("/memray/run.py", "main")], &[]);
        check(&[], &[]);
    }
}
