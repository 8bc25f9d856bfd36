//! Every way of calling an allocator function is one row with the size that was asked for, and none twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use memray_tests::{Compiled, Python, Recording, Script};

use super::{extension, of_script, packages};

/// `984 malloc` is what the first of these lines begins with; `ALIGNED` and `SIZED` depend on the C library.
const EXPECTED: &[&str] = &[
    // Each function once, straight from compiled code.
    "984 malloc freed: <module>@run > each_function@free",
    "984 calloc freed: <module>@run > each_function@free",
    "984 realloc freed: <module>@run > each_function@free",
    "984 reallocarray freed: <module>@run > each_function@free",
    "984 posix_memalign freed: <module>@run > each_function@free",
    "984 aligned_alloc freed: <module>@run > each_function@free",
    "984 MEMALIGN freed: <module>@run > each_function@free",
    "984 valloc freed: <module>@run > each_function@free",
    "984 pvalloc freed: <module>@run > each_function@free",
    "984 valloc live: <module>@run > each_function@keep",
    // free_sized and free_aligned_sized end blocks where the C library has them.
    "991 malloc SIZED: <module>@run > sized_frees@free_sized",
    "992 aligned_alloc SIZED: <module>@run > sized_frees@free_aligned_sized",
    // realloc to nothing frees; memray takes it for a failure and the block for a leak.
    "1003 malloc freed: <module>@run > realloc_to_nothing@before",
    "1003 malloc freed: <module>@run > realloc_to_nothing@before",
    "1003 malloc freed: <module>@run > realloc_to_nothing@before",
    "1005 malloc freed: <module>@run > realloc_to_nothing@grown",
    "1007 realloc live: <module>@run > realloc_to_nothing@grown",
    // Calls through pointers, which memray does not see.
    "1009 malloc live: <module>@run > found_by_dlsym@by dlsym",
    "1013 malloc live: <module>@run > through_ctypes@ctypes",
    "1015 valloc live: <module>@run > through_ctypes@ctypes",
    "1017 malloc freed: <module>@run > through_cffi@cffi malloc",
    "1019 valloc live: <module>@run > through_cffi@cffi valloc",
    // operator new, in a library that was loaded a line before.
    "1012 malloc freed: <module>@run > vectors_of_a_library_loaded_late@one",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    "2048 malloc freed: <module>@run > vectors_of_a_library_loaded_late@ten",
    // Large requests of the three domains reach the C library, small ones only those of the raw domain. pymalloc
    // answers a realloc of nothing by malloc.
    "1023 malloc live: <module>@run > domains_of_python@large",
    "1023 calloc live: <module>@run > domains_of_python@large",
    "1023 realloc live: <module>@run > domains_of_python@large",
    "423 malloc live: <module>@run > domains_of_python@small",
    "423 calloc live: <module>@run > domains_of_python@small",
    "423 realloc live: <module>@run > domains_of_python@small",
    "1023 malloc live: <module>@run > domains_of_python@large",
    "1023 calloc live: <module>@run > domains_of_python@large",
    "1023 malloc live: <module>@run > domains_of_python@large",
    "1023 malloc live: <module>@run > domains_of_python@large",
    "1023 calloc live: <module>@run > domains_of_python@large",
    "1023 malloc live: <module>@run > domains_of_python@large",
    "2047 mmap freed: <module>@run > mapped_by_the_module@mmap",
];

/// What the script asks for.
fn is_known(size: i64) -> bool {
    [423, 2047, 2048].contains(&size) || (980..1024).contains(&size)
}

#[test]
fn by_every_way() {
    let (extension, vectors) = (extension(), Compiled::library_of_cpp("conformance.cpp"));
    let script = Script::new("conformance_calls.py");
    let n_sized = AtomicUsize::new(0);
    Python::each(|python| {
        let capture = Recording::script(python, &script)
            .argument(extension.folder())
            .argument(packages(python))
            .argument(vectors.path())
            .run();
        let has_sized = match capture.stdout.trim() {
            "True True" => true,
            "False False" => false,
            other => panic!("{}: {other}", capture.name()),
        };
        n_sized.fetch_add(usize::from(has_sized), Ordering::Relaxed);
        // From glibc 2.38 on memalign is a function of its own, and from 2.43 on there are sized frees. The interpreters
        // with a C library of their own have 2.43, the others Debian 12's 2.36.
        let (memalign, sized) = if has_sized {
            ("memalign", "freed")
        } else {
            ("aligned_alloc", "live")
        };
        let expected: Vec<String> = EXPECTED
            .iter()
            .map(|line| line.replace("MEMALIGN", memalign).replace("SIZED", sized))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let rows = of_script(&capture, |row| is_known(row.size));
        capture.expect(&rows, &expected);

        // memray's threshold of 1: each vector dies before the next is made.
        let temporary = capture.query(
            "SELECT temporary_bytes, temporary_allocations FROM hotspots
             WHERE function = 'vectors_of_a_library_loaded_late' AND temporary_allocations = 10",
        );
        assert_eq!(temporary, ["20480 10"], "{}", capture.name());
        let of_pymalloc = "SELECT COUNT(*) FROM sites JOIN allocators USING (allocator_id)
            WHERE name LIKE 'pymalloc%' AND alloc_count > 0";
        assert_eq!(capture.number(of_pymalloc), Some(0), "{}", capture.name());
    });
    assert_ne!(n_sized.into_inner(), 0, "no C library has free_sized");
}
