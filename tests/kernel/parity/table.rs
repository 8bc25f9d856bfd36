//! The figures side by side, as the documentation shows them.

use std::{collections::BTreeMap, fmt::Write as _, rc::Rc};

use super::{
    picture::{Allocation, bytes, count},
    rules::{Account, Difference, is_pages, sums},
};

/// Allocations and bytes of one line of the program or of a library.
#[derive(Debug)]
pub(super) struct Line {
    pub file: Rc<str>,
    pub number: u32,
    pub our_function: Rc<str>,
    pub their_function: Rc<str>,
    pub ours: (i64, i64),
    pub theirs: (i64, i64),
    /// Names of the rules that explain a difference here.
    pub rules: Vec<&'static str>,
}

/// The lines with the most bytes in either, without arenas and the like, which fall on lines by chance.
pub(super) fn largest(account: &Account<'_>, most: usize) -> Vec<Line> {
    let mut lines = BTreeMap::<(Rc<str>, u32), Line>::new();
    for (allocations, is_ours) in [(account.evidence.ours, true), (account.evidence.theirs, false)] {
        for allocation in allocations.iter().filter(|allocation| !is_pages(allocation)) {
            add(&mut lines, allocation, is_ours);
        }
    }
    for (name, difference) in &account.explained {
        for location in difference
            .keys()
            .filter(|location| &*location.allocator != "mmap")
        {
            if let Some(line) = lines.get_mut(&(Rc::clone(&location.file), location.line))
                && !line.rules.contains(name)
            {
                line.rules.push(name);
            }
        }
    }
    let mut lines: Vec<Line> = lines.into_values().collect();
    lines.sort_by_key(|line| -line.ours.1.max(line.theirs.1));
    lines.truncate(most);
    lines
}

/// In Markdown.
pub(super) fn table(made: &Account<'_>, peak: &Account<'_>) -> String {
    let mut text = String::from("| | `memray run` | memray 1.20 | difference |\n|---|--:|--:|--:|\n");
    for (name, sum, account) in [
        ("bytes at the peak", bytes as fn(&[Allocation]) -> i64, peak),
        ("allocations alive at the peak", count, peak),
        ("bytes allocated in all", bytes, made),
        ("allocations in all", count, made),
    ] {
        let [ours, theirs] = [account.evidence.ours, account.evidence.theirs].map(sum);
        row(&mut text, name, &[ours, theirs, ours - theirs].map(grouped), "");
    }
    for (name, account) in [("in all", made), ("at the peak", peak)] {
        let columns = "only ours | bytes | only memray's | bytes |";
        head(
            &mut text,
            &format!("why, {name} | {columns}"),
            "|---|--:|--:|--:|--:|",
        );
        for (rule, difference) in &account.explained {
            row(&mut text, rule, &parts(difference), "");
        }
        row(&mut text, "no reason", &parts(&account.rest(None)), "");
    }
    for (name, account) in [("in all", made), ("at the peak", peak)] {
        let columns = "ours, bytes | memray's, bytes | ours | memray's | why not the same |";
        head(
            &mut text,
            &format!("line, {name} | {columns}"),
            "|---|--:|--:|--:|--:|---|",
        );
        for line in largest(account, 10) {
            let Line { ours, theirs, .. } = line;
            let file = line.file.rsplit('/').next().unwrap_or_default();
            let place = format!("`{}` {file}:{}", line.our_function, line.number);
            let figures = [ours.1, theirs.1, ours.0, theirs.0].map(grouped);
            row(
                &mut text,
                &place,
                &figures,
                &format!(" {} |", line.rules.join("; ")),
            );
        }
    }
    text
}

/// What a failed assertion shows.
pub(super) fn list(difference: &Difference) -> String {
    const MOST: usize = 40;
    let mut rows: Vec<_> = difference.iter().collect();
    rows.sort_by_key(|(location, count)| -(location.size * **count).abs());
    let (allocations, bytes) = sums(difference.iter());
    let mut text = format!(
        "{allocations} allocations, {bytes} bytes at {} places\n",
        rows.len()
    );
    for (location, count) in rows.into_iter().take(MOST) {
        writeln!(text, "{count:+} {location:?}").expect("writing to a string cannot fail");
    }
    text
}

fn add(lines: &mut BTreeMap<(Rc<str>, u32), Line>, allocation: &Allocation, is_ours: bool) {
    let Some(place) = allocation.stack.first() else {
        return;
    };
    let line = lines
        .entry((Rc::clone(&place.file), place.line))
        .or_insert_with(|| Line {
            file: Rc::clone(&place.file),
            number: place.line,
            our_function: "".into(),
            their_function: "".into(),
            ours: (0, 0),
            theirs: (0, 0),
            rules: Vec::new(),
        });
    let (sum, function) = if is_ours {
        (&mut line.ours, &mut line.our_function)
    } else {
        (&mut line.theirs, &mut line.their_function)
    };
    sum.0 += allocation.count;
    sum.1 += allocation.count * allocation.size;
    *function = Rc::clone(&place.function);
}

/// Allocations and bytes that only one side has at a place, ours first.
fn parts(difference: &Difference) -> [String; 4] {
    let side = |sign: i64| {
        let of_side = |&(_, count): &(_, &i64)| count.signum() == sign;
        sums(difference.iter().filter(of_side))
    };
    let (ours, theirs) = (side(1), side(-1));
    [ours.0, ours.1, -theirs.0, -theirs.1].map(grouped)
}

fn head(text: &mut String, columns: &str, rule: &str) {
    writeln!(text, "\n| {columns}\n{rule}").expect("writing to a string cannot fail");
}

fn row(text: &mut String, name: &str, figures: &[String], rest: &str) {
    writeln!(text, "| {name} | {} |{rest}", figures.join(" | ")).expect("writing to a string cannot fail");
}

/// `-1,234,567`.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
