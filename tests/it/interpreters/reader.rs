//! What the BPF programs do with a `TargetConfig`, done from outside on a process that holds still.

use memray_ebpf::{
    config::{FrameOffsets, TlsVariable},
    memory::RemoteMemory as _,
};
use memray_user::{
    cpython::{Interpreter, linetable, strings},
    target::process::Process,
};

/// Frames that a walk visits at most.
const MAX_FRAMES: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Qualified from 3.11 on.
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

pub(crate) struct Reader<'target> {
    pub(crate) process: &'target Process,
    pub(crate) interpreter: &'target Interpreter,
}

impl Reader<'_> {
    fn word(&self, address: u64, offset: u32) -> u64 {
        let address = address.wrapping_add(offset.into());
        self.process
            .read_u64(address)
            .unwrap_or_else(|_| panic!("{address:#x} cannot be read"))
    }

    /// `None` where the version has no such variable.
    pub(crate) fn attached_state(&self, fs: u64) -> Option<u64> {
        let attached = self.interpreter.config.thread_state.attached;
        (attached.mode != TlsVariable::NONE).then(|| variable(self.process, fs, attached))
    }

    pub(crate) fn bound_state(&self, fs: u64) -> u64 {
        let source = &self.interpreter.config.thread_state;
        if source.bound.mode != TlsVariable::NONE {
            assert_eq!(source.tss_key_address, 0, "two sources for the bound state");
            return variable(self.process, fs, source.bound);
        }
        let word = self.word(source.tss_key_address, 0);
        let (is_initialized, key) = (word & 0xffff_ffff, word >> 32);
        assert_eq!(is_initialized, 1, "no key at {:#x}", source.tss_key_address);
        if source.tss_array_offset != 0 {
            return self.word(self.word(fs + source.tss_array_offset, 0) + key * 8, 0);
        }
        let block = match key {
            0..32 => fs + source.tss_first_block_offset,
            _ => self.word(fs + source.tss_blocks_offset + key / 32 * 8, 0),
        };
        self.word(block + key % 32 * 16 + 8, 0)
    }

    pub(crate) fn thread_id(&self, state: u64) -> u64 {
        self.word(state, self.interpreter.config.frame.thread_state_thread_id)
    }

    /// The thread's Python frames, innermost first, and the first local variable of the outermost one.
    pub(crate) fn frames(&self, state: u64) -> (Vec<Frame>, u64) {
        let offsets = &self.interpreter.config.frame;
        let mut frame = self.word(state, offsets.thread_state_frame);
        if offsets.cframe_current_frame != FrameOffsets::NONE {
            frame = self.word(frame, offsets.cframe_current_frame);
        }
        let (mut frames, mut first_local) = (Vec::new(), 0);
        for _ in 0..MAX_FRAMES {
            if frame == 0 {
                break;
            }
            let has_shims = offsets.owner != FrameOffsets::NONE && self.interpreter.version.minor >= 12;
            let is_shim = has_shims
                && self.word(frame, offsets.owner).to_le_bytes()[0] >= FrameOffsets::FIRST_SHIM_OWNER;
            if !is_shim {
                let code = self.word(frame, offsets.code) & !7;
                let fields = &self.interpreter.config.code;
                frames.push(Frame {
                    name: self.text(self.word(code, fields.name)),
                    file: self.text(self.word(code, fields.file)),
                    line: self.line(code, frame),
                });
                first_local = self.word(frame, offsets.localsplus);
            }
            frame = self.word(frame, offsets.previous);
        }
        (frames, first_local)
    }

    fn text(&self, address: u64) -> String {
        let text = strings::read(self.process, address, &self.interpreter.config.code);
        text.expect("a string can be read").text
    }

    fn line(&self, code: u64, frame: u64) -> u32 {
        let (frame_offsets, offsets) = (&self.interpreter.config.frame, &self.interpreter.config.code);
        let instruction = self.word(frame, frame_offsets.instruction);
        let instruction = match frame_offsets.layout {
            FrameOffsets::HEAP => {
                let lasti = i32::from_le_bytes(instruction.to_le_bytes()[..4].try_into().unwrap());
                i64::from(lasti).cast_unsigned()
            }
            _ => instruction,
        };
        let table_object = self.word(code, offsets.line_table);
        let length = usize::try_from(self.word(table_object, offsets.bytes_size)).unwrap();
        let mut table = vec![0; length];
        let data = table_object + u64::from(offsets.bytes_data);
        self.process
            .read_into(data, &mut table)
            .expect("a line table can be read");

        let first_line = self.word(code, offsets.first_line).to_le_bytes();
        let first_line = i32::from_le_bytes(first_line[..4].try_into().unwrap());
        let version = self.interpreter.version;
        let first_instruction = self.interpreter.first_instruction(code);
        let offset = linetable::instruction_offset(version, first_instruction, instruction);
        linetable::LineTable::decode(version, &table, first_line).line_to_show(offset)
    }
}

/// The word in a thread-local variable of the thread whose `fs` base this is.
pub(crate) fn variable(process: &Process, fs: u64, variable: TlsVariable) -> u64 {
    let word = |address| {
        process
            .read_u64(address)
            .unwrap_or_else(|_| panic!("{address:#x} cannot be read"))
    };
    let block = match variable.mode {
        TlsVariable::STATIC => fs,
        TlsVariable::DYNAMIC => word(word(fs + 8) + u64::from(variable.slot_bytes) * variable.module_id),
        mode => panic!("a variable of mode {mode} cannot be read"),
    };
    word(block.wrapping_add_signed(variable.offset))
}
