//! Tests of more than one module.

pub(crate) mod hostile;
