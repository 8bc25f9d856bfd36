//! Our figures and memray's of real programs: see `memray_tests::parity`. `cargo xtask parity` compares them all and
//! shows the tables; here are the two of which most is to be learned, and with `--long` the others.

use memray_tests::parity::{PROGRAMS, Program, Recordings, Verdict, python, table};
use tempfile::TempDir;

#[test]
fn a_program_with_a_large_library() {
    check("sqlalchemy");
}

#[test]
fn ways_that_only_one_of_the_two_sees() {
    check("other_ways");
}

#[test]
#[ignore = "long"]
fn all_programs() {
    for program in PROGRAMS {
        check(program.name);
    }
}

fn check(name: &str) {
    let program = Program::find(name).expect("there is such a program");
    let folder = TempDir::new().expect("a temporary directory can be made");
    let verdict = Verdict::new(program, &Recordings::make(&python(), program, folder.path()));
    assert!(verdict.faults.is_empty(), "{}", table(&verdict));
}
