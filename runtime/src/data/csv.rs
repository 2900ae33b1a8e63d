//! Comma-separated numbers with a header line.
//!
//! Expects: UTF-8; a header, unless every cell of the first line is a number (columns are then named "0", "1", ..).
//! Guarantees: every cell that is used is read straight into its dtype; one that cannot be is an error with file, line,
//!   column and text. `nan`, `inf` and `-inf` are numbers. A trailing comma on every line is tolerated.
//! Leaves out: text columns and dates; turn them into numbers first.

use std::path::Path;

use ::csv::{ReaderBuilder, StringRecord, Trim};

use crate::data::column::Column;
use crate::error::{DataError, known_names};
use crate::file::read_text;
use crate::tensor::{Dtype, Stored, Target, convert_elements, misfit_remedy};

/// Which columns make one input.
pub struct Request {
    /// Name of the input.
    pub input: String,
    /// What its numbers are to be.
    pub dtype: Dtype,
    /// The columns by name, or all that no other request names.
    pub columns: Choice,
}

/// A choice of columns.
pub enum Choice {
    /// These; a row is a scalar if there is one name, else a list.
    Named(Vec<String>),
    /// The columns that no request names, in order.
    Rest,
}

/// Reads the columns of every request.
pub fn read(path: &Path, requests: &[Request]) -> Result<Vec<(String, Column)>, DataError> {
    parse(&read_text(path)?, requests).map_err(|error| error.within(path.display()))
}

fn parse(text: &str, requests: &[Request]) -> Result<Vec<(String, Column)>, DataError> {
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| {
        reader.read_record(record).map_err(|error| DataError::new("", error.to_string(), "mend the line"))
    };
    if !next(&mut record)? {
        return Err(DataError::new("", "the file is empty", "give a file with a header and rows of numbers"));
    }
    let mut header: Vec<String> = record.iter().map(str::to_string).collect();
    let is_number = |cell: &str| cell.parse::<f64>().is_ok();
    let with_header = !record
        .iter()
        .enumerate()
        .all(|(at, cell)| is_number(cell) || (cell.is_empty() && at > 0 && at + 1 == header.len()));
    if header.len() > 1 && header.last().is_some_and(String::is_empty) {
        header.pop();
    }
    if with_header {
        if !next(&mut record)? {
            return Err(DataError::new("", "there are no rows below the header", "give a file with rows of numbers"));
        }
    } else {
        header = (0..header.len()).map(|at| at.to_string()).collect();
    }
    let chosen = choose(&header, requests)?;
    let mut outputs: Vec<Vec<u8>> = vec![Vec::new(); requests.len()];
    let mut rows = 0;
    loop {
        let trailing_comma = record.len() == header.len() + 1 && record.iter().next_back() == Some("");
        if record.len() != header.len() && !trailing_comma {
            let problem = format!("{} cells where there are {} columns", record.len(), header.len());
            return Err(DataError::new(
                format!("line {}", line_of(&record, text)),
                problem,
                "give every line one cell for each column",
            ));
        }
        for ((request, columns), output) in requests.iter().zip(&chosen).zip(&mut outputs) {
            for &column in columns {
                let cell = &record[column];
                push_cell(cell, request.dtype, output).map_err(|refusal| {
                    let (problem, remedy) = refusal.problem_and_remedy(cell, request.dtype);
                    let line = line_of(&record, text);
                    DataError::new(format!("line {line}, column `{}`", header[column]), problem, remedy)
                })?;
            }
        }
        rows += 1;
        if !next(&mut record)? {
            break;
        }
    }
    let columns = requests.iter().zip(&chosen).zip(outputs).map(|((request, columns), bytes)| {
        let shape = match &request.columns {
            Choice::Named(names) if names.len() == 1 => vec![rows],
            _ => vec![rows, columns.len() as u64],
        };
        (request.input.clone(), Column { stored: Stored::Element(request.dtype), shape, bytes })
    });
    Ok(columns.collect())
}

