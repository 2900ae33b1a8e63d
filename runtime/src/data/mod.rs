//! Data sets: from the files that a `train` block names to the rows of a model's inputs.
//!
//! Expects: a [`SourceSpec`] (what the program says) and the inputs that want data.
//! Guarantees: after [`open`], every input has data of a shape and values that fit; batches cannot fail. Rows are split by
//!   the seed alone. Equal files and seeds give equal data sets on every machine.
//! Leaves out: normalisation and other arithmetic; programs state those.

pub mod batches;
pub mod column;
pub mod csv;
pub mod dataset;
pub mod idx;
pub mod npz;
pub mod shuffle;
pub mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{DataError, known_names};
use crate::tensor::{Dtype, shape_text};

use column::Column;
use dataset::{Dataset, Field, Selection};
use shuffle::{Purpose, Stream};

/// An input of the model that wants data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedInput {
    /// Its name in the model.
    pub name: String,
    /// What its elements are.
    pub dtype: Dtype,
    /// The shape of one row (without the batch axis); `None` where the data decides.
    pub row_shape: Vec<Option<u64>>,
}

/// Where data comes from, as a `train` block says it. A `split` is the part of the rows that is for training.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSpec {
    /// A table of numbers. The one wanted input without columns gets all columns that no other names, in order.
    Csv {
        /// The file.
        path: PathBuf,
        /// Inputs and the columns of each.
        columns: Vec<(String, Vec<String>)>,
        /// Part for training.
        split: Option<f64>,
    },
    /// One IDX file for each input.
    Idx {
        /// Inputs and their files.
        fields: Vec<(String, PathBuf)>,
        /// The same inputs for evaluation.
        test: Option<Vec<(String, PathBuf)>>,
        /// Part for training, if there is no `test`.
        split: Option<f64>,
    },
    /// An archive of NumPy arrays.
    Npz {
        /// The file.
        path: PathBuf,
        /// Inputs and their arrays.
        fields: Vec<(String, String)>,
        /// Part for training.
        split: Option<f64>,
    },
    /// Windows of a text.
    Text {
        /// The file.
        path: PathBuf,
        /// The input that gets a window.
        input: String,
        /// The input that gets the window one character further.
        target: Option<String>,
        /// Part for training, from the start of the text.
        split: Option<f64>,
        /// Length of a window, if the input's shape leaves it open.
        length: Option<u64>,
    },
}

/// Opened data.
#[derive(Clone, Debug)]
pub struct Split {
    /// For training.
    pub train: Dataset,
    /// For evaluation.
    pub test: Option<Dataset>,
    /// The characters of a text in the order of their numbers.
    pub alphabet: Option<Vec<char>>,
}

/// Reads the files of a source and fits them to the inputs. The data sets have the inputs in the order of `wanted`.
pub fn open(spec: &SourceSpec, wanted: &[WantedInput], seed: u64) -> Result<Split, DataError> {
    if wanted.is_empty() {
        return Err(DataError::new("", "the model has no input that takes data", "leave the data source out"));
    }
    match spec {
        SourceSpec::Csv { path, columns, split } => {
            let requests = csv_requests(path, columns, wanted)?;
            let columns = csv::read(path, &requests)?;
            let read = columns.into_iter().map(|(name, column)| (name, path.as_path(), column)).collect();
            split_rows(assemble(read, wanted)?, *split, seed, path)
        }
        SourceSpec::Idx { fields, test, split } => {
            let train = assemble(read_idx(fields, wanted)?, wanted)?;
            let first = &fields[0].1;
            match (test, split) {
                (None, _) => split_rows(train, *split, seed, first),
                (Some(test), None) => {
                    let test = assemble(read_idx(test, wanted)?, wanted)?;
                    same_rows_shapes(&train, &test, first)?;
                    Ok(Split { train, test: Some(test), alphabet: None })
                }
                (Some(_), Some(_)) => {
                    let problem = "both `test` and `split` say what evaluation gets";
                    Err(DataError::in_file(first, problem, "leave one of them out"))
                }
            }
        }
        SourceSpec::Npz { path, fields, split } => {
            let inputs: Vec<&str> = fields.iter().map(|(input, _)| input.as_str()).collect();
            check_names(&inputs, wanted).map_err(|error| error.within(path.display()))?;
            let arrays: Vec<&str> = fields.iter().map(|(_, array)| array.as_str()).collect();
            let columns = npz::read(path, &arrays)?;
            let read = fields
                .iter()
                .zip(columns)
                .map(|((input, _), column)| (input.clone(), path.as_path(), column))
                .collect();
            split_rows(assemble(read, wanted)?, *split, seed, path)
        }
        SourceSpec::Text { path, input, target, split, length } => {
            let inputs: Vec<&str> = [Some(input), target.as_ref()].into_iter().flatten().map(String::as_str).collect();
            check_names(&inputs, wanted)
                .and_then(|()| open_text(path, &inputs, wanted, *split, *length))
                .map_err(|error| error.within(path.display()))
        }
    }
}

