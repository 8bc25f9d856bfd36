//! Agreement with memray 1.20 on a real program, to the byte and to the allocation, at every line.
//!
//! The program is recorded three times: by us and by memray as it is, and by us once more with what differs under
//! memray applied to it, so that the effects are measured. What differs must be what the rules explain, each rule must
//! be needed, and nothing may be left.

mod picture;
mod rules;
mod table;

use std::path::{Path, PathBuf};

use memray_tests::{Capture, Compiled, Python, Recording, Script, workspace};
use picture::{Allocation, CallObjects, Picture, count, succeeded};
use rules::{
    ARENA_BYTES, Account, Evidence, INTERPRETER_STACK_BYTES, is_arena_record, is_mapping_of, n_stacks_differ,
};
use tempfile::TempDir;

/// Hashes of text decide in which order sets are walked.
const HASH_SEED: (&str, &str) = ("PYTHONHASHSEED", "0");
#[test]
fn agrees_with_memray_to_the_byte() {
    let python = python();
    let script = Script::new("parity_sqlalchemy.py");
    let causes_line = script.line("causes");
    let folder = TempDir::new().expect("a temporary directory can be made");
    let other = folder.path().join("other.py");
    std::fs::write(&other, "\n").expect("a file can be written");

    let ours = record(&python, &script, "");
    let caused = record(&python, &script, &format!("memray={} profile", other.display()));
    let (stdout, capture) = record_by_memray(&python, &script, &[HASH_SEED], folder.path());
    assert_eq!(
        (&ours.stdout, &caused.stdout),
        (&stdout, &stdout),
        "the same work"
    );

    let ours = Picture::of_capture(&ours, &script.path);
    let caused = Picture::of_capture(&caused, &script.path);
    let theirs = Picture::of_memray(&python, &capture, &script.path);
    let call_objects = CallObjects::of_files(&python, &caused.made);
    let evidence = |ours, theirs, caused| Evidence {
        ours,
        theirs,
        caused,
        call_objects: &call_objects,
        causes_line,
    };
    let made = evidence(&ours.made, &theirs.made, &caused.made);
    let peak = evidence(&ours.peak, &theirs.peak, &caused.peak);
    let (made, peak) = (Account::new(&made), Account::new(&peak));
    let table = table::table(&made, &peak);
    println!("{table}");

    for (name, account) in [("in all", &made), ("at the peak", &peak)] {
        check_largest(name, account);
        check_chance(name, account.evidence);
        let rest = account.rest(None);
        assert!(rest.is_empty(), "{name}, not explained: {}", table::list(&rest));
    }
    check_rules_are_needed(&made);
    check_one_is_noticed(&made);
    let different = n_stacks_differ(made.evidence);
    println!("whole stacks differ: {different} allocations");
    check_stacks(different, count(made.evidence.theirs));
}

/// As `OpenBLAS` does in numpy.
#[test]
fn constructors_of_libraries_are_not_seen_by_memray() {
    let python = python();
    let script = Script::new("parity_constructor.py");
    let library = Compiled::library("parity_constructor.c");
    let library = library.path().display().to_string();
    let folder = TempDir::new().expect("a temporary directory can be made");

    let ours = Recording::script(&python, &script)
        .environment("PARITY_LIBRARY", &library)
        .run();
    let variables = [("PARITY_LIBRARY", library.as_str())];
    let (_stdout, capture) = record_by_memray(&python, &script, &variables, folder.path());
    let theirs = Picture::of_memray(&python, &capture, &script.path);
    let sizes = |picture: Picture| -> Vec<i64> {
        let sizes = picture.made.iter().map(|allocation| allocation.size);
        sizes
            .filter(|size| (1_234_570..1_234_590).contains(size))
            .collect()
    };
    let ours = sizes(Picture::of_capture(&ours, &script.path));
    assert_eq!(
        (ours, sizes(theirs)),
        (vec![1_234_577, 1_234_583], vec![1_234_583])
    );
}

/// The environment that the set-up makes.
fn python() -> Python {
    let program = workspace().join(".cache/parity-venv/bin/python");
    assert!(
        program.exists(),
        "`{}` is not there: run `scripts/make-parity-venv`",
        program.display()
    );
    Python::at(&program, "scripts/make-parity-venv")
}

fn record(python: &Python, script: &Script, causes: &str) -> Capture {
    Recording::script(python, script)
        .environment(HASH_SEED.0, HASH_SEED.1)
        .environment("PARITY_CAUSES", causes)
        .run()
}