/// The number of the line that a record stands on. The reader's own count is that of the end of the record before, which
/// differs after blank lines.
fn line_of(record: &StringRecord, text: &str) -> usize {
    let start = record.position().map_or(0, |position| position.byte() as usize);
    let blank = text.as_bytes()[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    1 + text.as_bytes()[..start + blank].iter().filter(|&&byte| byte == b'\n').count()
}

/// The positions of every request's columns.
fn choose(header: &[String], requests: &[Request]) -> Result<Vec<Vec<usize>>, DataError> {
    let find = |name: &String| {
        let mut places = (0..header.len()).filter(|&at| &header[at] == name);
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            (Some(_), Some(_)) => {
                Err(DataError::new("", format!("two columns are named `{name}`"), "rename one of them in the header"))
            }
            (None, _) => {
                let remedy = known_names("columns", name, header.iter().map(String::as_str));
                Err(DataError::new("", format!("no column is named `{name}`"), remedy))
            }
        }
    };
    let mut named: Vec<Vec<usize>> = Vec::new();
    for request in requests {
        named.push(match &request.columns {
            Choice::Named(names) => names.iter().map(find).collect::<Result<_, _>>()?,
            Choice::Rest => Vec::new(),
        });
    }
    let rest: Vec<usize> = (0..header.len()).filter(|at| !named.iter().flatten().any(|taken| taken == at)).collect();
    for (request, columns) in requests.iter().zip(&mut named) {
        if matches!(request.columns, Choice::Rest) {
            columns.clone_from(&rest);
        }
        if columns.is_empty() {
            let problem = format!("no column is left for input `{}`", request.input);
            return Err(DataError::new("", problem, format!("name one: `{} = \"column\"`", request.input)));
        }
    }
    Ok(named)
}

/// Why a cell cannot be used.
enum Refusal {
    NotANumber,
    DoesNotFit,
}

impl Refusal {
    fn problem_and_remedy(self, cell: &str, dtype: Dtype) -> (String, &'static str) {
        match self {
            Refusal::NotANumber if cell.is_empty() => {
                ("the cell is empty".to_string(), "fill it (`nan` is a float), or choose other columns")
            }
            Refusal::NotANumber => (format!("`{cell}` is not a number"), "write a number, or choose other columns"),
            Refusal::DoesNotFit => (format!("`{cell}` does not fit in {dtype}"), misfit_remedy(dtype)),
        }
    }
}

