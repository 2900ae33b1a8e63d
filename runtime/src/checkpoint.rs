//! Named tensors saved as safetensors, the format that PyTorch, JAX and others open.
//!
//! Expects: distinct names.
//! Guarantees: a saved file is whole or the old one; equal tensors and metadata give equal bytes (tensors are sorted, and
//!   the metadata is one string under one key, since the format's own order of keys is not fixed). What is loaded was
//!   checked against the file's header; [`Checkpoint::check_against`] checks it against a model.
//! Leaves out: 8-bit floats and other types no model of ours has. Half floats become f32 on loading.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype as FileDtype, SafeTensorError, SafeTensors};

use crate::error::{DataError, known_names};
use crate::file::{io_error, write_atomically};
use crate::tensor::{Dtype, HostTensor, Target, shape_text};

/// The one key of the metadata.
const METADATA_KEY: &str = "bpc";

/// A name that the format keeps for itself.
const RESERVED_NAME: &str = "__metadata__";

/// A loaded file.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it came from.
    pub path: PathBuf,
    /// What was saved beside the tensors; none in files of other programs.
    pub metadata: Option<String>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
}

/// Saves tensors, and one text (JSON) beside them.
pub fn save(path: &Path, tensors: &[(String, HostTensor)], metadata: &str) -> Result<(), DataError> {
    let mut sorted = BTreeMap::new();
    for (name, tensor) in tensors {
        if sorted.insert(name.as_str(), tensor).is_some() || name == RESERVED_NAME {
            let problem = format!("cannot save two tensors named `{name}`, or one named `{RESERVED_NAME}`");
            return Err(DataError::in_file(path, problem, "give every tensor its own name"));
        }
    }
    let cannot_pack = |error: SafeTensorError| DataError::in_file(path, format!("cannot pack: {error}"), "");
    let mut views = Vec::new();
    for (name, tensor) in sorted {
        let dtype = match tensor.dtype() {
            Dtype::F32 => FileDtype::F32,
            Dtype::F64 => FileDtype::F64,
            Dtype::I32 => FileDtype::I32,
            Dtype::I64 => FileDtype::I64,
            Dtype::U32 => FileDtype::U32,
            Dtype::Bool => FileDtype::BOOL,
        };
        let shape = tensor.shape().iter().map(|&size| size as usize).collect();
        views.push((name, TensorView::new(dtype, shape, tensor.bytes()).map_err(cannot_pack)?));
    }
    let metadata = HashMap::from([(METADATA_KEY.to_string(), metadata.to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(cannot_pack)?;
    write_atomically(path, |writer| writer.write_all(&bytes))
}

/// Loads every tensor of a file.
pub fn load(path: &Path) -> Result<Checkpoint, DataError> {
    let bytes = std::fs::read(path).map_err(|error| io_error(path, "read", &error))?;
    let (metadata, tensors) = parse(&bytes).map_err(|error| error.within(path.display()))?;
    Ok(Checkpoint { path: path.to_path_buf(), metadata, tensors })
}

type Parsed = (Option<String>, BTreeMap<String, HostTensor>);

fn parse(bytes: &[u8]) -> Result<Parsed, DataError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    let metadata = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY).cloned());
    let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let tensor = tensor_of(&view).map_err(|error| error.within(format!("tensor `{name}`")))?;
        tensors.insert(name, tensor);
    }
    Ok((metadata, tensors))
}

fn unreadable(error: SafeTensorError) -> DataError {
    let (problem, remedy) = match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => {
            ("the file is truncated or has bytes that belong to no tensor".to_string(), "copy or save it again")
        }
        other => (format!("not a whole safetensors file: {other}"), "give a file written by `bpc` or by safetensors"),
    };
    DataError::new("", problem, remedy)
}

