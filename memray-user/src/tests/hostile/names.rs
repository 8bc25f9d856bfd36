//! Names that attack whoever shows them.

use proptest::prelude::*;

/// Each is harmless as a text and something else to a terminal, a page, a line-based format or SQL.
pub(crate) const ATTACKS: &[&str] = &[
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]></text><script/>",
    "\" onload=\"alert(1)",
    "'; DROP TABLE sites; --",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{9b}31m\u{90}q\u{9c}",
    "a\0b",
    "line\nbreak\r\n\u{85}\u{2028}\u{2029}",
    "\u{202e}gnp.exe\u{202c}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
    "\u{feff}\u{fffe}\u{ffff}",
    "=cmd|' /C calc'!A0",
    "a;b;c 99999999999999999999",
    "{{7*7}}${7*7}`id`$(id)",
    "../../../../etc/passwd",
    "\u{fffd}\\udc80\\ud800",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{1f469}\u{200d}\u{1f680}",
    "",
    " ",
    "%s%n%x{}{0}",
];

/// One of [`ATTACKS`], several in a row, a very long one, or any text.
pub(crate) fn name() -> impl Strategy<Value = String> {
    let attack = || prop::sample::select(ATTACKS);
    prop_oneof![
        4 => attack().prop_map(str::to_owned),
        2 => prop::collection::vec(attack(), 0..4).prop_map(|parts| parts.concat()),
        1 => (attack(), prop_oneof![15 => 1_usize..50, 1 => 50_usize..4000]).prop_map(|(part, count)| part.repeat(count)),
        2 => any::<String>(),
    ]
}

/// Whether a character of a report could control who shows it: C0, DEL, C1, separators of lines, directions, and the
/// mark of byte order. Written out here and not taken from the product, so that the two can differ.
pub(crate) fn is_dangerous(character: char) -> bool {
    matches!(u32::from(character),
        0..=8 | 0xb..=0x1f | 0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x206f | 0xfeff)
}

/// # Panics
/// If the text holds a dangerous character; `\n` is not one, `\t` is where `tabs` says so.
pub(crate) fn assert_harmless(what: &str, text: &str) {
    let found = text
        .char_indices()
        .find(|&(_, character)| is_dangerous(character));
    if let Some((position, character)) = found {
        let start = (0..=position.saturating_sub(60))
            .rev()
            .find(|&at| text.is_char_boundary(at));
        let around: String = text[start.unwrap_or(0)..].chars().take(120).collect();
        panic!("{what}: {character:?} at {position}: {around:?}");
    }
}
