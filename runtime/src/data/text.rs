//! Text as a sequence of characters, each a whole number.
//!
//! Expects: a UTF-8 file.
//! Guarantees: the number of a character is its place in the sorted alphabet of the whole file, so training and
//!   evaluation parts agree.
//! Leaves out: tokens longer than a character.

use std::collections::BTreeSet;
use std::path::Path;

use crate::data::column::Column;
use crate::error::DataError;
use crate::file::read_text;
use crate::tensor::{Dtype, Stored};

/// A text as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// One i32 per character: `[characters]`.
    pub tokens: Column,
    /// The characters in sorted order; a token is an index into it.
    pub alphabet: Vec<char>,
}

/// Reads a text.
pub fn read(path: &Path) -> Result<Text, DataError> {
    let text = read_text(path)?;
    if text.is_empty() {
        return Err(DataError::in_file(path, "the file is empty", "give a file with text"));
    }
    Ok(encode(&text))
}

fn encode(text: &str) -> Text {
    let alphabet: Vec<char> = text.chars().collect::<BTreeSet<char>>().into_iter().collect();
    let mut bytes = Vec::with_capacity(4 * text.len());
    for character in text.chars() {
        let token = alphabet.binary_search(&character).expect("bug in bpc: a character outside the alphabet");
        bytes.extend((token as i32).to_le_bytes());
    }
    let shape = vec![(bytes.len() / 4) as u64];
    Text { tokens: Column { stored: Stored::Element(Dtype::I32), shape, bytes }, alphabet }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_numbered_in_sorted_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "béa\nb").unwrap();
        let text = read(&path).unwrap();
        assert_eq!(text.alphabet, ['\n', 'a', 'b', 'é']);
        assert_eq!(text.tokens.shape, [5]);
        let expected: Vec<u8> = [2i32, 3, 1, 0, 2].iter().flat_map(|token| token.to_le_bytes()).collect();
        assert_eq!(text.tokens.bytes, expected);
        std::fs::write(&path, "").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("the file is empty"));
    }
}
