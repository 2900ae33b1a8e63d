//! Named tensors as JSON: `{"name": {"shape": [2], "dtype": "float64", "data": [1.0, "nan"]}}`.
//!
//! Expects: dtypes float32, float64, int32, int64, uint32 and bool; data as nested lists of the shape; the strings "nan",
//!   "inf" and "-inf" for floats that JSON cannot write.
//! Guarantees: what is written reads back to the same bits (NaN payloads aside). Errors name the path inside the document.
//! Leaves out: other keys; an unknown one is an error, as it would otherwise be lost.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{DataError, known_names};
use crate::file::{read_text, write_atomically};
use crate::tensor::{Dtype, HostTensor, Number, Stored, Target, convert_elements, misfit_remedy, shape_text};

/// Names of the dtypes in these files, which are NumPy's.
const DTYPES: [(&str, Dtype); 6] = [
    ("float32", Dtype::F32),
    ("float64", Dtype::F64),
    ("int32", Dtype::I32),
    ("int64", Dtype::I64),
    ("uint32", Dtype::U32),
    ("bool", Dtype::Bool),
];

const FORM: &str = r#"write {"name": {"shape": [2], "dtype": "float64", "data": [1.0, 2.0]}}"#;

/// Reads a file, in the order of the document.
pub fn read(path: &Path) -> Result<Vec<(String, HostTensor)>, DataError> {
    parse(&read_text(path)?).map_err(|error| error.within(path.display()))
}

/// Reads a document, in its order.
pub fn parse(text: &str) -> Result<Vec<(String, HostTensor)>, DataError> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| DataError::new("", format!("not JSON: {error}"), FORM))?;
    let Value::Object(entries) = document else {
        return Err(DataError::new("", format!("{} where tensors by name belong", kind(&document)), FORM));
    };
    entries
        .into_iter()
        .map(|(name, value)| match parse_tensor(&value) {
            Ok(tensor) => Ok((name, tensor)),
            Err(error) => Err(DataError { place: format!("{name}{}", error.place), ..error }),
        })
        .collect()
}

/// Reads one tensor; the place of an error continues the tensor's name.
fn parse_tensor(value: &Value) -> Result<HostTensor, DataError> {
    let Value::Object(entries) = value else {
        return Err(DataError::new("", format!("{} where a tensor belongs", kind(value)), FORM));
    };
    if let Some(unknown) = entries.keys().find(|key| !["shape", "dtype", "data"].contains(&key.as_str())) {
        let remedy = known_names("keys of a tensor", unknown, ["shape", "dtype", "data"]);
        return Err(DataError::new(format!(".{unknown}"), "unknown key", remedy));
    }
    let dtype = parse_dtype(key(entries, "dtype")?)?;
    let shape = parse_shape(key(entries, "shape")?)?;
    let mut bytes = Vec::new();
    push_nested(key(entries, "data")?, &shape, dtype, &mut bytes)
        .map_err(|error| DataError { place: format!(".data{}", error.place), ..error })?;
    HostTensor::new(dtype, shape, bytes)
}

fn key<'a>(entries: &'a Map<String, Value>, name: &str) -> Result<&'a Value, DataError> {
    entries.get(name).ok_or_else(|| DataError::new("", format!("the key `{name}` is missing"), FORM))
}

fn parse_dtype(value: &Value) -> Result<Dtype, DataError> {
    let names = DTYPES.iter().map(|&(name, _)| name);
    let Some(written) = value.as_str() else {
        let remedy = known_names("dtypes", "", names);
        return Err(DataError::new(".dtype", format!("{} where a dtype belongs", kind(value)), remedy));
    };
    DTYPES.iter().find(|(name, _)| *name == written).map(|&(_, dtype)| dtype).ok_or_else(|| {
        DataError::new(".dtype", format!("no dtype is named `{written}`"), known_names("dtypes", written, names))
    })
}

fn parse_shape(value: &Value) -> Result<Vec<u64>, DataError> {
    let sizes = value.as_array().and_then(|sizes| sizes.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>());
    sizes.ok_or_else(|| {
        DataError::new(".shape", "not a list of sizes", "write whole numbers, as [2, 3]; [] for a scalar")
    })
}

/// Appends nested lists of this shape.
fn push_nested(value: &Value, shape: &[u64], dtype: Dtype, bytes: &mut Vec<u8>) -> Result<(), DataError> {
    let Some((&size, rest)) = shape.split_first() else {
        return push_number(value, dtype, bytes);
    };
    let Value::Array(items) = value else {
        let problem = format!("{} where a list of {size} belongs", kind(value));
        return Err(DataError::new("", problem, "nest the lists as the shape says"));
    };
    if items.len() as u64 != size {
        let problem = format!("a list of {} where the shape says {size}", items.len());
        return Err(DataError::new("", problem, "give data and shape that agree"));
    }
    for (at, item) in items.iter().enumerate() {
        push_nested(item, rest, dtype, bytes)
            .map_err(|error| DataError { place: format!("[{at}]{}", error.place), ..error })?;
    }
    Ok(())
}

