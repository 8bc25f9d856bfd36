//! Walking CPython frames.
