//! The packages that allocated most, directly or through the standard library.
//!
//! An allocation belongs to the nearest Python frame, from the innermost outwards, whose file is not of the standard
//! library; native frames and markers are passed over. The module of a file is its top-level package:
//!
//! - below `site-packages` or `dist-packages`, the first part of the path that follows;
//! - else the outermost folder that is a package, where a folder counts as one if the capture has a frame of its
//!   `__init__.py` and the folder around it follows the same rule;
//! - else the file's name without suffix, or for `__main__.py` that of its folder.
//!
//! Where no such frame is in the stack the module is `<root>`, as in memray.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Figures, Profile, Rank, filter::is_standard_library, profile::index};
use crate::model::FrameKind;

/// What was allocated on behalf of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFigures {
    pub module: String,
    pub figures: Figures,
}

/// Every module that allocated, highest rank first, equals by name.
pub fn modules(profile: &Profile, rank: Rank) -> Vec<ModuleFigures> {
    let (names, module_of_frame) = name_modules(profile);
    let mut module_of_stack = vec![0_u32; profile.stacks.len()];
    let mut figures = vec![Figures::default(); names.len()];
    for (position, stack) in profile.stacks.iter().enumerate() {
        let inherited = stack.parent.map_or(0, |parent| module_of_stack[parent as usize]);
        let module = module_of_frame[stack.frame as usize].unwrap_or(inherited);
        module_of_stack[position] = module;
        figures[module as usize].add(stack.own);
    }
    let mut rows: Vec<ModuleFigures> = names
        .into_iter()
        .zip(figures)
        .filter(|(_, figures)| !figures.is_zero())
        .map(|(module, figures)| ModuleFigures {
            module: module.to_owned(),
            figures,
        })
        .collect();
    rows.sort_by(|left, right| {
        rank.compare(left.figures, right.figures)
            .then_with(|| left.module.cmp(&right.module))
    });
    rows
}

/// The distinct module names, `<root>` first, and for each frame its module's index, if it decides one.
fn name_modules(profile: &Profile) -> (Vec<&str>, Vec<Option<u32>>) {
    let packages: FxHashSet<&str> = profile
        .frames
        .iter()
        .filter_map(|frame| frame.file.strip_suffix("/__init__.py"))
        .collect();
    let mut names = vec!["<root>"];
    let mut index_of: FxHashMap<&str, u32> = FxHashMap::default();
    let module_of_frame = profile
        .frames
        .iter()
        .map(|frame| {
            if frame.kind != FrameKind::Python || frame.file.is_empty() || is_standard_library(&frame.file) {
                return None;
            }
            let name = module_name(&frame.file, &packages);
            Some(*index_of.entry(name).or_insert_with(|| {
                names.push(name);
                index(names.len() - 1)
            }))
        })
        .collect();
    (names, module_of_frame)
}

fn module_name<'path>(file: &'path str, packages: &FxHashSet<&str>) -> &'path str {
    for folder in ["/site-packages/", "/dist-packages/"] {
        if let Some(found) = file.rfind(folder) {
            let path = &file[found + folder.len()..];
            return stem(path.split('/').next().unwrap_or(path));
        }
    }
    let Some((mut folder, name)) = file.rsplit_once('/') else {
        return stem(file);
    };
    if !packages.contains(folder) {
        return if name == "__main__.py" {
            last_part(folder)
        } else {
            stem(name)
        };
    }
    while let Some((outer, _)) = folder.rsplit_once('/')
        && packages.contains(outer)
    {
        folder = outer;
    }
    last_part(folder)
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The name up to its first dot: `core.cpython-312-x86_64-linux-gnu.so` is `core`; `.hidden` stays whole.
fn stem(name: &str) -> &str {
    match name.split_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::testing::CaptureBuilder, model::View};

    #[test]
    fn names() {
        let packages: FxHashSet<&str> = ["/src/app", "/src/app/core", "/src/x/lonely"]
            .into_iter()
            .collect();
        for (file, expect) in [
            ("/v/lib/python3.12/site-packages/numpy/core/numeric.py", "numpy"),
            ("/v/lib/python3.12/site-packages/six.py", "six"),
            ("/usr/lib/python3/dist-packages/yaml/__init__.py", "yaml"),
            ("/src/app/core/deep.py", "app"),
            ("/src/app/__init__.py", "app"),
            ("/src/x/lonely/a.py", "lonely"),
            ("/src/example.py", "example"),
            ("/src/tool/__main__.py", "tool"),
            ("example.py", "example"),
            ("<string>", "<string>"),
            ("/src/", ""),
        ] {
            assert_eq!(module_name(file, &packages), expect, "{file}");
        }
    }

    #[test]
    fn standard_library_counts_for_its_caller() {
        let mut builder = CaptureBuilder::new();
        let json = ("loads", "/usr/lib/python3.11/json/__init__.py", 1);
        builder.allocate(&[("main", "/src/example.py", 1), json], 100, 1);
        builder.allocate(&[("main", "/src/example.py", 1)], 10, 1);
        builder.allocate(&[json], 40, 4);
        let profile = Profile::load(&builder, View::All).unwrap();
        let row = |module: &str, bytes, count| ModuleFigures {
            module: module.to_owned(),
            figures: Figures { bytes, count },
        };
        assert_eq!(
            modules(&profile, Rank::Size),
            [row("example", 110, 2), row("<root>", 40, 4)]
        );
        assert_eq!(
            modules(&profile, Rank::Count),
            [row("<root>", 40, 4), row("example", 110, 2)]
        );
    }
}
