//! The texts of one compilation and where each came from.
//!
//! Expects: texts given by the caller; the language reads no files.
//! Guarantees: a [`FileId`] stays valid, and its text unchanged, for the life of the [`Sources`].

use crate::tree::FileId;

/// All source texts of one compilation.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<(String, String)>,
}

impl Sources {
    /// Adds a text under the path that diagnostics print.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) -> FileId {
        self.files.push((path.into(), text.into()));
        FileId(self.files.len() as u32 - 1)
    }

    /// The text of a file.
    pub fn text(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].1
    }

    /// The path of a file.
    pub fn path(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].0
    }

    /// Line and column, both from 1, of a byte.
    pub fn line_column(&self, file: FileId, byte: u32) -> (usize, usize) {
        let before = &self.text(file)[..(byte as usize).min(self.text(file).len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        (line, column)
    }
}
