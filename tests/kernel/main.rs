//! Tests that need root and real uprobes: what is recorded of programs whose every allocation is known.
//!
//! The programs allocate sizes that nothing else uses. Rows are compared as text, with the whole stack, and in order.

mod allocators;
