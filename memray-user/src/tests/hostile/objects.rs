//! Strings, line tables, code objects, attributes and names of threads, as a target can arrange them.

use std::{path::PathBuf, time::Duration};

use memray_ebpf::{
    config::{CodeOffsets, TargetConfig},
    event::{CodeRecord, RawFrame, RawString, RecordHeader, RecordKind, ThreadRecord},
    limits::{COMM_BYTES, NAME_BYTES},
    python::names::string_layout,
};
use proptest::{prelude::*, sample::Index};

use super::{
    Bounds,
    bytes::{Mutation, hostile_number, mutated, mutations},
    fuzz_test,
    memory::{BASE, HostileMemory, Overwrites, Value, overwrite, overwrites, resolve, value},
    names::name,
};
use crate::cpython::{
    CodeObject, Evidence, Interpreter, PyVersion, linetable,
    offsets::{self, Offsets},
    strings::{self, MAX_STRING_BYTES},
    thread_name,
};

const BOUNDS: Bounds = Bounds {
    memory_bytes: 32 << 20,
    time: Duration::from_secs(20),
};
/// What a name can become: a surrogate of two bytes is shown in six.
const TEXT_BYTES: usize = MAX_STRING_BYTES * 3 + '…'.len_utf8();

/// Of 3.8 to 3.12; later versions differ in numbers that are data of the target.
fn versions() -> Vec<(PyVersion, Offsets)> {
    (8..=12)
        .map(|minor| PyVersion::new(3, minor, 0))
        .map(|version| (version, offsets::of_version(version).unwrap()))
        .collect()
}

/// A `str` as CPython makes it, of whatever kind its widest character asks for; then lied about.
#[derive(Clone, Debug)]
struct Text {
    code_points: Vec<u32>,
    kind: u32,
    compact: bool,
    ascii: bool,
    length: Option<u64>,
    state: Option<u32>,
    captured_bytes: u64,
    data: Option<Value>,
}

fn text() -> impl Strategy<Value = Text> {
    let code_point = prop_oneof![
        4 => 0_u32..0x80,
        1 => 0x80_u32..0x100,
        1 => 0xd800_u32..0xe000,
        1 => 0x1_0000_u32..0x11_0000,
        1 => any::<u32>(),
    ];
    let points = prop_oneof![
        prop::collection::vec(code_point, 0..700),
        name().prop_map(|name| name.chars().take(700).map(u32::from).collect()),
    ];
    (
        points,
        prop::sample::select(vec![0_u32, 1, 1, 2, 2, 4, 4, 3, 7]),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.7),
        prop::option::weighted(0.3, hostile_number()),
        prop::option::weighted(0.2, any::<u32>()),
        prop_oneof![Just(512_u64), 0_u64..600, hostile_number()],
        prop::option::weighted(0.3, value()),
    )
        .prop_map(
            |(code_points, kind, compact, ascii, length, state, captured_bytes, data)| Text {
                code_points,
                kind,
                compact,
                ascii,
                length,
                state,
                captured_bytes,
                data,
            },
        )
}

const TEXT: u64 = BASE + 0x100;
const LEGACY_DATA: u64 = BASE + 0x1000;

/// The object in memory, and the record that the kernel makes of it.
fn arrange(text: &Text, offsets: &CodeOffsets) -> (HostileMemory, RawString) {
    let mut memory = HostileMemory::new(4);
    let width = text.kind.clamp(1, 4) as usize;
    let data: Vec<u8> = text
        .code_points
        .iter()
        .flat_map(|point| point.to_le_bytes()[..width].to_vec())
        .collect();
    let state = text
        .state
        .unwrap_or(text.kind << 2 | u32::from(text.compact) << 5 | u32::from(text.ascii) << 6);
    let length = text.length.unwrap_or(text.code_points.len() as u64);
    let mut place = TEXT
        + u64::from(if text.ascii {
            offsets.string_ascii_data
        } else {
            offsets.string_compact_data
        });
    if !text.compact {
        place = LEGACY_DATA;
    }
    memory.write_bytes(place, &data);
    memory.write(TEXT + u64::from(offsets.string_length), length);
    memory.write(TEXT + u64::from(offsets.string_state), state.into());
    if !text.compact {
        let size_bytes = memory.size_bytes();
        let pointer = text
            .data
            .as_ref()
            .map_or(LEGACY_DATA, |value| resolve(value, size_bytes));
        memory.write(TEXT + u64::from(offsets.string_compact_data), pointer);
    }
    let mut raw = RawString {
        address: TEXT,
        length,
        state,
        captured_bytes: u32::try_from(text.captured_bytes).unwrap_or(u32::MAX),
        data: [0; NAME_BYTES],
    };
    for (to, from) in raw.data.iter_mut().zip(&data) {
        *to = *from;
    }
    (memory, raw)
}

