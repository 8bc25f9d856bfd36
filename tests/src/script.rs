//! Python programs of the tests, and the lines in them that tests speak of.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::program;

/// What begins a marker.
const MARKER: &str = "#: ";

/// A program in `tests/programs`.
///
/// A line that ends with `#: name` is known by that name, so that no test holds a line number.
#[derive(Clone, Debug)]
pub struct Script {
    pub path: PathBuf,
    lines: BTreeMap<u32, String>,
}

impl Script {
    pub fn new(name: &str) -> Self {
        let path = program(name);
        let source = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()));
        Self {
            lines: markers(&source),
            path,
        }
    }

    /// The line of a name.
    ///
    /// # Panics
    /// If there is none.
    pub fn line(&self, name: &str) -> u32 {
        let found = self.lines.iter().find(|(_, marker)| *marker == name);
        *found.unwrap_or_else(|| panic!("no line is named `{name}`")).0
    }

    /// The name of a line.
    pub fn marker(&self, line: u32) -> Option<&str> {
        self.lines.get(&line).map(String::as_str)
    }
}

fn markers(source: &str) -> BTreeMap<u32, String> {
    (1..)
        .zip(source.lines())
        .filter_map(|(number, line)| Some((number, line.split_once(MARKER)?.1.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_names() {
        let lines = markers("a\nb  #: one\n#c\nd #: two three\n");
        assert_eq!(
            lines,
            BTreeMap::from([(2, "one".to_owned()), (4, "two three".to_owned())])
        );
    }
}
