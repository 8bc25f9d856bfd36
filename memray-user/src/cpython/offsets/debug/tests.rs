use std::time::Duration;

use memray_ebpf::memory::Fault;
use proptest::{prelude::*, sample::Index};

use super::*;
use crate::tests::hostile::{
    Bounds,
    bytes::hostile_number,
    fuzz_test,
    memory::{Overwrites, overwrites},
    walkers,
};

const ADDRESS: u64 = 0xb9_47c0;
const V3_14_8: PyVersion = PyVersion::new(3, 14, 8);

/// The only memory there is begins at [`ADDRESS`].
struct Memory(Vec<u8>);

impl RemoteMemory for Memory {
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        let bytes = self
            .0
            .get(..destination.len())
            .filter(|_| address == ADDRESS)
            .ok_or(Fault)?;
        destination.copy_from_slice(bytes);
        Ok(())
    }
}

/// The places of 3.14.8 that are read, with the values that Debian's build has there.
fn table() -> Memory {
    let mut bytes = vec![0; V3_14.table_bytes];
    bytes[..8].copy_from_slice(&COOKIE);
    let words = [
        (8, 0x030e_08f0),
        (208, 72),
        (216, 152),
        (256, 8),
        (264, 0),
        (272, 56),
        (280, 80),
        (288, 74),
        (320, 112),
        (336, 128),
        (344, 136),
        (352, 68),
        (384, 208),
        (408, 8),
        (424, 24),
        (440, 168),
        (456, 32),
        (464, 16),
        (536, 32),
        (544, 40),
        (600, 16),
        (608, 32),
        (624, 32),
        (632, 16),
        (640, 40),
    ];
    let mut memory = Memory(bytes);
    for (place, value) in words {
        memory.set(place, value);
    }
    memory
}

impl Memory {
    fn set(&mut self, place: usize, value: u64) {
        self.0[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
}

#[test]
fn a_table_as_shipped() {
    let offsets = read(&table(), ADDRESS, V3_14_8).unwrap();
    let frame = FrameOffsets {
        thread_state_frame: 72,
        cframe_current_frame: FrameOffsets::NONE,
        thread_state_thread_id: 152,
        previous: 8,
        code: 0,
        instruction: 56,
        owner: 74,
        localsplus: 80,
        header_bytes: 80,
        layout: FrameOffsets::CONTIGUOUS,
    };
    assert_eq!(offsets.frame, frame);
    assert_eq!(
        (
            offsets.code.file,
            offsets.code.name,
            offsets.code.string_compact_data
        ),
        (112, 128, 56)
    );
    assert_eq!(
        (offsets.code_adaptive, offsets.object.code_basic_size),
        (208, 208)
    );
}

fn check(place: usize, value: u64, expect: &str) {
    let mut memory = table();
    memory.set(place, value);
    let error = read(&memory, ADDRESS, V3_14_8).unwrap_err();
    assert_eq!(error.to_string(), expect);
}

#[test]
fn other_tables_are_errors() {
    check(0, 0, "there is no table of debug offsets at 0xb947c0");
    check(
        8,
        0x030f_00f0,
        "the table of debug offsets is that of version 0x30f00f0, the interpreter is 3.14.8",
    );
    check(
        8,
        u64::MAX,
        "the table of debug offsets is that of version 0xffffffffffffffff, the interpreter is 3.14.8",
    );
    check(16, 1, "the interpreter is built without the GIL");
    check(
        320,
        1 << 40,
        "the debug offset of `code_object.filename` is 1099511627776, which cannot be",
    );
    check(
        280,
        4000,
        "the debug offset of `interpreter_frame.localsplus` is 4000, which cannot be",
    );
    check(
        272,
        52,
        "the debug offset of `interpreter_frame.instr_ptr` is 52, which cannot be",
    );
    check(
        208,
        256,
        "the debug offset of `thread_state.current_frame` is 256, which cannot be",
    );
    check(
        272,
        80,
        "the debug offset of `interpreter_frame.instr_ptr` is 80, which cannot be",
    );
    check(
        288,
        80,
        "the debug offset of `interpreter_frame.owner` is 80, which cannot be",
    );

    let unreadable = DebugOffsetsError::Unreadable { address: ADDRESS };
    assert_eq!(read(&Memory(Vec::new()), ADDRESS, V3_14_8), Err(unreadable));
    let version = PyVersion::new(3, 16, 0);
    assert_eq!(
        read(&table(), ADDRESS, version),
        Err(DebugOffsetsError::UnknownLayout { version })
    );
}

/// A table in which every offset could be true.
fn plausible(layout: &Layout, version: u64) -> Memory {
    let mut memory = Memory(vec![0; layout.table_bytes]);
    memory.0[..8].copy_from_slice(&COOKIE);
    for (place, value) in [
        (8, version),
        (layout.thread_current_frame, 72),
        (layout.thread_thread_id, 152),
        (layout.frame_previous, 8),
        (layout.frame_executable, 0),
        (layout.frame_instr_ptr, 56),
        (layout.frame_localsplus, 80),
        (layout.frame_owner, 74),
        (layout.code_filename, 112),
        (layout.code_adaptive, 208),
        (layout.type_name, 24),
        (layout.string_state, 32),
        (layout.string_length, 16),
        (layout.string_ascii_size, 40),
    ] {
        memory.set(place, value);
    }
    memory
}

const BOUNDS: Bounds = Bounds {
    memory_bytes: 4 << 20,
    time: Duration::from_secs(20),
};

fuzz_test!(
    hostile_tables,
    hostile_tables_long,
    BOUNDS,
    (
        0_usize..3,
        prop::collection::vec((any::<Index>(), hostile_number()), 0..6),
        any::<u16>(),
        overwrites(0..200)
    ),
    |(version, words, cut, memory): (usize, Vec<(Index, u64)>, u16, Overwrites)| {
        let (layout, minor) = [(&V3_13, 13), (&V3_14, 14), (&V3_15, 15)][version];
        let mut table = plausible(layout, 0x0300_00f0 | u64::from(minor) << 16);
        for (place, value) in words {
            // The cookie and the version are looked at first, and seldom changed here.
            let place = place.index(table.0.len() / 8) * 8;
            table.set(if place < 16 { 16 } else { place }, value);
        }
        if cut % 16 == 0 {
            table.0.truncate(cut.into());
        }
        let Ok(offsets) = read(&table, ADDRESS, PyVersion::new(3, minor, 0)) else {
            return;
        };
        let bound = u32::try_from(MAX_OFFSET).unwrap() + 16;
        assert!(offsets.code.string_compact_data <= bound && offsets.object.type_mro <= bound);
        walkers::walk(&offsets.frame, &memory);
    }
);
