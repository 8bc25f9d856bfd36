use insta::assert_snapshot;

use super::*;
use crate::doctor::{
    testing::{diagnosis, good_machine, good_process, machine_of_nobody},
    write_json,
};

fn text(diagnosis: &Diagnosis, width: usize, color: Color) -> String {
    let mut output = Vec::new();
    write_text(diagnosis, TextSettings { width, color }, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

fn json(diagnosis: &Diagnosis) -> String {
    let mut output = Vec::new();
    write_json(diagnosis, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn a_machine() {
    let diagnosis = diagnosis(&good_machine(), None);
    assert!(diagnosis.works());
    assert_snapshot!("machine", text(&diagnosis, 80, Color::Never));
    assert_snapshot!("machine_json", json(&diagnosis));
}

#[test]
fn a_process() {
    let diagnosis = diagnosis(&good_machine(), Some(good_process()));
    assert!(diagnosis.works());
    assert_snapshot!("process", text(&diagnosis, 80, Color::Never));
    assert_snapshot!("process_json", json(&diagnosis));
}

#[test]
fn nobody() {
    let diagnosis = diagnosis(&machine_of_nobody(), None);
    assert!(!diagnosis.works());
    assert_snapshot!("nobody", text(&diagnosis, 80, Color::Never));
}

/// Whoever asks for a process hears of the machine only what is in the way.
#[test]
fn a_process_for_nobody() {
    let diagnosis = diagnosis(&machine_of_nobody(), Some(good_process()));
    assert!(!diagnosis.works());
    let text = text(&diagnosis, 80, Color::Never);
    let (machine, _) = text.split_once("\n\n").unwrap();
    assert_snapshot!("process_for_nobody", machine);
}

/// Lines stay within the width but for words that are longer by themselves, and colors change nothing else.
#[test]
fn lines_fit() {
    let mut facts = good_process();
    facts.objects[1].probes[0].reason = crate::probes::Reason::StackMoved.description();
    let diagnosis = diagnosis(&machine_of_nobody(), Some(facts));
    for width in [0, 60, 80, 1000] {
        let plain = text(&diagnosis, width, Color::Never);
        let limit = width.clamp(NARROWEST, WIDEST);
        for line in plain.lines() {
            let is_one_word = line.rfind(' ').is_none_or(|space| space < TEXT_COLUMN);
            assert!(line.chars().count() <= limit || is_one_word, "{width}: {line}");
            assert_eq!(line.trim_end(), line);
        }
        let colored = text(&diagnosis, width, Color::Always);
        assert!(colored.contains('\x1b'));
        let mut stripped = String::new();
        for (index, part) in colored.split('\x1b').enumerate() {
            let start = if index == 0 {
                0
            } else {
                part.find('m').unwrap() + 1
            };
            stripped.push_str(&part[start..]);
        }
        assert_eq!(stripped, plain);
    }
}

/// What a process calls itself and its files controls no terminal, and JSON stays JSON.
#[test]
fn hostile_names() {
    let hostile = "\x1b[2J\u{202e}\n</script>\"";
    let mut facts = good_process();
    facts.command_line = vec![hostile.to_owned(), "x".repeat(100_000)];
    facts.executable = hostile.into();
    facts.objects[1].path = hostile.to_owned();
    facts.unreadable.push((hostile.into(), hostile.to_owned()));
    let diagnosis = diagnosis(&good_machine(), Some(facts));
    let plain = text(&diagnosis, 80, Color::Never);
    let is_hostile =
        |character: char| character != '\n' && (character.is_control() || character == '\u{202e}');
    assert!(!plain.chars().any(is_hostile), "{plain}");
    assert!(plain.len() < 10_000);
    assert!(plain.contains("\\x1b[2J\\u202e\\n</script>"), "{plain}");
    let json = json(&diagnosis);
    assert!(!json.chars().any(is_hostile));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["process"]["objects"][1]["path"], hostile);
}

#[test]
fn words_are_wrapped_and_never_cut() {
    let check = |text: &str, width: usize, expect: &[&str]| assert_eq!(wrap(text, width), expect);
    check("", 10, &[""]);
    check("one two three", 7, &["one two", "three"]);
    check("/a/long/path of one", 6, &["/a/long/path", "of one"]);
    check("größe groß", 5, &["größe", "groß"]);
}