fn tensor_of(view: &TensorView) -> Result<HostTensor, DataError> {
    let data = view.data();
    let (dtype, bytes) = match view.dtype() {
        FileDtype::F32 => (Dtype::F32, data.to_vec()),
        FileDtype::F64 => (Dtype::F64, data.to_vec()),
        FileDtype::I32 => (Dtype::I32, data.to_vec()),
        FileDtype::I64 => (Dtype::I64, data.to_vec()),
        FileDtype::U32 => (Dtype::U32, data.to_vec()),
        FileDtype::BOOL => (Dtype::Bool, data.to_vec()),
        FileDtype::F16 => (Dtype::F32, widen(data, single_of_half)),
        FileDtype::BF16 => (Dtype::F32, widen(data, single_of_brain)),
        other => {
            let remedy = "convert it first; F16, BF16, F32, F64, I32, I64, U32 and BOOL are read";
            return Err(DataError::new("", format!("elements of type {other} are not supported"), remedy));
        }
    };
    let shape: Vec<u64> = view.shape().iter().map(|&size| size as u64).collect();
    HostTensor::new(dtype, shape, bytes)
}

fn widen(data: &[u8], single: fn(u16) -> f32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * data.len());
    for pair in data.chunks_exact(2) {
        single(u16::from_le_bytes([pair[0], pair[1]])).write(&mut bytes);
    }
    bytes
}

