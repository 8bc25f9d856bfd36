//! Names of the traced program made fit for a terminal.
//!
//! A function can be called anything, such as an escape sequence that clears the screen or characters that turn the
//! direction of the line around. What is not to be printed as it is becomes visible text: `\x1b`, `\u202e`.
//! `web/js/units.js` has the same function for pages; `web/test/cases.json` binds both.

use std::{borrow::Cow, fmt::Write as _};

/// `name` without characters that control the terminal or the line.
///
/// Replaced are the control characters (C0, DEL, C1), the line and paragraph separators, and the characters that
/// set direction (Unicode 16, UAX #9: marks, embeddings, overrides, isolates), and the two that are no characters and that
/// no XML document may hold (`Char` in XML 1.0). Letters written from right to left, joiners and emoji stay.
pub fn printable(name: &str) -> Cow<'_, str> {
    if !name.chars().any(is_control) {
        return Cow::Borrowed(name);
    }
    let mut text = String::with_capacity(name.len() + 16);
    for character in name.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if is_control(character) => {
                let code = u32::from(character);
                let written = if code <= 0xff {
                    write!(text, "\\x{code:02x}")
                } else {
                    write!(text, "\\u{code:04x}")
                };
                written.expect("a string takes every write");
            }
            _ => text.push(character),
        }
    }
    Cow::Owned(text)
}

/// Whether a character controls a terminal, a line or its direction, or may not stand in XML.
pub fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_become_visible() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../web/test/cases.json")).expect("the table is JSON");
        let rows = cases["names"].as_array().expect("the table has this part");
        assert!(rows.len() > 5);
        for row in rows {
            assert_eq!(printable(row[0].as_str().unwrap()), row[1].as_str().unwrap());
        }
    }
}
