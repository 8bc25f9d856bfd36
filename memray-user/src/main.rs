//! The `memray` command.

fn main() {}