/// An IEEE half (1 sign, 5 exponent, 10 fraction bits) as a single; exact.
fn single_of_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Subnormal: the fraction counts steps of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 / (1u32 << 24) as f32).to_bits()),
        0x1f => f32::from_bits(sign | 0xff << 23 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

/// A bfloat16 is the upper half of a single.
fn single_of_brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// What a model wants a tensor to be: name, dtype and shape.
pub type ExpectedTensor = (String, Dtype, Vec<u64>);

impl Checkpoint {
    /// Checks that the file has exactly these tensors.
    pub fn check_against(&self, expected: &[ExpectedTensor]) -> Result<(), DataError> {
        let in_file = |problem: String, remedy: String| Err(DataError::in_file(&self.path, problem, remedy));
        for (name, dtype, shape) in expected {
            let Some(tensor) = self.tensors.get(name) else {
                let present = known_names("tensors in the file", name, self.tensors.keys().map(String::as_str));
                return in_file(format!("tensor `{name}` of the model is missing"), present);
            };
            if tensor.shape() != shape {
                let problem = format!(
                    "tensor `{name}` has shape {}, the model wants {}",
                    shape_text(tensor.shape()),
                    shape_text(shape)
                );
                return in_file(problem, "use the settings the file was saved with".to_string());
            }
            if tensor.dtype() != *dtype {
                let problem = format!("tensor `{name}` holds {}, the model wants {dtype}", tensor.dtype());
                return in_file(problem, "use a model of the same dtype, or convert the file".to_string());
            }
        }
        match self.tensors.keys().find(|name| !expected.iter().any(|(expected, ..)| expected == *name)) {
            Some(extra) => {
                let names = known_names("tensors of the model", extra, expected.iter().map(|(name, ..)| name.as_str()));
                in_file(format!("the model has no tensor `{extra}`"), names)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tensors() -> Vec<(String, HostTensor)> {
        vec![
            (
                "hidden.weight".to_string(),
                HostTensor::from_slice([2, 3], &[1.5f32, -2.0, 0.1, 0.0, -0.0, 7.0]).unwrap(),
            ),
            ("hidden.bias".to_string(), HostTensor::from_slice([1], &[f64::MIN_POSITIVE]).unwrap()),
            ("step".to_string(), HostTensor::scalar(i32::MIN)),
            ("seen".to_string(), HostTensor::scalar(i64::MAX)),
            ("key".to_string(), HostTensor::from_slice([2], &[0, u32::MAX]).unwrap()),
            ("mask".to_string(), HostTensor::from_slice([3], &[true, false, true]).unwrap()),
            ("none".to_string(), HostTensor::zeros(Dtype::F32, [0, 4]).unwrap()),
        ]
    }

    fn expected() -> Vec<ExpectedTensor> {
        tensors().into_iter().map(|(name, tensor)| (name, tensor.dtype(), tensor.shape().to_vec())).collect()
    }

    #[test]
    fn tensors_come_back_and_bytes_are_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let (path, again) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        let metadata = r#"{"epoch": 3, "note": "\"quoted\""}"#;
        save(&path, &tensors(), metadata).unwrap();
        let mut reversed = tensors();
        reversed.reverse();
        save(&again, &reversed, metadata).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.metadata.as_deref(), Some(metadata));
        assert_eq!(loaded.tensors, tensors().into_iter().collect());
        loaded.check_against(&expected()).unwrap();
    }

    #[test]
    fn what_does_not_match_the_model_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save(&path, &tensors(), "").unwrap();
        let loaded = load(&path).unwrap();
        let check = |change: fn(&mut Vec<ExpectedTensor>)| {
            let mut expected = expected();
            change(&mut expected);
            loaded.check_against(&expected).unwrap_err().to_string()
        };
        for (error, text) in [
            (check(|all| all[0].2 = vec![3, 2]), "`hidden.weight` has shape [2, 3], the model wants [3, 2]"),
            (check(|all| all[0].1 = Dtype::F64), "`hidden.weight` holds f32, the model wants f64"),
            (check(|all| drop(all.remove(2))), "the model has no tensor `step`"),
            (check(|all| all[1].0 = "hiden.bias".to_string()), "`hiden.bias` of the model is missing"),
            (check(|all| all[1].0 = "hiden.bias".to_string()), "did you mean `hidden.bias`?"),
        ] {
            assert!(error.contains("a.safetensors: ") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save(&path, &tensors(), "{}").unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).unwrap_err().to_string();
            assert!(error.contains("truncated"), "{length}: {error}");
        }
        assert!(parse(&[whole.as_slice(), &[0]].concat()).unwrap_err().to_string().contains("belong to no tensor"));
        for length in [0, 4, 100, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains("a.safetensors"), "{error}");
        }
    }

    #[test]
    fn no_single_wrong_byte_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save(&path, &tensors(), "{}").unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                // Damage within numbers cannot be seen; what matters is that it comes back at all.
                let _ = parse(&damaged);
            }
        }
    }

    /// A file with one tensor of any type.
    fn one_tensor(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{}]}}}}"#, data.len());
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn half_floats_become_single() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for (name, exponent_bits) in [("F16", 5), ("BF16", 8)] {
            let (_, tensors) = parse(&one_tensor(name, "[65536]", &all)).unwrap();
            let singles = tensors["x"].to_vec::<f32>().unwrap();
            for (bits, &single) in (0..=u16::MAX).zip(&singles) {
                // The value by its definition, in doubles.
                let fraction_bits = 15 - exponent_bits;
                let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
                let exponent = i32::from(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
                let bias = (1 << (exponent_bits - 1)) - 1;
                let magnitude = if exponent == 0 {
                    fraction * 2f64.powi(1 - bias)
                } else if exponent == (1 << exponent_bits) - 1 {
                    if fraction == 0.0 { f64::INFINITY } else { f64::NAN }
                } else {
                    (1.0 + fraction) * 2f64.powi(exponent - bias)
                };
                let value = if bits >> 15 == 1 { -magnitude } else { magnitude };
                let equal = f64::from(single) == value && single.is_sign_negative() == (bits >> 15 == 1);
                assert!(equal || single.is_nan() && value.is_nan(), "{name} {bits:#06x}: {single} for {value}");
            }
        }
    }

    #[test]
    fn unusable_tensors_and_paths_are_named() {
        let error = parse(&one_tensor("U8", "[1]", &[1])).unwrap_err().to_string();
        assert!(error.contains("tensor `x`: elements of type U8 are not supported"), "{error}");
        let error = parse(&one_tensor("BOOL", "[2]", &[1, 7])).unwrap_err().to_string();
        assert!(error.contains("tensor `x`: bool element [1] is 7"), "{error}");
        assert!(parse(&one_tensor("F32", "[3]", &[0; 8])).unwrap_err().to_string().contains("not a whole safetensors"));
        let folder = tempfile::tempdir().unwrap();
        let error = load(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none: cannot read"), "{error}");
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
        let error = save(&folder.path().join("no/such"), &tensors(), "").unwrap_err().to_string();
        assert!(error.contains("no/such: cannot write"), "{error}");
        let twice = [tensors().remove(0), tensors().remove(0)];
        let error = save(&folder.path().join("a"), &twice, "").unwrap_err().to_string();
        assert!(error.contains("two tensors named `hidden.weight`"), "{error}");
    }
}
