//! IDX files, the format of MNIST: a magic number, the sizes, then the elements, all big endian.
//!
//! Expects: a file, packed by gzip or not.
//! Guarantees: a file whose length is not exactly what its header says is an error.
//! Leaves out: nothing; all six element codes are read.

use std::path::Path;

use crate::data::column::{Column, check_size};
use crate::error::DataError;
use crate::file::read_bytes;
use crate::tensor::{Dtype, Stored};

/// Reads one array.
pub fn read(path: &Path) -> Result<Column, DataError> {
    parse(&read_bytes(path)?).map_err(|error| error.within(path.display()))
}

/// The array in the bytes of an unpacked file.
pub fn parse(bytes: &[u8]) -> Result<Column, DataError> {
    const FETCH: &str = "fetch the file again; it is truncated or corrupt";
    let &[0, 0, code, rank] = bytes.get(..4).unwrap_or_default() else {
        let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        if bytes.is_empty() {
            return Err(DataError::new("", "the file is empty", FETCH));
        }
        let problem = format!("not an IDX file: it begins with `{}`, not with `00 00 type rank`", start.join(" "));
        return Err(DataError::new("", problem, "give an IDX file (as MNIST's `train-images-idx3-ubyte.gz`)"));
    };
    let stored = match code {
        0x08 => Stored::U8,
        0x09 => Stored::I8,
        0x0b => Stored::I16,
        0x0c => Stored::Element(Dtype::I32),
        0x0d => Stored::Element(Dtype::F32),
        0x0e => Stored::Element(Dtype::F64),
        _ => {
            let problem = format!("IDX element type 0x{code:02x} is unknown");
            return Err(DataError::new("", problem, "the types are 08 u8, 09 i8, 0b i16, 0c i32, 0d f32, 0e f64"));
        }
    };
    let (header, data) = bytes[4..]
        .split_at_checked(4 * usize::from(rank))
        .ok_or_else(|| DataError::new("", format!("the header ends before its {rank} sizes"), FETCH))?;
    let shape: Vec<u64> = header
        .chunks_exact(4)
        .map(|size| u64::from(u32::from_be_bytes([size[0], size[1], size[2], size[3]])))
        .collect();
    check_size(stored, &shape, data, FETCH)?;
    let mut bytes = data.to_vec();
    for element in bytes.chunks_exact_mut(stored.bytes()) {
        element.reverse();
    }
    Ok(Column { stored, shape, bytes })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::file::tests::gzip;
    use crate::tensor::convert_elements;

    /// The bytes of an IDX file.
    pub(crate) fn idx_bytes(code: u8, shape: &[u32], big_endian_data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, code, shape.len() as u8];
        shape.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(big_endian_data);
        bytes
    }

    fn as_f64(column: &Column) -> Vec<f64> {
        let mut out = Vec::new();
        convert_elements(column.stored, &column.bytes, Dtype::F64, &mut out).unwrap();
        out.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect()
    }

    #[test]
    fn all_element_types() {
        let cases: [(u8, Vec<u8>, Stored, [f64; 2]); 6] = [
            (0x08, vec![1, 255], Stored::U8, [1.0, 255.0]),
            (0x09, vec![1, 255], Stored::I8, [1.0, -1.0]),
            (0x0b, vec![1, 0, 255, 254], Stored::I16, [256.0, -2.0]),
            (0x0c, [0x0100i32, -2].map(i32::to_be_bytes).concat(), Stored::Element(Dtype::I32), [256.0, -2.0]),
            (0x0d, [0.5f32, -1e9].map(f32::to_be_bytes).concat(), Stored::Element(Dtype::F32), [0.5, -1e9]),
            (0x0e, [0.1f64, -1e99].map(f64::to_be_bytes).concat(), Stored::Element(Dtype::F64), [0.1, -1e99]),
        ];
        for (code, data, stored, values) in cases {
            let column = parse(&idx_bytes(code, &[2, 1], &data)).unwrap();
            assert_eq!((column.stored, column.shape.as_slice()), (stored, [2u64, 1].as_slice()));
            assert_eq!(as_f64(&column), values);
        }
    }

    #[test]
    fn every_other_length_is_an_error() {
        let whole = idx_bytes(0x0b, &[2, 3], &[7; 12]);
        assert!(parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(!parse(&whole[..length]).unwrap_err().problem.is_empty(), "{length}");
        }
        let error = parse(&[whole.as_slice(), &[0]].concat()).unwrap_err().to_string();
        assert!(error.contains("i16[2, 3] needs 12 bytes of data, the file has 13"), "{error}");
    }

    #[test]
    fn wrong_headers_are_named() {
        assert!(parse(b"").unwrap_err().to_string().contains("the file is empty"));
        let error = parse(b"PNG.rest").unwrap_err().to_string();
        assert!(error.contains("begins with `50 4e 47 2e`"), "{error}");
        let error = parse(&[0, 0, 0x0a, 1, 0, 0, 0, 0]).unwrap_err().to_string();
        assert!(error.contains("type 0x0a is unknown") && error.contains("0b i16"), "{error}");
        let error = parse(&idx_bytes(8, &[u32::MAX; 3], &[])).unwrap_err().to_string();
        assert!(error.contains("more than can be"), "{error}");
    }

    #[test]
    fn gzip_is_read_and_the_file_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        std::fs::write(&path, gzip(&idx_bytes(8, &[3], &[1, 2, 3]))).unwrap();
        assert_eq!(read(&path).unwrap().bytes, [1, 2, 3]);
        std::fs::write(&path, [0, 0, 8, 1, 0]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("labels: the header ends before its 1 sizes"), "{error}");
    }
}
