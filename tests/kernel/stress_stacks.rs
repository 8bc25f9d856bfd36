//! Stacks and code objects that were never seen before, one for each event.

use memray_tests::{Stress, Stressed, behavior::usual_python, program};

fn stress(words: &[&str]) -> Stress {
    let script = program("stress.py").into_os_string();
    let words = words.iter().map(Into::into);
    Stress::new(usual_python(), std::iter::once(script).chain(words))
}

fn check_nothing_lost(case: &str, stressed: &Stressed) {
    stressed.print(case);
    assert!(stressed.losses().is_empty(), "{case}: {:?}", stressed.losses());
}

/// Each allocation has a stack of its own, of the depth that the program made.
fn check_stacks(count: u64, depth: u64) {
    let stressed = stress(&["stacks", &count.to_string()]).run();
    check_nothing_lost(&format!("{count} stacks"), &stressed);
    let sql = "SELECT COUNT(*) || ' ' || COUNT(DISTINCT stack_id) || ' ' || MIN(depth) || ' ' || MAX(depth)
        FROM freed_allocations JOIN stacks USING (stack_id) WHERE size = 1234";
    // The module, `stacks`, and two functions for each digit of a number with one at the innermost.
    let frames = 2 + 2 * depth + 1;
    assert_eq!(
        stressed.capture.query(sql),
        [format!("{count} {count} {frames} {frames}")]
    );
}

/// Each function that was made has allocated once, under its own name.
fn check_codes(count: u64, kept: u64) {
    let stressed = stress(&["codes", &count.to_string(), &kept.to_string()]).run();
    check_nothing_lost(&format!("{count} code objects, {kept} of them alive"), &stressed);
    let sql = "SELECT COUNT(*) || ' ' || COUNT(DISTINCT function) || ' ' || SUM(file = 'made ' || substr(function, 6))
        FROM freed_allocations JOIN stacks USING (stack_id) JOIN frames USING (frame_id)
        WHERE size = 2334 AND function LIKE 'made|_%' ESCAPE '|'";
    assert_eq!(stressed.capture.query(sql), [format!("{count} {count} {count}")]);
}

#[test]
fn a_stack_for_each_event() {
    check_stacks(50_000, 16);
}

#[test]
#[ignore = "long"]
fn a_million_stacks() {
    check_stacks(1_000_000, 20);
}

#[test]
fn a_code_object_for_each_event() {
    check_codes(20_000, 20_000);
}

#[test]
#[ignore = "long"]
fn a_million_code_objects() {
    check_codes(1_000_000, 100_000);
}

#[test]
fn stacks_beyond_the_bound_are_shown_as_one() {
    let stressed = stress(&["stacks", "3000"])
        .options(&["--max-stacks", "1000"])
        .run();
    stressed.print("3,000 stacks, room for 1,000");
    assert!(
        stressed.losses().contains("stack_table_full"),
        "{:?}",
        stressed.losses()
    );
    let rows = stressed.number("SELECT COUNT(*) FROM freed_allocations WHERE size = 1234");
    assert_eq!(rows, 3000);
    let under_the_marker = stressed.number(
        "SELECT COUNT(*) FROM freed_allocations JOIN stacks USING (stack_id) JOIN frames USING (frame_id)
         WHERE size = 1234 AND function = '<too many stacks>' AND kind = 'marker'",
    );
    assert!(
        under_the_marker > 1000 && under_the_marker < 3000,
        "{under_the_marker}"
    );
}
