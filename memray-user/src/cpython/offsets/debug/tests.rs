use memray_ebpf::memory::Fault;

use super::*;

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
