//! The first two names of each path in a piece of Rust: enough to tell who is imported, without a parser.

/// One path. A group gives one import for each of its members.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// First name: `crate`, `super`, or a foreign crate (or anything else that stands before `::`).
    pub(super) root: String,
    /// Second name; for `super` the names `super` in a row, joined, one `^` each.
    pub(super) child: String,
    /// From 1.
    pub(super) line: usize,
}

/// The imports of all code above the test module.
pub(super) fn imports(source: &str) -> Vec<Import> {
    let source = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let source = if source.starts_with("#[cfg(test)]\nmod ") {
        ""
    } else {
        source
    };
    let tokens = tokens(source);
    let text = |index: usize| tokens.get(index).map_or("", |(text, _)| text.as_str());
    let mut found = Vec::new();
    let mut group_end = 0;
    for (index, (root, line)) in tokens.iter().enumerate() {
        let follows_path = index > 0 && text(index - 1) == "::";
        if root == "{" && follows_path && index >= group_end {
            group_end = members(&tokens, index + 1).1;
        }
        // Names inside a group continue the path before it.
        if index < group_end || !is_name(root) || follows_path {
            continue;
        }
        let alone = index > 0 && text(index - 1) == "use";
        if text(index + 1) != "::" && !alone {
            continue;
        }
        let children = if root == "super" {
            let count = (0..tokens.len())
                .take_while(|n| text(index + 2 * n) == "super")
                .count();
            vec!["^".repeat(count)]
        } else if text(index + 2) == "{" {
            members(&tokens, index + 3).0
        } else {
            vec![text(index + 2).to_owned()]
        };
        for child in children {
            found.push(Import {
                root: root.clone(),
                child,
                line: *line,
            });
        }
    }
    found
}

/// First names of the members of a group whose `{` stands before `start`, and where it ends.
fn members(tokens: &[(String, usize)], start: usize) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    let (mut depth, mut at_start) = (1, true);
    for (index, (text, _)) in tokens.iter().enumerate().skip(start) {
        match text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => at_start = true,
            name if at_start && depth == 1 => {
                names.push(name.to_owned());
                at_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            return (names, index);
        }
    }
    (names, tokens.len())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single other characters with their lines; comments, strings and characters left out.
fn tokens(source: &str) -> Vec<(String, usize)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = string_length(rest) {
            length
        } else if is_name(rest) {
            let length = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            tokens.push((rest[..length].to_owned(), line));
            length
        } else if rest.starts_with("::") {
            tokens.push(("::".to_owned(), line));
            2
        } else {
            if !first.is_whitespace() {
                tokens.push((first.to_string(), line));
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Length of the string or character literal that `rest` begins with.
fn string_length(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('b').unwrap_or(rest);
    let prefix = rest.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = prefix + 1 + hashes + 1;
            return Some(
                rest[open..]
                    .find(&end)
                    .map_or(rest.len(), |at| open + at + end.len()),
            );
        }
    }
    if body.starts_with('"') {
        return Some(prefix + closing(body, '"'));
    }
    // A lifetime has no quote after its first character.
    let mut characters = body.strip_prefix('\'')?.chars();
    let is_literal = characters.next()? == '\\' || characters.next()? == '\'';
    is_literal.then(|| prefix + closing(body, '\''))
}

fn closing(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, character) in body.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return index + 1,
            _ => {}
        }
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |source: &str, expect: &[(&str, &str, usize)]| {
            let found = imports(source);
            let found: Vec<_> = found
                .iter()
                .map(|i| (i.root.as_str(), i.child.as_str(), i.line))
                .collect();
            assert_eq!(found, expect, "{source}");
        };
        check("use aya::Ebpf;", &[("aya", "Ebpf", 1)]);
        check("use aya;", &[("aya", "", 1)]);
        check(
            "\nuse crate::{\n  a::{b, c},\n  d,\n};",
            &[("crate", "a", 2), ("crate", "d", 2)],
        );
        check("let x: crate::a::B = y;", &[("crate", "a", 1)]);
        check("use super::super::a;", &[("super", "^^", 1)]);
        check("// aya::x\n/* aya::y */ aya::z", &[("aya", "z", 2)]);
        check(
            r##"("aya::x", r#"aya::"y"#, b"aya::\"", '\'', aya::z)"##,
            &[("aya", "z", 1)],
        );
        check("fn f<'a>(x: &'a aya::X) {}", &[("aya", "X", 1)]);
        check("use self::a::{aya::b};", &[("self", "a", 1)]);
        check("a\n#[cfg(test)]\nmod tests { use aya::X; }", &[]);
    }
}
