use proptest::prelude::*;
use tempfile::tempdir;

use super::*;
use crate::target::testing::compile;

const LIBRARY: &str = r#"
int counter = 7;
__thread long per_thread = 3;
static int __attribute__((used, noinline)) helper(void) { return counter; }
int old_answer(void) { return 1; }
int new_answer(void) { return 2; }
__asm__(".symver old_answer, answer@ONE");
__asm__(".symver new_answer, answer@@TWO");
int get(void) { return helper() + (int)per_thread; }
"#;

fn library(extra: &[&str]) -> Vec<u8> {
    let directory = tempdir().unwrap();
    let script = directory.path().join("versions");
    std::fs::write(&script, "ONE { }; TWO { } ONE;").unwrap();
    let script = format!("-Wl,--version-script={}", script.display());
    let mut flags = vec![
        "-shared",
        "-fPIC",
        "-nostdlib",
        "-O1",
        "-Wl,-soname,libsmall.so.1",
        "-Wl,--build-id=0x0123456789abcdef",
        &script,
    ];
    flags.extend(extra);
    std::fs::read(compile(directory.path(), "libsmall.so", LIBRARY, &flags)).unwrap()
}

/// Calls everything; the answers do not matter, coming back does.
fn ask_everything(file: &ElfFile) {
    let names = ["answer", "counter", "helper", "per_thread", "absent", ""];
    let symbols = file.symbols_named(&names);
    assert_eq!(symbols.len(), names.len());
    for symbol in symbols.into_iter().flatten() {
        let _bytes = file.bytes_up_to(symbol.svma, 64);
        let _bytes = file.bytes_at(symbol.svma, usize::try_from(symbol.size).unwrap());
        let _offset = file.svma_to_file_offset(symbol.svma);
    }
    let _section = file.section_bytes(".text");
    let _bias = file.bias_of_mapping(0x7000_0000_1000, 0x1000);
    let _svma = file.file_offset_to_svma(0x1000);
    let _answers = (
        file.base_svma(),
        file.end_svma(),
        file.entry_svma(),
        file.build_id(),
    );
    let _answers = (
        file.interpreter(),
        file.soname(),
        file.needed(),
        file.tls_segment(),
    );
}

#[test]
fn a_library_is_described() {
    let file = ElfFile::parse(library(&[])).unwrap();
    assert!(file.is_position_independent());
    assert_eq!(file.base_svma(), 0);
    assert_eq!(file.soname().unwrap(), "libsmall.so.1");
    assert_eq!(
        file.build_id().unwrap(),
        [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]
    );
    assert_eq!(file.interpreter(), None);
    assert_eq!(file.needed(), Vec::<OsString>::new());
    assert_eq!(file.tls_segment().unwrap().memory_size, 8);

    let counter = file.symbol("counter").unwrap();
    assert_eq!(
        (counter.kind, counter.size, counter.is_global),
        (SymbolKind::Object, 4, true)
    );
    assert_eq!(&*file.bytes_at(counter.svma, 4).unwrap(), 7_i32.to_le_bytes());
    let offset = file.svma_to_file_offset(counter.svma).unwrap();
    assert_eq!(file.file_offset_to_svma(offset), Some(counter.svma));

    let helper = file.symbol("helper").unwrap();
    assert_eq!((helper.kind, helper.is_global), (SymbolKind::Function, false));
    let per_thread = file.symbol("per_thread").unwrap();
    assert_eq!((per_thread.kind, per_thread.svma), (SymbolKind::Tls, 0));
    assert_eq!(file.symbol("absent"), None);

    let text = file.section(".text").unwrap();
    assert!((text.svma..text.svma + text.size).contains(&helper.svma));
    assert_eq!(
        file.section_bytes(".text").unwrap().len(),
        usize::try_from(text.size).unwrap()
    );
    assert_eq!(file.section(".absent"), None);
}

#[test]
fn the_default_version_of_a_symbol_wins() {
    for flags in [&[][..], &["-s"][..]] {
        let file = ElfFile::parse(library(flags)).unwrap();
        let answer = file.symbol("answer").unwrap();
        let code = file.bytes_at(answer.svma, 8).unwrap();
        // With or without endbr64, the constant that is returned follows a `mov $2, %eax`.
        assert!(
            code.windows(5).any(|bytes| bytes == [0xb8, 2, 0, 0, 0]),
            "{code:x?}"
        );
    }
}

