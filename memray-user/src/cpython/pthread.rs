//! Where the C library of a process keeps what each thread has of its own: values of pthread keys, and the vector of
//! thread-local blocks. Two libraries are known, and each is asked in its own way ([`glibc`], [`musl`]).

use super::{glibc, musl};
use crate::target::{elf::ElfFile, process::MappedObject};

/// Offsets in `struct pthread`, to which `fs` points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLayout {
    pub keys: KeyValues,
    /// Size of a slot of the dynamic thread vector; none if thread-local variables of libraries cannot be found.
    pub vector_slot_bytes: Option<u32>,
}

/// Where the values of pthread keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyValues {
    /// glibc, in blocks of 32.
    Blocks {
        /// `specific_1stblock`: values of the keys 0 to 31.
        first_block: u64,
        /// `specific`: pointers to the blocks.
        blocks: u64,
    },
    /// musl, in one array.
    Array {
        /// `tsd`: the pointer to it.
        pointer: u64,
    },
}

/// What the C library in one of these files says, which can be the program itself if that is linked statically.
pub fn thread_layout(objects: &[MappedObject]) -> Option<ThreadLayout> {
    // glibc before 2.34 has `libc-2.31.so` and `libpthread-2.31.so`; musl is called by the name of its loader, or
    // `libc.so` where that name is a link. The symbols of other files are read only if none of those will do.
    let names = [b"libc.".as_slice(), b"libc-", b"libpthread", b"ld-musl"];
    let is_likely = |object: &&MappedObject| {
        let name = object.path.file_name().unwrap_or_default();
        names
            .iter()
            .any(|prefix| name.as_encoded_bytes().starts_with(prefix))
    };
    let (likely, others): (Vec<_>, Vec<_>) = objects.iter().partition(is_likely);
    likely
        .into_iter()
        .chain(others)
        .filter_map(|object| ElfFile::open(&object.open_path).ok())
        .find_map(|file| of_file(&file))
}

fn of_file(file: &ElfFile) -> Option<ThreadLayout> {
    glibc::thread_layout(file).or_else(|| musl::thread_layout(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::process::Process;

    /// Under whatever name: the likely ones are only looked at first.
    #[test]
    fn this_process() {
        let mut objects = Process::open(std::process::id()).unwrap().objects().unwrap();
        let layout = thread_layout(&objects).unwrap();
        assert_eq!(layout.vector_slot_bytes, Some(16));
        for object in &mut objects {
            object.path = "/renamed".into();
        }
        assert_eq!(thread_layout(&objects), Some(layout));
        assert_eq!(thread_layout(&[]), None);
    }
}