fn push_number(value: &Value, dtype: Dtype, bytes: &mut Vec<u8>) -> Result<(), DataError> {
    let is_float = matches!(dtype, Dtype::F32 | Dtype::F64);
    let (read_as, number) = match value {
        Value::Bool(flag) if dtype == Dtype::Bool => {
            flag.write(bytes);
            return Ok(());
        }
        Value::Number(number) if dtype != Dtype::Bool => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => (Dtype::I64, whole.to_le_bytes()),
            (None, Some(double)) => (Dtype::F64, double.to_le_bytes()),
            (None, None) => return Err(not_a_number(value, dtype)),
        },
        Value::String(text) if is_float => match text.to_ascii_lowercase().as_str() {
            "nan" => (Dtype::F64, f64::NAN.to_le_bytes()),
            "inf" | "infinity" => (Dtype::F64, f64::INFINITY.to_le_bytes()),
            "-inf" | "-infinity" => (Dtype::F64, f64::NEG_INFINITY.to_le_bytes()),
            _ => return Err(not_a_number(value, dtype)),
        },
        _ => return Err(not_a_number(value, dtype)),
    };
    convert_elements(Stored::Element(read_as), &number, dtype, bytes)
        .map_err(|_| DataError::new("", format!("{value} does not fit in {dtype}"), misfit_remedy(dtype)))
}

fn not_a_number(value: &Value, dtype: Dtype) -> DataError {
    let remedy = match dtype {
        Dtype::F32 | Dtype::F64 => r#"write a number, "nan", "inf" or "-inf""#,
        Dtype::Bool => "write true or false",
        Dtype::I32 | Dtype::I64 | Dtype::U32 => "write a whole number",
    };
    DataError::new("", format!("{} where one {dtype} belongs", kind(value)), remedy)
}

