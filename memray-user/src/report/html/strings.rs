//! The string table of a page: every text once, columns hold its index.

use rustc_hash::FxHashMap;

/// Texts in order of first use.
#[derive(Debug, Default)]
pub(super) struct StringTable<'text> {
    texts: Vec<&'text str>,
    index_of: FxHashMap<&'text str, usize>,
}

impl<'text> StringTable<'text> {
    pub(super) fn index(&mut self, text: &'text str) -> usize {
        *self.index_of.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() - 1
        })
    }

    pub(super) fn into_texts(self) -> Vec<&'text str> {
        self.texts
    }
}