/// Every input of the source is one of the model's, and the other way round.
fn check_names(inputs: &[&str], wanted: &[WantedInput]) -> Result<(), DataError> {
    for (at, input) in inputs.iter().enumerate() {
        if !wanted.iter().any(|wanted| wanted.name == *input) {
            let remedy = known_names("inputs", input, wanted.iter().map(|wanted| wanted.name.as_str()));
            return Err(DataError::new("", format!("the model has no input `{input}`"), remedy));
        }
        if inputs[..at].contains(input) {
            return Err(DataError::new("", format!("input `{input}` is given twice"), "leave one of them out"));
        }
    }
    match wanted.iter().find(|wanted| !inputs.contains(&wanted.name.as_str())) {
        Some(missing) => {
            let remedy = format!("name its data in the source: `{} = ..`", missing.name);
            Err(DataError::new("", format!("input `{}` gets no data", missing.name), remedy))
        }
        None => Ok(()),
    }
}

/// What to read from a table: the columns named, and all others for the one input that has none.
fn csv_requests(
    path: &Path,
    columns: &[(String, Vec<String>)],
    wanted: &[WantedInput],
) -> Result<Vec<csv::Request>, DataError> {
    let mut inputs: Vec<&str> = columns.iter().map(|(input, _)| input.as_str()).collect();
    if let Some(rest) = wanted.iter().find(|wanted| !inputs.contains(&wanted.name.as_str())) {
        inputs.push(&rest.name);
    }
    check_names(&inputs, wanted).map_err(|error| error.within(path.display()))?;
    let request = |wanted: &WantedInput| {
        let named = columns.iter().find(|(input, _)| *input == wanted.name);
        let columns = named.map_or(csv::Choice::Rest, |(_, names)| csv::Choice::Named(names.clone()));
        csv::Request { input: wanted.name.clone(), dtype: wanted.dtype, columns }
    };
    Ok(wanted.iter().map(request).collect())
}

fn read_idx<'a>(
    fields: &'a [(String, PathBuf)],
    wanted: &[WantedInput],
) -> Result<Vec<(String, &'a Path, Column)>, DataError> {
    let inputs: Vec<&str> = fields.iter().map(|(input, _)| input.as_str()).collect();
    check_names(&inputs, wanted)?;
    fields.iter().map(|(input, path)| Ok((input.clone(), path.as_path(), idx::read(path)?))).collect()
}

/// Fits what was read to the inputs: one data set of all rows, in the order of `wanted`.
fn assemble(mut read: Vec<(String, &Path, Column)>, wanted: &[WantedInput]) -> Result<Dataset, DataError> {
    let order = |name: &str| wanted.iter().position(|wanted| wanted.name == name);
    read.sort_by_key(|(name, ..)| order(name));
    if let Some(((first, first_path, one), (other, other_path, two))) =
        read.iter().zip(read.iter().skip(1)).find(|((.., one), (.., two))| one.rows() != two.rows())
    {
        let problem = format!(
            "input `{first}` has {} rows, input `{other}` ({}) has {}",
            one.rows(),
            other_path.display(),
            two.rows()
        );
        return Err(DataError::in_file(first_path, problem, "give files that belong together"));
    }
    let rows = read.first().map_or(0, |(.., column)| column.rows());
    let mut fields = Vec::new();
    for ((_, path, column), wanted) in read.into_iter().zip(wanted) {
        let row_shape = column.fit_rows(wanted).map_err(|error| error.within(path.display()))?;
        column.check_values(wanted).map_err(|error| error.within(path.display()))?;
        if rows == 0 {
            return Err(DataError::in_file(path, "there are no rows", "give a file with at least one row"));
        }
        fields.push(Field::rows(&wanted.name, wanted.dtype, row_shape, Arc::new(column)));
    }
    Ok(Dataset::new(fields, Selection::Rows((0..rows).collect())))
}

