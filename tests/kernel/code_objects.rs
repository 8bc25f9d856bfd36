//! Code objects that die, and others that take their place.

use memray_tests::{Python, Recording, Script};

#[test]
fn names_at_addresses_that_are_used_again() {
    let script = Script::new("code_objects.py");
    Python::each(|python| {
        let capture = Recording::script(python, &script).run();
        let name = capture.name();
        let rows = capture.rows(|size| (2_000_001..2_000_501).contains(&size));
        let found: Vec<String> = rows
            .iter()
            .map(|row| {
                let stack = capture.stack(row.stack_id);
                let frame = stack.last().unwrap();
                format!(
                    "{} {} {} {} {}",
                    row.size,
                    stack.len(),
                    frame.function,
                    frame.file,
                    frame.line
                )
            })
            .collect();
        let expected: Vec<String> = (0..500)
            .map(|number| {
                let (size, file, line) = (2_000_001 + number, number % 89, number % 97 + 2);
                format!("{size} 3 name_{number} <file {file}> {line}")
            })
            .collect();
        let wrong: Vec<_> = found
            .iter()
            .zip(&expected)
            .filter(|(found, expected)| found != expected)
            .collect();
        assert!(
            wrong.is_empty(),
            "{name}: {} wrong, first {:?}",
            wrong.len(),
            wrong[0]
        );
        assert_eq!(found.len(), expected.len(), "{name}");

        let addresses: usize = capture.stdout.trim().parse().unwrap();
        assert!(
            addresses < 400,
            "{name}: {addresses} addresses; nothing was used again"
        );
    });
}
