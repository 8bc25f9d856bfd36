//! The size of objects that CPython makes for a call, where pymalloc leaves them to `malloc`.

use std::{collections::BTreeSet, path::Path};

use super::{
    picture::{Allocation, Picture, Place},
    recordings::succeeded,
};
use crate::{Python, behavior::run_with_input, program};

/// File, first line and size.
type Key = (String, u32, i64);

#[derive(Debug, Default)]
pub(super) struct CallObjects {
    frames: BTreeSet<Key>,
    generators: BTreeSet<Key>,
}

impl CallObjects {
    /// Of all functions of the files that our allocations name. Of code that was made by the program there is no file:
    /// that an object is of the call shows where memray beside us has it at the caller.
    ///
    /// # Panics
    /// If the interpreter cannot tell.
    pub(super) fn of_files(
        python: &Python,
        ours: &Picture,
        both_ours: &Picture,
        both_theirs: &Picture,
    ) -> Self {
        let files: BTreeSet<&str> = [ours, both_ours]
            .into_iter()
            .flat_map(|picture| picture.files())
            .filter(|file| Path::new(file).is_file())
            .collect();
        let list: Vec<u8> = files.into_iter().collect::<Vec<_>>().join("\n").into();
        let mut command = python.command();
        command.arg(program("parity_object_sizes.py"));
        let text = succeeded(&run_with_input(command, &list));
        let rows: Vec<(String, u32, i64, i64)> =
            serde_json::from_str(&text).expect("the program prints this form");
        let mut found = Self::default();
        for (file, line, frame, generator) in rows {
            found.frames.insert((file.clone(), line, frame));
            found.generators.insert((file, line, generator));
        }
        found.frames.extend(frames_of_made_code(both_ours, both_theirs));
        found
    }

    pub(super) fn is_frame(&self, allocation: &Allocation) -> bool {
        key(allocation).is_some_and(|key| self.frames.contains(&key))
    }

    pub(super) fn is_generator(&self, allocation: &Allocation) -> bool {
        key(allocation).is_some_and(|key| self.generators.contains(&key))
    }
}

fn frames_of_made_code(both_ours: &Picture, both_theirs: &Picture) -> Vec<Key> {
    let theirs: BTreeSet<(&[Place], i64)> = both_theirs
        .allocations
        .iter()
        .map(|allocation| (&*allocation.stack, allocation.size))
        .collect();
    let is_made = |(file, ..): &Key| file.starts_with('<') && !file.starts_with("<frozen");
    let is_moved = |allocation: &&Allocation| {
        let Allocation { stack, size, .. } = allocation;
        !theirs.contains(&(stack, *size)) && theirs.contains(&(stack.get(1..).unwrap_or_default(), *size))
    };
    let moved = both_ours.allocations.iter().filter(is_moved);
    moved.filter_map(key).filter(is_made).collect()
}

fn key(allocation: &Allocation) -> Option<Key> {
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
    (&**allocator == "malloc" && *size > 512).then(|| (callee.file.to_string(), callee.line, *size))
}