fn record_by_memray(
    python: &Python,
    script: &Script,
    variables: &[(&str, &str)],
    folder: &Path,
) -> (String, PathBuf) {
    let capture = folder.join("capture.bin");
    let output = python
        .command()
        .envs(variables.iter().copied())
        .env_remove("PARITY_CAUSES")
        .args(["-m", "memray", "run", "--quiet", "--output"])
        .arg(&capture)
        .arg(&script.path)
        .output()
        .expect("the interpreter has run before");
    (succeeded(&output), capture)
}

/// Of the ten lines with the most bytes, those of which no rule speaks are the same in both.
fn check_largest(name: &str, account: &Account<'_>) {
    const MOST: usize = 10;
    const UNTOUCHED_MIN: usize = 5;
    let lines = table::largest(account, MOST);
    assert_eq!(lines.len(), MOST, "{name}");
    let untouched: Vec<_> = lines.iter().filter(|line| line.rules.is_empty()).collect();
    assert!(untouched.len() >= UNTOUCHED_MIN, "{name}: {lines:?}");
    for line in untouched {
        assert_eq!(line.ours, line.theirs, "{name}: {line:?}");
        // CPython qualifies names from 3.11 on; memray shows the last part.
        let ours = line.our_function.rsplit('.').next();
        assert_eq!(ours, Some(&*line.their_function), "{name}: {line:?}");
    }
}

/// What falls on lines by chance is about the same in number, once the same modules are imported.
fn check_chance(name: &str, evidence: &Evidence<'_>) {
    const ARENAS_TOLERANCE: i64 = 3;
    const RECORDS_TOLERANCE: i64 = 4;
    const PIECES_TOLERANCE: i64 = 2;
    let sides = |is_wanted: &dyn Fn(&Allocation) -> bool| {
        [evidence.caused, evidence.theirs].map(|allocations| -> i64 {
            let inside = allocations.iter().filter(|allocation| {
                let program = allocation.stack.last();
                program.is_some_and(|place| place.line != evidence.causes_line)
            });
            let wanted = inside.filter(|allocation| is_wanted(allocation));
            wanted.map(|allocation| allocation.count).sum()
        })
    };
    let check = |what: &str, [caused, theirs]: [i64; 2], tolerance: i64| {
        let is_near = (caused - theirs).abs() <= tolerance;
        assert!(is_near, "{name}: {what}: {caused}, memray {theirs}");
    };
    check(
        "arenas",
        sides(&|allocation| is_mapping_of(allocation, ARENA_BYTES)),
        ARENAS_TOLERANCE,
    );
    check("records of arenas", sides(&is_arena_record), RECORDS_TOLERANCE);
    if name == "at the peak" {
        // How often a piece is mapped and unmapped again depends on what is called at its end.
        let pieces = sides(&|allocation| is_mapping_of(allocation, INTERPRETER_STACK_BYTES));
        check("pieces of the interpreter's stack", pieces, PIECES_TOLERANCE);
    }
}

/// A rule that can be left out explains nothing, and should be.
fn check_rules_are_needed(account: &Account<'_>) {
    for (name, _) in &account.explained {
        assert!(!account.rest(Some(name)).is_empty(), "`{name}` explains nothing");
    }
}

/// The comparison would fail over one allocation of the line with the most that another line or size had instead.
fn check_one_is_noticed(account: &Account<'_>) {
    let evidence = account.evidence;
    let largest = evidence.theirs.iter().max_by_key(|allocation| allocation.count);
    let largest = largest.expect("there are allocations");
    let wrong_size = Allocation {
        size: largest.size + 1,
        count: 1,
        ..largest.clone()
    };
    let missing = Allocation {
        count: -1,
        ..largest.clone()
    };
    let theirs = [evidence.theirs, &[missing, wrong_size]].concat();
    let changed = Evidence {
        theirs: &theirs,
        ..*evidence
    };
    assert_eq!(Account::new(&changed).rest(None).len(), 2);
}

/// Not only the innermost line: with the causes applied, whole stacks agree. The library walks sets of objects whose
/// order follows their addresses, and which caller makes a dictionary grow follows that order: the tolerance.
fn check_stacks(different: i64, total: i64) {
    const TOLERANCE_PER_MILLION: i64 = 500;
    assert!(
        different * 1_000_000 <= total * TOLERANCE_PER_MILLION,
        "{different} of {total}"
    );
}
