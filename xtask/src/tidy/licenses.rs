//! Which licences may reach a user's machine. A new one is a decision: add it here, and to NOTICE what it asks for.

use serde_json::Value;

use super::Problem;

/// Every licence expression must be one of these, alone or in a choice (`OR`) or a sum (`AND`) that they satisfy.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    // inferno, unmodified; see NOTICE.
    "CDDL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(metadata: &Value) -> Vec<Problem> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    if packages.is_empty() {
        return vec!["`cargo metadata` lists no packages".to_owned()];
    }
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or("?");
        match package["license"].as_str() {
            None => problems.push(format!("package `{name}` states no licence")),
            Some(license) if !is_allowed(license) => {
                problems.push(format!(
                    "package `{name}` has licence `{license}`, which is not allowed"
                ));
            }
            Some(_) => {}
        }
    }
    problems
}

/// `OR` binds weaker than `AND`, as in SPDX; parentheses hold either. The old form `A/B` means `A OR B`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    split(&expression, " OR ").iter().any(|choice| {
        split(choice, " AND ").iter().all(|part| {
            let part = part.trim();
            match part.strip_prefix('(').and_then(|part| part.strip_suffix(')')) {
                Some(inner) => is_allowed(inner),
                None => ALLOWED.contains(&part),
            }
        })
    })
}

/// Splits outside parentheses.
fn split<'a>(expression: &'a str, operator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_u32, 0);
    for (index, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 && index >= start && expression[index..].starts_with(operator) => {
                parts.push(&expression[start..index]);
                start = index + operator.len();
            }
            _ => {}
        }
    }
    parts.push(expression.get(start..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions() {
        let check =
            |expression: &str, expect: bool| assert_eq!(is_allowed(expression), expect, "{expression}");
        check("MIT", true);
        check("MIT OR Apache-2.0", true);
        check("MIT/Apache-2.0", true);
        check("MIT OR GPL-2.0-only", true);
        check("GPL-2.0-only", false);
        check("MIT AND GPL-2.0-only", false);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR Apache-2.0) AND (GPL-3.0-only OR AGPL-3.0-only)", false);
        check("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true);
        check("", false);
    }

    #[test]
    fn packages() {
        let check = |packages: Value, expect: &[&str]| {
            assert_eq!(check(&json!({ "packages": packages })), expect);
        };
        check(json!([{ "name": "a", "license": "MIT" }]), &[]);
        check(
            json!([{ "name": "a", "license": null }]),
            &["package `a` states no licence"],
        );
        check(json!([]), &["`cargo metadata` lists no packages"]);
    }
}
