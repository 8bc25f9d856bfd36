//! The reader of accessor functions on what this machine's compiler makes of one, in every way in which a program
//! can reach a thread-local variable.

use std::{path::Path, process::Command};

use memray_user::{
    cpython::{
        accessor::{self, Place},
        pthread::thread_layout,
        thread_state::LoadedFile,
    },
    target::elf::ElfFile,
};

use super::{launch::Running, reader::variable};

/// A variable between others, and the function that returns it.
const LIBRARY: &str = "#define HIDDEN __attribute__((visibility(\"hidden\")))\n\
    HIDDEN __thread void *before[5]; HIDDEN __thread void *state; HIDDEN __thread void *after[5];\n\
    void *get_state(void) { return state; }\n\
    void set_state(void *value) { before[0] = after[0] = 0; state = value; }\n";

/// Prints the `fs` base and the value for two threads. `WHERE` names a library to load, else it is linked.
const PROGRAM: &str = "#include <dlfcn.h>\n#include <pthread.h>\n#include <stdio.h>\n#include <unistd.h>\n\
    #ifdef WHERE\nstatic void (*set_state)(void *);\n#else\nvoid set_state(void *);\n#endif\n\
    static void *run(void *value) { \
        set_state(value); \
        printf(\"%lu %lu\\n\", (unsigned long)pthread_self(), (unsigned long)value); fflush(stdout); \
        if (value == (void *)22) return 0; \
        pause(); return 0; }\n\
    int main(void) { \
        pthread_t thread; \n\
        #ifdef WHERE\n\
        set_state = (void (*)(void *))dlsym(dlopen(WHERE, RTLD_NOW), \"set_state\");\n\
        #endif\n\
        run((void *)22); pthread_create(&thread, 0, run, (void *)11); \
        usleep(20000); printf(\"ready\\n\"); fflush(stdout); pause(); }\n";

fn compile(output: &Path, source: &str, flags: &[&str]) {
    let source_path = output.with_extension("c");
    std::fs::write(&source_path, source).unwrap();
    let status = Command::new("cc")
        .arg("-o")
        .arg(output)
        .arg(&source_path)
        .args(flags)
        .status()
        .unwrap();
    assert!(status.success(), "cc {flags:?}");
}

/// The two threads' values through the accessor, against those that they print.
fn check(program: &Path, file: &Path, what: &str) {
    let (running, lines) = Running::until_ready(&mut Command::new(program));
    let process = running.process();
    let objects = process.objects().unwrap();
    let object = objects.iter().find(|object| object.path == file).unwrap();
    let file = ElfFile::open(&object.open_path).unwrap();
    let loaded = LoadedFile {
        file: &file,
        bias: object.bias,
    };
    let (code, avma) = loaded.function("get_state").unwrap();
    let place = accessor::place(&code, avma, &(0..0), &process);
    let Some(Place::Variable(mut found)) = place else {
        panic!("{what}: {place:?} in {code:02x?}");
    };
    found.slot_bytes = thread_layout(&objects).unwrap().vector_slot_bytes.unwrap();
    assert_eq!(lines.len(), 2);
    for line in lines {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        assert_eq!(
            variable(&process, numbers[0], found),
            numbers[1],
            "{what}: {found:?}"
        );
    }
}

#[test]
fn variables_of_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    for dialect in ["-mtls-dialect=gnu", "-mtls-dialect=gnu2"] {
        for model in ["global-dynamic", "local-dynamic", "initial-exec"] {
            for level in ["-O0", "-O2", "-Os"] {
                let library = folder.join("library.so");
                let model_flag = format!("-ftls-model={model}");
                compile(
                    &library,
                    LIBRARY,
                    &["-shared", "-fPIC", dialect, &model_flag, level],
                );

                let what = format!("{dialect} {model} {level}");
                let (linked, loaded) = (folder.join("linked"), folder.join("loaded"));
                compile(&linked, PROGRAM, &["-pthread", library.to_str().unwrap()]);
                check(&linked, &library, &format!("{what}, linked"));
                let definition = format!("-DWHERE=\"{}\"", library.display());
                compile(&loaded, PROGRAM, &["-pthread", &definition, "-ldl"]);
                check(&loaded, &library, &format!("{what}, loaded late"));
            }
        }
    }
}

#[test]
fn variables_of_programs() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().canonicalize().unwrap().join("program");
    let source = format!("{LIBRARY}{}", PROGRAM.replace("void set_state(void *);", ""));
    for place in [["-pie", "-fPIE"], ["-no-pie", "-fno-pie"]] {
        for level in ["-O0", "-O2"] {
            compile(
                &program,
                &source,
                &[place[0], place[1], level, "-pthread", "-rdynamic"],
            );
            check(&program, &program, &format!("{place:?} {level}"));
        }
    }
}