fuzz_test!(texts, texts_long, BOUNDS, (text(), any::<Index>()), |(
    text,
    version,
): (
    Text,
    Index
)| {
    let versions = versions();
    let offsets = &versions[version.index(versions.len())].1.code;
    let (memory, raw) = arrange(&text, offsets);
    let decoded = strings::decode(&raw, &memory, offsets, || true);
    assert!(decoded.text.len() <= TEXT_BYTES, "{} bytes", decoded.text.len());
    assert_eq!(
        decoded.complete,
        !decoded.text.ends_with(strings::ELLIPSIS) || decoded.complete
    );
    assert!(memory.reads() <= 4 && memory.read_bytes() <= MAX_STRING_BYTES as u64 + 64);
    let _layout = string_layout(&memory, TEXT, offsets);
    let memory = memory.rewound();
    let read = strings::read(&memory, TEXT, offsets);
    strings::equals(&memory, TEXT, "_name", offsets);
    for number in 0..4 {
        let failing = memory.failing(number, true);
        let partly = strings::decode(&raw, &failing, offsets, || true);
        assert!(
            !partly.complete || partly == decoded,
            "a complete name is the same however it was read"
        );
        let again = strings::read(&failing, TEXT, offsets);
        assert!(again.is_err() || again == read);
    }
});

/// Tables that compilers of the three formats made.
const TABLES: &[(u8, &[u8])] = &[
    (
        9,
        &[0, 1, 8, 1, 8, 2, 12, 255, 4, 1, 255, 0, 45, 127, 0, 73, 11, 1],
    ),
    (10, &[8, 1, 8, 1, 4, 0x80, 12, 254, 254, 0, 20, 3, 0, 127, 2, 10]),
    (
        12,
        &[
            0xf0, 0x03, 0x01, 0x01, 0x01, 0xd8, 0x00, 0x09, 0x80, 0x09, 0xe0, 0x00, 0x00, 0x00, 0x00, 0xe9,
            0x02, 0x01, 0x7f, 0x7f, 0x01, 0xf8, 0xff,
        ],
    ),
];

fuzz_test!(
    line_tables,
    line_tables_long,
    BOUNDS,
    (
        any::<Index>(),
        8_u8..=15,
        mutations(0..12),
        prop_oneof![any::<i32>(), (i32::MAX - 3)..=i32::MAX, i32::MIN..(i32::MIN + 3)],
        prop::collection::vec(any::<u32>(), 8),
        1_usize..200
    ),
    |(table, minor, changes, first_line, offsets, copies): (
        Index,
        u8,
        Vec<Mutation>,
        i32,
        Vec<u32>,
        usize
    )| {
        let table = mutated(&table.get(TABLES).1.repeat(copies), &changes, usize::MAX);
        // The table of another version now and then.
        let version = PyVersion::new(3, minor, 1);
        let decoded = linetable::LineTable::decode(version, &table, first_line);
        let marks = linetable::marks(version, &table, first_line);
        for offset in offsets.into_iter().chain([0, 1, 2, u32::MAX]) {
            for marks in [&[], marks.as_slice()] {
                let alone = linetable::line(version, &table, first_line, marks, offset);
                assert_eq!(decoded.line(offset), alone, "every way to ask, at {offset}");
            }
            decoded.line_to_show(Some(offset));
        }
    }
);

fn interpreter(version: PyVersion, offsets: Offsets) -> Interpreter {
    Interpreter {
        version,
        runtime_avma: 0,
        config: TargetConfig::default(),
        offsets,
        code_dealloc_avma: None,
        python_allocator: String::new(),
        object_path: PathBuf::new(),
    }
}

fn header(kind: RecordKind) -> RecordHeader {
    RecordHeader {
        kind: kind as u8,
        allocator: 0,
        flags: 0,
        tid: 5,
        pid: 5,
        reserved: 0,
        time_ns: 0,
    }
}

