//! Named tensors in whichever format the file's extension says.
//!
//! Expects: `.json`, `.npz` or `.safetensors`.
//! Guarantees: names, shapes and values survive; small whole numbers of NumPy (u1, i1, i2) are widened to i32.
//! Leaves out: metadata of checkpoints.

use std::path::Path;

use crate::data::npz;
use crate::error::DataError;
use crate::tensor::{Dtype, HostTensor, Stored, convert_elements};
use crate::{checkpoint, json_tensor};

/// Reads all tensors of a file.
pub fn read_tensors(path: &Path) -> Result<Vec<(String, HostTensor)>, DataError> {
    match extension(path)? {
        Format::Json => json_tensor::read(path),
        Format::Npz => npz::read_all(path)?
            .into_iter()
            .map(|(name, column)| {
                let dtype = match column.stored {
                    Stored::Element(dtype) => dtype,
                    Stored::U8 | Stored::I8 | Stored::I16 => Dtype::I32,
                };
                let mut bytes = Vec::new();
                convert_elements(column.stored, &column.bytes, dtype, &mut bytes)
                    .expect("bug in bpc: i32 holds every smaller whole number");
                Ok((name, HostTensor::new(dtype, column.shape, bytes)?))
            })
            .collect(),
        Format::Safetensors => Ok(checkpoint::load(path)?.tensors.into_iter().collect()),
    }
}

/// Writes tensors to a file.
pub fn write_tensors(path: &Path, tensors: &[(String, HostTensor)]) -> Result<(), DataError> {
    match extension(path)? {
        Format::Json => json_tensor::write(path, tensors),
        Format::Npz => npz::write(path, tensors),
        Format::Safetensors => checkpoint::save(path, tensors, "{}"),
    }
}

enum Format {
    Json,
    Npz,
    Safetensors,
}

fn extension(path: &Path) -> Result<Format, DataError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Ok(Format::Json),
        Some("npz") => Ok(Format::Npz),
        Some("safetensors") => Ok(Format::Safetensors),
        _ => {
            let remedy = "name the file .json, .npz or .safetensors";
            Err(DataError::in_file(path, "the file's extension does not say what it holds", remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_formats_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let tensors = vec![
            ("a.b".to_string(), HostTensor::from_slice([2, 2], &[1.5f32, -0.0, f32::INFINITY, 0.1]).unwrap()),
            ("c".to_string(), HostTensor::scalar(i64::MIN)),
            ("d".to_string(), HostTensor::from_slice([1, 3], &[true, false, true]).unwrap()),
        ];
        for name in ["t.json", "t.npz", "t.safetensors"] {
            let path = folder.path().join(name);
            write_tensors(&path, &tensors).unwrap();
            assert_eq!(read_tensors(&path).unwrap(), tensors, "{name}");
        }
        let error = write_tensors(&folder.path().join("t.txt"), &tensors).unwrap_err().to_string();
        assert!(error.contains("t.txt: ") && error.contains(".json, .npz or .safetensors"), "{error}");
    }
}
