//! The figures side by side, as the terminal and the documentation show them, and as data.

use std::{collections::BTreeMap, fmt::Write as _, rc::Rc};

use serde_json::{Value, json};

use super::{
    account::{Account, Difference, sums},
    checks::Verdict,
};

/// Differences of which no rule speaks that are shown.
const REST_MOST: usize = 40;

/// A line of the program or of a library.
type Place = (Rc<str>, Rc<str>, u32);

/// In Markdown.
pub fn table(verdict: &Verdict) -> String {
    let mut text = format!("## {}\n\n", verdict.program.name);
    let columns =
        "| | `memray run` | memray 1.20 | difference | explained | unexplained |\n|---|--:|--:|--:|--:|--:|";
    line(&mut text, columns);
    for account in &verdict.accounts {
        let [ours, theirs] = account.sums;
        let rest = sums(account.rest.iter());
        let name = account.moment.name();
        for (what, ours, theirs, rest) in [
            ("bytes", ours.1, theirs.1, rest.1),
            ("allocations", ours.0, theirs.0, rest.0),
        ] {
            let figures = [ours, theirs, ours - theirs, ours - theirs - rest, rest];
            row(&mut text, &format!("{what} {name}"), &figures.map(grouped));
        }
    }
    for account in &verdict.accounts {
        let name = account.moment.name();
        let columns = "only ours | bytes | only memray's | bytes";
        line(
            &mut text,
            &format!("\n| why, {name} | {columns} |\n|---|--:|--:|--:|--:|"),
        );
        for (rule, difference) in account
            .explained
            .iter()
            .filter(|(_, difference)| !difference.is_empty())
        {
            row(&mut text, rule, &parts(difference));
        }
        row(&mut text, "no reason", &parts(&account.rest));
    }
    let [shared, own] = verdict
        .beside
        .map(|(count, bytes)| [grouped(count), grouped(bytes)]);
    line(
        &mut text,
        &format!(
            "\nIn one process: {} allocations of {} bytes as memray has them; {} of {} bytes are memray's own.\n",
            shared[0], shared[1], own[0], own[1]
        ),
    );
    for account in &verdict.accounts {
        if !account.rest.is_empty() {
            line(&mut text, &rest(account));
        }
    }
    for fault in &verdict.faults {
        line(&mut text, &format!("- {fault}"));
    }
    text
}

/// A line for each program.
pub fn summary(verdicts: &[Verdict]) -> String {
    let mut text = String::from(
        "| program | peak, bytes | memray's | in all, bytes | memray's | allocations | memray's | unexplained |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for Verdict {
        program, accounts, ..
    } in verdicts
    {
        let [made, peak, _leaked] = accounts;
        let unexplained: i64 = accounts
            .iter()
            .map(|account| super::checks::magnitude(&account.rest).0)
            .sum();
        let [ours, theirs] = made.sums;
        let [peak_ours, peak_theirs] = peak.sums;
        let figures = [
            peak_ours.1,
            peak_theirs.1,
            ours.1,
            theirs.1,
            ours.0,
            theirs.0,
            unexplained,
        ];
        row(&mut text, &format!("`{}`", program.name), &figures.map(grouped));
    }
    text
}

/// All figures, and each line at which the two differ.
pub fn json(verdict: &Verdict) -> Value {
    let accounts = verdict.accounts.iter().map(|account| {
        let rules: Vec<Value> = account
            .explained
            .iter()
            .filter(|(_, difference)| !difference.is_empty())
            .map(|(rule, difference)| json!({"rule": rule, "net": pair(sums(difference.iter()))}))
            .collect();
        json!({
            "moment": account.moment.name(),
            "ours": pair(account.sums[0]),
            "memray": pair(account.sums[1]),
            "rules": rules,
            "unexplained": pair(super::checks::magnitude(&account.rest)),
            "lines": lines(account),
        })
    });
    json!({
        "program": verdict.program.name,
        "accounts": accounts.collect::<Vec<_>>(),
        "faults": verdict.faults,
    })
}

/// Each line where something differs, with the rules that speak of it.
fn lines(account: &Account) -> Vec<Value> {
    let mut found = BTreeMap::<Place, (i64, i64, Vec<&str>)>::new();
    let place = |location: &super::account::Location| {
        (
            Rc::clone(&location.file),
            Rc::clone(&location.function),
            location.line,
        )
    };
    for (location, count) in &account.difference {
        let line = found.entry(place(location)).or_default();
        line.0 += count;
        line.1 += count * location.size;
    }
    let rest = [("no reason", account.rest.clone())];
    for (rule, difference) in account.explained.iter().chain(&rest) {
        for location in difference.keys() {
            if let Some(line) = found.get_mut(&place(location))
                && line.2.last() != Some(rule)
            {
                line.2.push(rule);
            }
        }
    }
    found
        .into_iter()
        .map(|((file, function, line), (allocations, bytes, rules))| {
            json!({"file": &*file, "function": &*function, "line": line, "allocations": allocations,
                "bytes": bytes, "rules": rules})
        })
        .collect()
}

fn rest(account: &Account) -> String {
    let mut rows: Vec<_> = account.rest.iter().collect();
    rows.sort_by_key(|(location, count)| -(location.size.max(1) * **count).abs());
    let mut text = format!(
        "not explained {}, {} places:\n",
        account.moment.name(),
        rows.len()
    );
    for (location, count) in rows.into_iter().take(REST_MOST) {
        line(&mut text, &format!("  {count:+} {}", location.text()));
    }
    text
}

fn pair((allocations, bytes): (i64, i64)) -> Value {
    json!({"allocations": allocations, "bytes": bytes})
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

fn row(text: &mut String, name: &str, figures: &[String]) {
    line(text, &format!("| {name} | {} |", figures.join(" | ")));
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
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