/// Appends a cell as one element; a float straight from the text, so that it is rounded once.
fn push_cell(cell: &str, dtype: Dtype, output: &mut Vec<u8>) -> Result<(), Refusal> {
    // "inf" is infinite, "1e999" is too large.
    let too_large = |infinite: bool| infinite && cell.bytes().any(|byte| byte.is_ascii_digit());
    match dtype {
        Dtype::F32 => {
            let value: f32 = cell.parse().map_err(|_| Refusal::NotANumber)?;
            if too_large(value.is_infinite()) {
                return Err(Refusal::DoesNotFit);
            }
            value.write(output);
        }
        Dtype::F64 => {
            let value: f64 = cell.parse().map_err(|_| Refusal::NotANumber)?;
            if too_large(value.is_infinite()) {
                return Err(Refusal::DoesNotFit);
            }
            value.write(output);
        }
        Dtype::I32 | Dtype::I64 | Dtype::U32 | Dtype::Bool => {
            let (read_as, bytes) = match cell.parse::<i64>() {
                Ok(whole) => (Dtype::I64, whole.to_le_bytes()),
                Err(_) => (Dtype::F64, cell.parse::<f64>().map_err(|_| Refusal::NotANumber)?.to_le_bytes()),
            };
            convert_elements(Stored::Element(read_as), &bytes, dtype, output).map_err(|_| Refusal::DoesNotFit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input: &str, dtype: Dtype, columns: Choice) -> Request {
        Request { input: input.to_string(), dtype, columns }
    }

    fn named(names: &[&str]) -> Choice {
        Choice::Named(names.iter().map(|name| name.to_string()).collect())
    }

    /// Reads the columns of one f64 input.
    fn doubles(text: &str, columns: Choice) -> Result<(Vec<u64>, Vec<f64>), String> {
        let read = parse(text, &[request("x", Dtype::F64, columns)]).map_err(|error| error.to_string())?;
        let values = read[0].1.bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap()));
        Ok((read[0].1.shape.clone(), values.collect()))
    }

    #[test]
    fn columns_by_name_and_the_rest() {
        let text = "a, b ,label\n1,2,7\n3,-4e-1,9\n";
        let read =
            parse(text, &[request("x", Dtype::F32, Choice::Rest), request("label", Dtype::I32, named(&["label"]))])
                .unwrap();
        assert_eq!(read[0].1.shape, [2, 2]);
        assert_eq!(read[0].1.bytes, [1.0f32, 2.0, 3.0, -0.4].map(f32::to_le_bytes).concat());
        assert_eq!((read[1].0.as_str(), read[1].1.shape.as_slice()), ("label", [2u64].as_slice()));
        assert_eq!(read[1].1.bytes, [7i32, 9].map(i32::to_le_bytes).concat());
        assert_eq!(doubles(text, named(&["label", "a"])).unwrap(), (vec![2, 2], vec![7.0, 1.0, 9.0, 3.0]));
    }

    #[test]
    fn without_a_header_columns_are_numbered() {
        assert_eq!(doubles("1,2\n3,4", named(&["1"])).unwrap(), (vec![2], vec![2.0, 4.0]));
        assert_eq!(doubles("1,2,\n3,4,\n", Choice::Rest).unwrap(), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn trailing_commas_and_unused_empty_cells_are_no_error() {
        let text = "\"V1\",\"V2\",\n1,2,\n3,,\n";
        assert_eq!(doubles(text, named(&["V1"])).unwrap().1, [1.0, 3.0]);
        let error = doubles(text, Choice::Rest).unwrap_err();
        assert!(error.contains("line 3, column `V2`: the cell is empty"), "{error}");
    }

    #[test]
    fn special_floats_and_whole_numbers() {
        let (_, values) = doubles("x\nnan\nNaN\n-inf\n9007199254740993\n", Choice::Rest).unwrap();
        assert!(values[0].is_nan() && values[1].is_nan() && values[2] == f64::NEG_INFINITY);
        let read = parse("x\n9007199254740993\n3.0\n", &[request("x", Dtype::I64, Choice::Rest)]).unwrap();
        assert_eq!(read[0].1.bytes, [9_007_199_254_740_993i64, 3].map(i64::to_le_bytes).concat());
    }

    #[test]
    fn bad_cells_have_place_and_text() {
        for (text, dtype, expected) in [
            ("a,b\n1,2\n3,x4\n", Dtype::F32, "line 3, column `b`: `x4` is not a number"),
            ("a,b\n\n1,2.5\n", Dtype::I32, "line 3, column `b`: `2.5` does not fit in i32"),
            ("a,b\r\n1,2\r\n1,2.5\r\n", Dtype::I32, "line 3, column `b`: `2.5` does not fit in i32"),
            ("a,b\n1,3000000000\n", Dtype::I32, "column `b`: `3000000000` does not fit in i32"),
            ("a,b\n1,nan\n", Dtype::U32, "column `b`: `nan` does not fit in u32"),
            ("a,b\n1,1e39\n", Dtype::F32, "column `b`: `1e39` does not fit in f32"),
            ("a,b\n1,1e399\n", Dtype::F64, "column `b`: `1e399` does not fit in f64"),
            ("a,b\n1,2\n", Dtype::Bool, "column `b`: `2` does not fit in bool"),
        ] {
            let error = parse(text, &[request("x", dtype, named(&["b"]))]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("help:"), "{error}");
        }
    }

    #[test]
    fn bad_files_are_errors() {
        for (text, columns, expected) in [
            ("", Choice::Rest, "the file is empty"),
            ("\n\n", Choice::Rest, "the file is empty"),
            ("a,b\n", Choice::Rest, "no rows below the header"),
            ("a,b\n1,2\n1\n", Choice::Rest, "line 3: 1 cells where there are 2 columns"),
            ("a,b\n1,2,3\n", Choice::Rest, "line 2: 3 cells where there are 2 columns"),
            ("time,label\n1,2\n", named(&["lable"]), "did you mean `label`? the columns are: time, label"),
            ("a,b,a\n1,2,3\n", named(&["a"]), "two columns are named `a`"),
        ] {
            let error = doubles(text, columns).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let both = [request("x", Dtype::F32, named(&["a"])), request("y", Dtype::F32, Choice::Rest)];
        let error = parse("a\n1\n", &both).unwrap_err().to_string();
        assert!(error.contains("no column is left for input `y`"), "{error}");
    }
}