/// Training and evaluation data must agree where the model leaves sizes open.
fn same_rows_shapes(train: &Dataset, test: &Dataset, path: &Path) -> Result<(), DataError> {
    for (one, two) in train.fields().iter().zip(test.fields()) {
        if one.row_shape() != two.row_shape() {
            let problem = format!(
                "input `{}` has rows {} for training but {} for evaluation",
                one.name(),
                shape_text(one.row_shape()),
                shape_text(two.row_shape())
            );
            return Err(DataError::in_file(path, problem, "give files that belong together"));
        }
    }
    Ok(())
}

/// How many of `count` are for training.
fn training_part(count: u64, fraction: f64, what: &str) -> Result<u64, DataError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        let problem = format!("split = {fraction} is not between 0 and 1");
        return Err(DataError::new("", problem, "write the part for training, as 0.8, or leave `split` out"));
    }
    let training = (count as f64 * fraction).round() as u64;
    if training == 0 || training >= count {
        let problem = format!("split = {fraction} of {count} {what} leaves nothing for one side");
        return Err(DataError::new("", problem, "choose another split, or leave it out"));
    }
    Ok(training)
}

/// Splits the rows by the seed; either side keeps the order of the file.
fn split_rows(all: Dataset, split: Option<f64>, seed: u64, path: &Path) -> Result<Split, DataError> {
    let Some(fraction) = split else { return Ok(Split { train: all, test: None, alphabet: None }) };
    let training = training_part(all.rows(), fraction, "rows").map_err(|error| error.within(path.display()))?;
    let mut rows: Vec<u64> = (0..all.rows()).collect();
    Stream::new(seed, Purpose::Split, 0).shuffle(&mut rows);
    let mut test = rows.split_off(training as usize);
    rows.sort_unstable();
    test.sort_unstable();
    let test = all.select(Selection::Rows(test));
    Ok(Split { train: all.select(Selection::Rows(rows)), test: Some(test), alphabet: None })
}

/// Opens a text: `inputs` are the window and, if there is one, the window one further.
fn open_text(
    path: &Path,
    inputs: &[&str],
    wanted: &[WantedInput],
    split: Option<f64>,
    length: Option<u64>,
) -> Result<Split, DataError> {
    let length = window_length(wanted, length)?;
    let text = text::read(path).map_err(|error| DataError { place: String::new(), ..error })?;
    let tokens = Arc::new(text.tokens);
    let mut fields = Vec::new();
    for wanted in wanted {
        tokens.check_values(wanted)?;
        let shift = inputs.iter().position(|input| *input == wanted.name).unwrap_or(0) as u64;
        fields.push(Field::windows(&wanted.name, wanted.dtype, length, shift, tokens.clone()));
    }
    let count = tokens.rows();
    let span = length + inputs.len() as u64 - 1;
    let windows = |start: u64, end: u64, part: &str| {
        if end - start < span {
            let problem = format!("{part} has {} characters, a window needs {span}", end - start);
            return Err(DataError::new("", problem, "give a longer text, another split or a shorter window"));
        }
        Ok(Selection::Windows { start, end, length, span })
    };
    let all = Dataset::new(fields, windows(0, count, "the text")?);
    let (train, test) = match split {
        None => (all, None),
        Some(fraction) => {
            let training = training_part(count, fraction, "characters")?;
            let test = all.select(windows(training, count, "the part for evaluation")?);
            (all.select(windows(0, training, "the part for training")?), Some(test))
        }
    };
    Ok(Split { train, test, alphabet: Some(text.alphabet) })
}

/// The length of a window: from the inputs' shapes, or as the source says it.
fn window_length(wanted: &[WantedInput], length: Option<u64>) -> Result<u64, DataError> {
    let mut found = length;
    for input in wanted {
        let [size] = input.row_shape[..] else {
            let problem = format!("input `{}` has {} axes beside the batch", input.name, input.row_shape.len());
            return Err(DataError::new("", problem, "a text gives rows of one axis: `i32[B, T]`"));
        };
        match (size, found) {
            (Some(size), Some(other)) if size != other => {
                let problem = format!("input `{}` wants windows of {size}, others of {other}", input.name);
                return Err(DataError::new("", problem, "give all the same length"));
            }
            (Some(size), _) => found = Some(size),
            (None, _) => {}
        }
    }
    match found {
        Some(0) => Err(DataError::new("", "a window of length 0 holds nothing", "give a length of at least 1")),
        Some(length) => Ok(length),
        None => {
            let remedy = "write it in the model (`i32[B, 64]`), set the dim (`--set T=64`), or say `length = 64`";
            Err(DataError::new("", "the length of a window is not known", remedy))
        }
    }
}

#[cfg(test)]
mod tests;
