//! Reports of a real capture against SQL over the same file.
