//! How a frame is called in each kind of report.

use crate::{escape::printable, model::FrameRow};

/// `function:file:line`, memray's form in `stats`.
pub fn colon_location(frame: &FrameRow) -> String {
    let function = function(frame);
    match place(frame) {
        place if place.is_empty() => function,
        place => format!("{function}:{place}"),
    }
}

/// `function:file:line` with the names as they are, for formats that have an escape of their own.
pub fn exact_location(frame: &FrameRow) -> String {
    match (frame.file.as_str(), frame.line) {
        ("", _) => frame.function.clone(),
        (file, 0) => format!("{}:{file}", frame.function),
        (file, line) => format!("{}:{file}:{line}", frame.function),
    }
}

/// The function's name; a frame without one still has to be seen.
pub fn function(frame: &FrameRow) -> String {
    function_name(&frame.function)
}

pub fn function_name(function: &str) -> String {
    if function.is_empty() {
        "<unnamed>".to_owned()
    } else {
        printable(function).into_owned()
    }
}

/// `file:line`, or as much of it as there is.
pub fn place(frame: &FrameRow) -> String {
    match frame.line {
        0 => printable(&frame.file).into_owned(),
        line => format!("{}:{line}", printable(&frame.file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FrameKind;

    #[test]
    fn only_what_is_there() {
        for (function, file, line, shown, exact) in [
            ("main", "a.py", 3, "main:a.py:3", "main:a.py:3"),
            ("main", "a.py", 0, "main:a.py", "main:a.py"),
            (
                "<no Python frame>",
                "",
                0,
                "<no Python frame>",
                "<no Python frame>",
            ),
            ("", "a\n.py", 3, "<unnamed>:a\\n.py:3", ":a\n.py:3"),
        ] {
            let (function, file) = (function.to_owned(), file.to_owned());
            let frame = FrameRow {
                frame_id: 1,
                function,
                file,
                line,
                kind: FrameKind::Python,
            };
            assert_eq!(colon_location(&frame), shown);
            assert_eq!(exact_location(&frame), exact);
        }
    }
}
