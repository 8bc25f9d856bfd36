//! What is no capture, or one that cannot be read, is named with a hint.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{super::CaptureReader, ask_all};
use crate::store::tests::{sample_batch, write_capture};

fn check(path: &Path, message: &str) {
    let error = CaptureReader::open(path)
        .and_then(|reader| ask_all(&reader))
        .unwrap_err();
    assert!(error.message.contains(message), "{path:?}: {error:?}");
    assert!(error.hint.is_some(), "{path:?}: {error:?}");
}

#[test]
fn no_captures() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    check(&at("none"), "there is no capture");
    check(&at(""), "is a directory");
    check(Path::new("/dev/null"), "is not a regular file");
    for (name, content, message) in [
        ("empty", &b""[..], "is empty"),
        (
            "memray.bin",
            b"memray\0\x0c\0\0\0\0\0\0\0",
            "format of Bloomberg's memray",
        ),
        ("script.py", b"import os\n", "a text file"),
        (
            "report.html",
            b"<!DOCTYPE html><html></html>",
            "an HTML or XML file",
        ),
        ("byte", b"\0", "no SQLite database"),
        ("head", b"SQLite format 3\0", "is cut off: it has 16 bytes"),
    ] {
        fs::write(at(name), content).unwrap();
        check(&at(name), message);
    }
    std::os::unix::fs::symlink("none", at("link")).unwrap();
    check(&at("link"), "there is no capture");
    fs::write(at("file"), "x").unwrap();
    check(&at("file/capture.db"), "cannot read the capture");
}

#[test]
fn other_databases_and_versions() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t(x)")
        .unwrap();
    check(&other, "an SQLite database of another program");
    for (version, message) in [
        (4, "newer memray: its schema version is `4`"),
        (0, "schema version is `0`"),
    ] {
        let path = directory.path().join(format!("{version}.db"));
        write_capture(&path, &[sample_batch()]);
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", version)
            .unwrap();
        check(&path, message);
    }
}

#[test]
fn captures_cut_off_at_any_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.db");
    write_capture(&path, &[sample_batch()]);
    let bytes = fs::read(&path).unwrap();
    for length in [
        1,
        15,
        40,
        99,
        100,
        511,
        512,
        4095,
        4096,
        5000,
        bytes.len() / 2,
        bytes.len() - 1,
    ] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = CaptureReader::open(&path)
            .and_then(|reader| ask_all(&reader))
            .expect_err(&format!("{length} of {} bytes", bytes.len()));
        let expected = match length {
            ..16 => "is not a capture".to_owned(),
            16..512 => format!("is cut off: it has {length} bytes"),
            512.. => format!("is cut off: it has {length} of {} bytes", bytes.len()),
        };
        assert!(error.message.contains(&expected), "{length}: {error:?}");
        assert!(error.hint.is_some(), "{length}: {error:?}");
    }
}

#[test]
fn paths_of_any_spelling() {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = tempfile::tempdir().unwrap();
    for name in [
        &b"file:x?mode=rw#y"[..],
        b"a b%20%",
        b":memory:",
        b"\xff\xfe.db",
        "ü\u{1f600}.db".as_bytes(),
    ] {
        let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
        write_capture(&path, &[sample_batch()]);
        assert_eq!(
            ask_all(&CaptureReader::open(&path).unwrap()).map_err(|error| error.message),
            Ok(())
        );
    }
}