#[test]
fn symbols_are_found_without_section_headers() {
    for hash in ["-Wl,--hash-style=gnu", "-Wl,--hash-style=sysv"] {
        let mut bytes = library(&[hash]);
        let with_sections = ElfFile::parse(bytes.clone()).unwrap();
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        let without = ElfFile::parse(bytes).unwrap();
        assert_eq!(without.section(".text"), None);
        assert_eq!(
            without.symbol("helper"),
            None,
            "static functions are in .symtab only"
        );
        for name in ["answer", "counter", "get"] {
            assert!(with_sections.symbol(name).is_some());
            assert_eq!(without.symbol(name), with_sections.symbol(name), "{name} {hash}");
        }
    }
}

#[test]
fn an_executable_names_its_loader_and_libraries() {
    let directory = tempdir().unwrap();
    let check = |name: &str, flags: &[&str], position_independent| {
        let path = compile(directory.path(), name, "int main(void) { return 0; }", flags);
        let file = ElfFile::open(&path).unwrap();
        assert_eq!(file.is_position_independent(), position_independent);
        assert_eq!(file.base_svma() == 0, position_independent);
        assert!(
            file.interpreter()
                .unwrap()
                .to_str()
                .unwrap()
                .contains("ld-linux-x86-64")
        );
        assert_eq!(file.needed(), ["libc.so.6"]);
    };
    check("pie", &["-pie", "-fPIE"], true);
    check("fixed", &["-no-pie"], false);
}

#[test]
fn the_bias_is_that_of_the_running_program() {
    let file = ElfFile::open(Path::new("/proc/self/exe")).unwrap();
    let process = crate::target::process::Process::open(std::process::id()).unwrap();
    let executable = process.main_executable().unwrap();
    let svma = file.symbol("main").unwrap().svma;
    let avma = svma.wrapping_add(executable.bias);
    assert!(executable.avma_range.contains(&avma));
    let mut bytes = [0; 16];
    memray_ebpf::memory::RemoteMemory::read_into(&process, avma, &mut bytes).unwrap();
    assert_eq!(&*file.bytes_at(svma, 16).unwrap(), bytes);
}

#[test]
fn what_is_not_a_traceable_elf_file_is_named() {
    let good = library(&[]);
    let check = |change: &dyn Fn(&mut Vec<u8>), expect: &str| {
        let mut bytes = good.clone();
        change(&mut bytes);
        assert_eq!(ElfFile::parse(bytes).unwrap_err().to_string(), expect);
    };
    check(&|bytes| bytes.clear(), "not an ELF file");
    check(&|bytes| bytes[0] = b'#', "not an ELF file");
    check(
        &|bytes| bytes[4] = 1,
        "a 32-bit ELF file; memray traces 64-bit x86-64 programs only",
    );
    check(
        &|bytes| bytes[5] = 2,
        "a big-endian ELF file; memray traces 64-bit x86-64 programs only",
    );
    check(
        &|bytes| bytes[18] = 183,
        "an ELF file for machine number 183; memray traces 64-bit x86-64 programs only",
    );
    check(
        &|bytes| bytes.truncate(70),
        "a damaged ELF file: the section headers are cut off",
    );
    assert!(matches!(
        ElfFile::open(Path::new("/dev/null")),
        Err(ElfError::NotElf)
    ));
    assert!(matches!(
        ElfFile::open(Path::new("/absent")),
        Err(ElfError::Open { .. })
    ));
}

#[test]
fn every_prefix_is_an_answer_or_an_error() {
    let bytes = library(&["-Wl,-z,noseparate-code", "-s"]);
    for length in 0..bytes.len() {
        if let Ok(file) = ElfFile::parse(bytes[..length].to_vec()) {
            ask_everything(&file);
        }
    }
}

#[test]
fn random_damage_is_an_answer_or_an_error() {
    let bytes = library(&["-Wl,-z,noseparate-code"]);
    let places = prop::collection::vec((0..bytes.len(), any::<u8>()), 1..40);
    let headers = prop::collection::vec(
        (0..0x400_usize, prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff])),
        1..8,
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2000));
    runner
        .run(&(places, headers), |(places, headers)| {
            let mut damaged = bytes.clone();
            for (place, byte) in places.into_iter().chain(headers) {
                damaged[place] = byte;
            }
            // The identification stays, or most cases would end there.
            damaged[..20].copy_from_slice(&bytes[..20]);
            if let Ok(file) = ElfFile::parse(damaged) {
                ask_everything(&file);
            }
            Ok(())
        })
        .unwrap();
}
