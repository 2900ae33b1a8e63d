//! The rows that a model is fed from: columns in memory and a choice of rows or windows of them.
//!
//! Expects: columns whose shape and values were checked against the inputs.
//! Guarantees: columns are shared, not copied, between training and evaluation; the order of an epoch is a function of the
//!   seed and the number of the epoch.
//! Leaves out: reading (`open`) and threads (`batches`).

use std::sync::Arc;

use crate::data::column::Column;
use crate::data::shuffle::{Purpose, Stream};
use crate::error::DataError;
use crate::tensor::{Dtype, convert_elements};

/// The data of one input.
#[derive(Clone, Debug)]
pub struct Field {
    name: String,
    dtype: Dtype,
    row_shape: Vec<u64>,
    column: Arc<Column>,
    row_elements: u64,
    /// Elements from the start of one row to that of the next.
    stride: u64,
    /// Elements that every row starts further.
    shift: u64,
}

impl Field {
    /// An input that takes whole rows of a column, seen in `row_shape`.
    pub fn rows(name: &str, dtype: Dtype, row_shape: Vec<u64>, column: Arc<Column>) -> Field {
        let row_elements = row_shape.iter().product();
        Field { name: name.to_string(), dtype, row_shape, column, row_elements, stride: row_elements, shift: 0 }
    }

    /// An input that takes windows of a sequence, `shift` elements further than their start.
    pub fn windows(name: &str, dtype: Dtype, length: u64, shift: u64, column: Arc<Column>) -> Field {
        let row_shape = vec![length];
        Field { name: name.to_string(), dtype, row_shape, column, row_elements: length, stride: 1, shift }
    }

    /// The input's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the input's elements are.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The shape of one row.
    pub fn row_shape(&self) -> &[u64] {
        &self.row_shape
    }

    /// Appends the rows that start at these places, as the input's elements.
    pub(crate) fn append_rows(&self, starts: &[u64], out: &mut Vec<u8>) -> Result<(), DataError> {
        let size = self.column.stored.bytes();
        out.reserve(starts.len() * self.row_elements as usize * self.dtype.bytes() as usize);
        for &start in starts {
            let first = (start * self.stride + self.shift) as usize * size;
            let row = &self.column.bytes[first..first + self.row_elements as usize * size];
            convert_elements(self.column.stored, row, self.dtype, out).map_err(|misfit| {
                let problem = format!("{} does not fit in {}", misfit.value, self.dtype);
                DataError::new(format!("input `{}`, row {start}", self.name), problem, "")
            })?;
        }
        Ok(())
    }
}

/// Which rows of its columns a data set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These rows.
    Rows(Vec<u64>),
    /// Windows of the sequence from `start` to `end`.
    Windows {
        /// First element.
        start: u64,
        /// One past the last element.
        end: u64,
        /// Elements of a window.
        length: u64,
        /// Elements that a window and the windows shifted from it cover together; fits between `start` and `end`.
        span: u64,
    },
}

/// Rows for all inputs.
#[derive(Clone, Debug)]
pub struct Dataset {
    fields: Vec<Field>,
    selection: Selection,
}

impl Dataset {
    /// These fields, restricted to a selection that lies within them.
    pub fn new(fields: Vec<Field>, selection: Selection) -> Dataset {
        Dataset { fields, selection }
    }

    /// Another selection of the same fields.
    pub fn select(&self, selection: Selection) -> Dataset {
        Dataset { fields: self.fields.clone(), selection }
    }

    /// The inputs.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Which rows it holds.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Number of rows; for a text, of windows that follow one another.
    pub fn rows(&self) -> u64 {
        match &self.selection {
            Selection::Rows(rows) => rows.len() as u64,
            Selection::Windows { start, end, length, span } => 1 + (end - start - span) / length,
        }
    }

    /// Number of rows that one epoch visits in batches of `batch`, which is at most the number of rows.
    pub fn rows_per_epoch(&self, batch: u64, shuffle: bool) -> u64 {
        match self.selection {
            Selection::Windows { start, end, length, .. } if shuffle => {
                ((end - start) / (batch * length)).max(1) * batch
            }
            _ => self.rows(),
        }
    }

    /// Where the rows of one epoch start, in order. Shuffled rows are a permutation; shuffled windows start anywhere.
    pub fn epoch_starts(&self, batch: u64, shuffle: bool, seed: u64, epoch: u64) -> Vec<u64> {
        match &self.selection {
            Selection::Rows(rows) => {
                let mut rows = rows.clone();
                if shuffle {
                    Stream::new(seed, Purpose::Rows, epoch).shuffle(&mut rows);
                }
                rows
            }
            Selection::Windows { start, end, span, .. } if shuffle => {
                let stream = Stream::new(seed, Purpose::Windows, epoch);
                let offsets = end - start - span + 1;
                (0..self.rows_per_epoch(batch, true)).map(|draw| start + stream.below(offsets, draw)).collect()
            }
            Selection::Windows { start, length, .. } => (0..self.rows()).map(|row| start + row * length).collect(),
        }
    }
}