fuzz_test!(
    code_objects,
    code_objects_long,
    BOUNDS,
    (
        text(),
        any::<Index>(),
        value(),
        hostile_number(),
        0_usize..64,
        overwrites(0..32),
        any::<u64>()
    ),
    |(text, version, table, table_bytes, captured, overwrites, instruction): (
        Text,
        Index,
        Value,
        u64,
        usize,
        Overwrites,
        u64
    )| {
        let versions = versions();
        let (version, offsets) = versions[version.index(versions.len())];
        let (mut memory, name) = arrange(&text, &offsets.code);
        overwrite(&mut memory, &overwrites);
        let record = CodeRecord {
            header: header(RecordKind::Code),
            code: BASE + 0x800,
            line_table_address: resolve(&table, memory.size_bytes()),
            line_table_bytes: table_bytes,
            serial: 2,
            first_line: 7,
            reserved: 0,
            file: name,
            name,
        };
        let interpreter = interpreter(version, offsets);
        let object = CodeObject::new(&record, &vec![0x80; captured], &interpreter, &memory);
        object.line(&RawFrame::new(BASE + 0x800, 0, instruction));
        assert!(object.file.text.len() <= TEXT_BYTES);
    }
);

/// A thread object and its class, of which the name and the attributes are where CPython has them.
fn thread_object(memory: &mut HostileMemory, offsets: &Offsets) {
    const TYPE: u64 = BASE + 0x1000;
    const ORDER: u64 = BASE + 0x1800;
    const NAME: u64 = BASE + 0x1900;
    const DICTIONARY: u64 = BASE + 0x2000;
    const KEYS: u64 = BASE + 0x2100;
    let fields = &offsets.object;
    let object = BASE + 0x200;
    memory.write(object + u64::from(fields.object_type), TYPE);
    memory.write(TYPE + u64::from(fields.type_mro), ORDER);
    memory.write(ORDER + u64::from(fields.tuple_size), 2);
    memory.write(ORDER + u64::from(fields.tuple_items), TYPE);
    memory.write(TYPE + u64::from(fields.type_name), NAME);
    memory.write_bytes(NAME, b"Thread\0");
    memory.write(
        TYPE + u64::from(fields.type_flags),
        1 << 28 | 1 << 9 | 1 << 4 | 1 << 2,
    );
    memory.write(TYPE + u64::from(fields.type_dict_offset), 16);
    memory.write(TYPE + u64::from(fields.type_cached_keys), KEYS);
    memory.write(object - 24, DICTIONARY);
    memory.write(object - 32, DICTIONARY);
    memory.write(object + 16, DICTIONARY);
    memory.write(DICTIONARY + u64::from(fields.dict_keys), KEYS);
    memory.write(KEYS + 8, 8);
    memory.write(KEYS + 24, 5);
    memory.write(KEYS + 32, 5);
}

fuzz_test!(
    thread_names,
    thread_names_long,
    BOUNDS,
    (
        any::<Index>(),
        overwrites(0..24),
        prop::option::weighted(0.2, value()),
        any::<bool>(),
        text()
    ),
    |(version, overwrites, object, held, text): (Index, Overwrites, Option<Value>, bool, Text)| {
        let versions = versions();
        let (version, offsets) = versions[version.index(versions.len())];
        let (mut memory, _) = arrange(&text, &offsets.code);
        thread_object(&mut memory, &offsets);
        overwrite(&mut memory, &overwrites);
        let size_bytes = memory.size_bytes();
        let record = ThreadRecord {
            header: header(RecordKind::ThreadSeen),
            thread_state: 1,
            bootstrap_self: object.map_or(BASE + 0x200, |value| resolve(&value, size_bytes)),
            comm: [0xff; COMM_BYTES],
        };
        let evidence = if held {
            Evidence::Held
        } else {
            Evidence::NativeId { own_tid: 5 }
        };
        let interpreter = interpreter(version, offsets);
        let ask = |memory: &HostileMemory| thread_name(memory, &interpreter, &record, evidence);
        let name = ask(&memory);
        assert!(name.is_none_or(|name| name.len() <= TEXT_BYTES));
        // Three looks at the class with 64 bases, and at 4,096 keys, of which each is a string to be compared.
        assert!(memory.reads() < 60_000, "{} reads", memory.reads());
        for number in 0..memory.reads().min(40) {
            ask(&memory.failing(number, false));
        }
    }
);
