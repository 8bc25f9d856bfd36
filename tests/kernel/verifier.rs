//! The work that the programs give the kernel's verifier, against their budgets.

use std::fmt::Write as _;

use memray_ebpf::limits::VERIFIED_INSTRUCTIONS;
use memray_user::bpf::verify_programs;

#[test]
fn every_program_is_within_its_budget() {
    let mut programs = verify_programs().unwrap();
    programs.sort_by_key(|program| program.name);
    let mut table = format!(
        "{:<18} {:>12} {:>10} {:>8}\n",
        "program", "instructions", "budget", "ms"
    );
    let mut names = Vec::new();
    let mut is_within = true;
    for (program, (name, budget)) in programs.iter().zip(VERIFIED_INSTRUCTIONS) {
        names.push(name);
        is_within &= program.instructions <= budget;
        writeln!(
            table,
            "{:<18} {:>12} {budget:>10} {:>8.1}",
            program.name,
            program.instructions,
            program.load_time.as_secs_f64() * 1e3
        )
        .unwrap();
    }
    println!("{table}");
    let loaded: Vec<_> = programs.iter().map(|program| program.name).collect();
    assert_eq!(loaded, names);
    assert!(is_within, "over budget:\n{table}");
}

/// Two threads of one CPU can be in such a program at one time.
#[test]
fn programs_on_functions_keep_to_their_threads_stack() {
    let programs = verify_programs().unwrap();
    let on_functions = [
        "allocator_entry",
        "allocator_return",
        "code_dealloc",
        "free_entry",
    ];
    for program in programs {
        let may_have_private_stack = !on_functions.contains(&program.name);
        assert!(
            may_have_private_stack || !program.has_private_stack,
            "`{}` runs on a stack of its CPU",
            program.name
        );
    }
}
