//! Tokens one after the other, and what the text forms of graphs and of kernel programs share: words, marks, lists,
//! numbers, types.
//!
//! Expects: nothing of the text.
//! Guarantees: whatever the text, an error at the token that does not fit and never a panic.
//! Leaves out: the rules of each form, which are further functions of [`Cursor`] in the `parse` of that form.

use super::TextError;
use super::lexer::{Placed, Token, tokens};
use crate::ir::types::{Dtype, Literal, TensorType};

/// The tokens of a text and how many are read.
pub struct Cursor {
    tokens: Vec<Placed>,
    /// Of the token that comes next.
    pub position: usize,
}

impl Cursor {
    /// Before the first token.
    pub fn new(text: &str) -> Result<Cursor, TextError> {
        Ok(Cursor { tokens: tokens(text)?, position: 0 })
    }

    /// The token that comes next.
    pub fn next(&self) -> &Placed {
        &self.tokens[self.position]
    }

    /// Takes the token that comes next; the end stays.
    pub fn advance(&mut self) -> Placed {
        let placed = self.next().clone();
        self.position = (self.position + 1).min(self.tokens.len() - 1);
        placed
    }

    /// An error at the token of this position.
    pub fn error<T>(&self, position: usize, message: impl Into<String>) -> Result<T, TextError> {
        let Placed { line, column, .. } = self.tokens[position];
        Err(TextError { line, column, message: message.into() })
    }

    /// Whether this mark comes next.
    pub fn is(&self, mark: char) -> bool {
        self.next().token == Token::Mark(mark)
    }

    /// Takes the mark if it comes next.
    pub fn take(&mut self, mark: char) -> bool {
        let found = self.is(mark);
        if found {
            self.advance();
        }
        found
    }

    /// Takes a mark that must come next.
    pub fn expect(&mut self, mark: char) -> Result<(), TextError> {
        if self.take(mark) { Ok(()) } else { self.error(self.position, format!("expected {mark}")) }
    }

    /// Takes a word that must come next.
    pub fn expect_word(&mut self, word: &str, why: &str) -> Result<(), TextError> {
        match &self.next().token {
            Token::Word(found) if found == word => {
                self.advance();
                Ok(())
            }
            _ => self.error(self.position, format!("expected {word}{why}")),
        }
    }

    /// Takes any word.
    pub fn word(&mut self, what: &str) -> Result<String, TextError> {
        match self.next().token.clone() {
            Token::Word(word) => {
                self.advance();
                Ok(word)
            }
            _ => self.error(self.position, format!("expected {what}")),
        }
    }

    /// Takes text in quotes.
    pub fn text(&mut self) -> Result<String, TextError> {
        match self.next().token.clone() {
            Token::Text(text) => {
                self.advance();
                Ok(text)
            }
            _ => self.error(self.position, "expected a name in quotes"),
        }
    }

    /// `open`, entries with commas between them, `close`; the opening mark has been taken.
    pub fn list<T>(
        &mut self,
        close: char,
        mut entry: impl FnMut(&mut Cursor) -> Result<T, TextError>,
    ) -> Result<Vec<T>, TextError> {
        let mut entries = Vec::new();
        if self.take(close) {
            return Ok(entries);
        }
        loop {
            entries.push(entry(self)?);
            if self.take(close) {
                return Ok(entries);
            }
            if !self.take(',') {
                return self.error(self.position, format!("expected , or {close}"));
            }
        }
    }

    /// A number of this dtype.
    pub fn literal(&mut self, dtype: Dtype) -> Result<Literal, TextError> {
        let start = self.position;
        let word = self.word("a number")?;
        let literal = match dtype {
            // Read at the precision of the dtype: the text is the shortest that rounds to it there.
            Dtype::F32 => word.parse::<f32>().ok().map(|value| Literal::new(dtype, f64::from(value))),
            Dtype::F64 => word.parse::<f64>().ok().map(|value| Literal::new(dtype, value)),
            Dtype::I32 => word.parse::<i32>().ok().map(|value| Literal::integer(dtype, i64::from(value))),
            Dtype::I64 => word.parse::<i64>().ok().map(|value| Literal::integer(dtype, value)),
            Dtype::U32 => word.parse::<u32>().ok().map(|value| Literal::integer(dtype, i64::from(value))),
            Dtype::Bool => word.parse::<bool>().ok().map(|value| Literal::integer(dtype, i64::from(value))),
        };
        literal.map_or_else(|| self.error(start, format!("{word} is no {dtype}")), Ok)
    }

    /// Takes a number.
    pub fn number<N: std::str::FromStr>(&mut self, what: &str) -> Result<N, TextError> {
        let start = self.position;
        let word = self.word(what)?;
        word.parse().or_else(|_| self.error(start, format!("expected {what}")))
    }

    /// `f32[2, 3]`
    pub fn tensor_type(&mut self) -> Result<TensorType, TextError> {
        let start = self.position;
        let word = self.word("a type")?;
        match Dtype::from_name(&word) {
            Some(dtype) => self.shape_of(dtype),
            None => self.error(start, format!("there is no dtype {word}")),
        }
    }

    /// The same after the dtype.
    pub fn shape_of(&mut self, dtype: Dtype) -> Result<TensorType, TextError> {
        self.expect('[')?;
        let shape = self.list(']', |parser| parser.number("a size"))?;
        Ok(TensorType { dtype, shape })
    }
}