/// A JSON value in a few words.
fn kind(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_string(),
        Value::String(_) => format!("the string {value}"),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Writes a file, one line for each tensor.
pub fn write(path: &Path, tensors: &[(String, HostTensor)]) -> Result<(), DataError> {
    write_atomically(path, |writer| write_document(tensors, writer))
}

/// The document of these tensors, one line each.
pub fn to_text(tensors: &[(String, HostTensor)]) -> String {
    let mut text = Vec::new();
    write_document(tensors, &mut text).expect("bug in bpc: memory can be written");
    String::from_utf8(text).expect("bug in bpc: JSON is UTF-8")
}

fn write_document(tensors: &[(String, HostTensor)], writer: &mut impl Write) -> io::Result<()> {
    writer.write_all(b"{")?;
    for (at, (name, tensor)) in tensors.iter().enumerate() {
        let name = Value::String(name.clone());
        let dtype = DTYPES.iter().find(|(_, dtype)| *dtype == tensor.dtype()).map_or("", |&(name, _)| name);
        let shape = shape_text(tensor.shape());
        let separator = if at == 0 { "" } else { "," };
        write!(writer, "{separator}\n  {name}: {{\"shape\": {shape}, \"dtype\": \"{dtype}\", \"data\": ")?;
        write_nested(tensor.bytes(), tensor.shape(), tensor.dtype(), writer)?;
        writer.write_all(b"}")?;
    }
    writer.write_all(if tensors.is_empty() { b"}\n" } else { b"\n}\n" })
}

fn write_nested(bytes: &[u8], shape: &[u64], dtype: Dtype, writer: &mut impl Write) -> io::Result<()> {
    let Some((&size, rest)) = shape.split_first() else { return write_number(bytes, dtype, writer) };
    let step = bytes.len() / size.max(1) as usize;
    writer.write_all(b"[")?;
    for at in 0..size as usize {
        if at > 0 {
            writer.write_all(b", ")?;
        }
        write_nested(&bytes[at * step..(at + 1) * step], rest, dtype, writer)?;
    }
    writer.write_all(b"]")
}

fn write_number(bytes: &[u8], dtype: Dtype, writer: &mut impl Write) -> io::Result<()> {
    match dtype {
        Dtype::F32 => write_float(f64::from(<f32 as Number>::read(bytes)), writer),
        Dtype::F64 => write_float(<f64 as Number>::read(bytes), writer),
        Dtype::I32 => write!(writer, "{}", <i32 as Number>::read(bytes)),
        Dtype::I64 => write!(writer, "{}", <i64 as Number>::read(bytes)),
        Dtype::U32 => write!(writer, "{}", <u32 as Number>::read(bytes)),
        Dtype::Bool => write!(writer, "{}", <bool as Number>::read(bytes)),
    }
}

/// A single is written as the double it is: its own shortest digits, read as a double and rounded, could miss it.
fn write_float(value: f64, writer: &mut impl Write) -> io::Result<()> {
    if value.is_nan() {
        writer.write_all(b"\"nan\"")
    } else if value.is_infinite() {
        writer.write_all(if value > 0.0 { b"\"inf\"" } else { b"\"-inf\"" })
    } else {
        write!(writer, "{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(json: &str) -> HostTensor {
        parse(json).unwrap().remove(0).1
    }

    #[test]
    fn documents_of_others_are_read() {
        let tensor = one(
            r#"{"x": {"data": [[1, 2.5, -3e2], ["nan", "Infinity", "-inf"]], "dtype": "float32", "shape": [2, 3]}}"#,
        );
        let values = tensor.to_vec::<f32>().unwrap();
        assert_eq!(values[..3], [1.0, 2.5, -300.0]);
        assert!(values[3].is_nan() && values[4] == f32::INFINITY && values[5] == f32::NEG_INFINITY);
        let scalar = one(r#"{"n": {"shape": [], "dtype": "int64", "data": 9007199254740993}}"#);
        assert_eq!(scalar.to_vec::<i64>().unwrap(), [9_007_199_254_740_993]);
        let flags = one(r#"{"b": {"shape": [2, 1], "dtype": "bool", "data": [[true], [false]]}}"#);
        assert_eq!(flags.to_vec::<bool>().unwrap(), [true, false]);
        let names: Vec<String> = parse(
            r#"{"z": {"shape": [0], "dtype": "bool", "data": []},
                                           "a": {"shape": [], "dtype": "int32", "data": 2.0}}"#,
        )
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
        assert_eq!(names, ["z", "a"]);
    }

    #[test]
    fn errors_name_the_path() {
        for (json, expected) in [
            ("[1, 2]", "a list of 2 where tensors by name belong"),
            ("{\"x\": ", "not JSON: EOF"),
            (r#"{"x": 1}"#, "x: 1 where a tensor belongs"),
            (r#"{"x": {"shape": [], "dtype": "float32"}}"#, "x: the key `data` is missing"),
            (r#"{"x": {"shape": [], "dtype": "float32", "data": 1, "dat": 1}}"#, "x.dat: unknown key"),
            (r#"{"x": {"shape": [], "dtype": "float", "data": 1}}"#, "x.dtype: no dtype is named `float`"),
            (r#"{"x": {"shape": [], "dtype": 3, "data": 1}}"#, "x.dtype: 3 where a dtype belongs"),
            (r#"{"x": {"shape": [-1], "dtype": "bool", "data": []}}"#, "x.shape: not a list of sizes"),
            (r#"{"x": {"shape": [2], "dtype": "int32", "data": [1]}}"#, "x.data: a list of 1 where the shape says 2"),
            (r#"{"x": {"shape": [1, 2], "dtype": "int32", "data": [3]}}"#, "x.data[0]: 3 where a list of 2 belongs"),
            (r#"{"x": {"shape": [1], "dtype": "int32", "data": [[3]]}}"#, "x.data[0]: a list of 1 where one i32"),
            (
                r#"{"x": {"shape": [2, 1], "dtype": "int32", "data": [[1], [1.5]]}}"#,
                "x.data[1][0]: 1.5 does not fit in i32",
            ),
            (r#"{"x": {"shape": [], "dtype": "uint32", "data": -1}}"#, "x.data: -1 does not fit in u32"),
            (r#"{"x": {"shape": [], "dtype": "float32", "data": 1e39}}"#, "x.data: 1e+39 does not fit in f32"),
            (r#"{"x": {"shape": [], "dtype": "float64", "data": null}}"#, "x.data: null where one f64 belongs"),
            (r#"{"x": {"shape": [], "dtype": "float64", "data": "12"}}"#, "x.data: the string \"12\" where one f64"),
            (r#"{"x": {"shape": [], "dtype": "bool", "data": 1}}"#, "x.data: 1 where one bool belongs"),
        ] {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("help:"), "{error}");
        }
    }

    #[test]
    fn the_text_is_as_documented() {
        let tensors = [
            ("w".to_string(), HostTensor::from_slice([2, 1], &[0.5f64, f64::NAN]).unwrap()),
            ("\"q\"".to_string(), HostTensor::zeros(Dtype::I32, [2, 0]).unwrap()),
            ("s".to_string(), HostTensor::scalar(true)),
        ];
        let text = to_text(&tensors);
        let expected = "{\n  \"w\": {\"shape\": [2, 1], \"dtype\": \"float64\", \"data\": [[0.5], [\"nan\"]]},\n  \
             \"\\\"q\\\"\": {\"shape\": [2, 0], \"dtype\": \"int32\", \"data\": [[], []]},\n  \
             \"s\": {\"shape\": [], \"dtype\": \"bool\", \"data\": true}\n}\n";
        assert_eq!(text, expected);
        assert_eq!(parse(&text).unwrap()[1..], tensors[1..]);
        assert_eq!(parse(&to_text(&[])).unwrap(), []);
    }

    proptest! {
        #[test]
        fn every_float_reads_back(bits in any::<u64>()) {
            let (double, single) = (f64::from_bits(bits), f32::from_bits(bits as u32));
            let tensors = [("d".to_string(), HostTensor::scalar(double)), ("s".to_string(), HostTensor::scalar(single))];
            let read_back = parse(&to_text(&tensors)).unwrap();
            prop_assert!(double.is_nan() || read_back[0] == tensors[0]);
            prop_assert!(single.is_nan() || read_back[1] == tensors[1]);
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}",:0-9a-z ]{0,40}"#) {
            let _ = parse(&text);
        }
    }
}
