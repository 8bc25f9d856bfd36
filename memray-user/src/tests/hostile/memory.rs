//! The memory of a process that does not mean well.

use std::{cell::Cell, rc::Rc};

use memray_ebpf::memory::{Fault, RemoteMemory};
use proptest::{prelude::*, sample::Index};

use super::bytes::hostile_number;

/// Where the pages begin; a page at the very end of all addresses is there too.
pub(crate) const BASE: u64 = 0x7f00_0000_0000;
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Pages. Reads are counted and can be made to fail.
#[derive(Clone)]
pub(crate) struct HostileMemory {
    bytes: Rc<[u8]>,
    /// The read that fails, counted from 0, and all after it.
    pub(crate) fails_from: Option<u64>,
    /// The one read that fails.
    pub(crate) fails_at: Option<u64>,
    reads: Cell<u64>,
    read_bytes: Cell<u64>,
}

impl HostileMemory {
    pub(crate) fn new(page_count: u64) -> Self {
        let size_bytes = usize::try_from(page_count * PAGE_BYTES).expect("small");
        Self {
            bytes: vec![0; size_bytes].into(),
            fails_from: None,
            fails_at: None,
            reads: Cell::new(0),
            read_bytes: Cell::new(0),
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn write(&mut self, address: u64, value: u64) {
        self.write_bytes(address, &value.to_le_bytes());
    }

    /// Nothing happens where there is no memory.
    pub(crate) fn write_bytes(&mut self, address: u64, bytes: &[u8]) {
        let start = usize::try_from(address.wrapping_sub(BASE)).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(bytes.len());
        if let Some(place) = Rc::make_mut(&mut self.bytes).get_mut(range) {
            place.copy_from_slice(bytes);
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.get()
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.get()
    }

    /// The same memory with nothing read yet, whose read of this number fails; or that and all later ones.
    pub(crate) fn failing(&self, at: u64, goes_on_failing: bool) -> Self {
        Self {
            fails_from: goes_on_failing.then_some(at),
            fails_at: Some(at),
            reads: Cell::new(0),
            read_bytes: Cell::new(0),
            bytes: Rc::clone(&self.bytes),
        }
    }

    pub(crate) fn rewound(&self) -> Self {
        let mut memory = self.failing(0, false);
        memory.fails_at = None;
        memory
    }
}

impl RemoteMemory for HostileMemory {
    fn read_into(&self, address: u64, destination: &mut [u8]) -> Result<(), Fault> {
        let number = self.reads.replace(self.reads.get() + 1);
        let length = destination.len() as u64;
        self.read_bytes.set(self.read_bytes.get() + length);
        if self.fails_at == Some(number) || self.fails_from.is_some_and(|from| number >= from) {
            return Err(Fault);
        }
        let start = address
            .checked_sub(BASE)
            .and_then(|start| usize::try_from(start).ok())
            .ok_or(Fault)?;
        let end = start.checked_add(destination.len()).ok_or(Fault)?;
        destination.copy_from_slice(self.bytes.get(start..end).ok_or(Fault)?);
        Ok(())
    }
}

/// A value that memory may hold: a pointer into it, aligned or not, one past its end, or a number.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Pointer { to: Index, aligned: bool },
    Number(u64),
}

/// Words that are overwritten.
pub(crate) type Overwrites = Vec<(Index, Value)>;

pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (any::<Index>(), prop::bool::weighted(0.8)).prop_map(|(to, aligned)| Value::Pointer { to, aligned }),
        2 => hostile_number().prop_map(Value::Number),
        // Kernel addresses, the guard page at the end of user addresses, and non-canonical ones.
        1 => prop::sample::select(vec![
            0xffff_8000_0000_0000, 0xffff_ffff_8100_0000, 0x7fff_ffff_f000, 0x8000_0000_0000, BASE - 8, BASE - 1,
        ]).prop_map(Value::Number),
    ]
}

pub(crate) fn overwrites(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Overwrites> {
    prop::collection::vec((any::<Index>(), value()), count)
}

pub(crate) fn resolve(value: &Value, size_bytes: u64) -> u64 {
    match value {
        Value::Pointer { to, aligned } => {
            let offset = to.index(usize::try_from(size_bytes).expect("small") + 1) as u64;
            BASE + if *aligned { offset & !15 } else { offset }
        }
        Value::Number(number) => *number,
    }
}

pub(crate) fn overwrite(memory: &mut HostileMemory, overwrites: &Overwrites) {
    let size_bytes = memory.size_bytes();
    for (at, value) in overwrites {
        let place = at.index(memory.bytes.len()) & !7;
        memory.write(BASE + place as u64, resolve(value, size_bytes));
    }
}
