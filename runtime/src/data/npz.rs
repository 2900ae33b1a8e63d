//! Arrays of NumPy: `.npz` archives and single `.npy` files.
//!
//! Expects: bool, u1, i1, i2, i4, i8, u4, f4 or f8 elements of either byte order, C or Fortran order.
//! Guarantees: arrays come in the order of the archive; writing gives equal bytes for equal tensors.
//! Leaves out: records, strings, complex numbers and pickled objects.

use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

use npyz::npz::{array_name_from_file_name, file_name_from_array_name};
use npyz::{AutoSerialize, DType, Endianness, NpyFile, Order, TypeChar, WriteOptions, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::data::column::{Column, check_size};
use crate::error::{DataError, known_names};
use crate::file::{read_bytes, write_atomically};
use crate::tensor::{Dtype, HostTensor, Number, Stored};

const FETCH: &str = "write the file again; it is truncated or corrupt";

/// Reads every array of an archive with its name; a lone `.npy` file is the array `arr_0`, as NumPy would name it.
pub fn read_all(path: &Path) -> Result<Vec<(String, Column)>, DataError> {
    let bytes = read_bytes(path)?;
    parse(&bytes, |_| true).map_err(|error| error.within(path.display()))
}

/// Reads the named arrays of an archive, in this order.
pub fn read(path: &Path, names: &[&str]) -> Result<Vec<Column>, DataError> {
    let bytes = read_bytes(path)?;
    let arrays = parse(&bytes, |name| names.contains(&name)).map_err(|error| error.within(path.display()))?;
    let find = |name: &&str| {
        arrays.iter().find(|(other, _)| other == name).map(|(_, column)| column.clone()).ok_or_else(|| {
            let present = array_names(&bytes).unwrap_or_default();
            let remedy = known_names("arrays", name, present.iter().map(String::as_str));
            DataError::in_file(path, format!("no array is named `{name}`"), remedy)
        })
    };
    names.iter().map(find).collect()
}

fn parse(bytes: &[u8], is_wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Column)>, DataError> {
    if bytes.starts_with(b"\x93NUMPY") {
        return Ok(if is_wanted(LONE_NAME) { vec![(LONE_NAME.to_string(), parse_array(bytes)?)] } else { Vec::new() });
    }
    let mut archive = open(bytes)?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let damaged = |error: &dyn std::fmt::Display| DataError::new("", format!("damaged archive: {error}"), FETCH);
        let mut entry = archive.by_index(index).map_err(|error| damaged(&error))?;
        let file_name = entry.name().map_err(|error| damaged(&error))?.into_owned();
        let Some(name) = array_name_from_file_name(&file_name).filter(|name| is_wanted(name)) else { continue };
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|error| damaged(&error))?;
        arrays
            .push((name.to_string(), parse_array(&content).map_err(|error| error.within(format!("array `{name}`")))?));
    }
    Ok(arrays)
}

/// What NumPy calls the first array without a name.
const LONE_NAME: &str = "arr_0";

fn open(bytes: &[u8]) -> Result<ZipArchive<Cursor<&[u8]>>, DataError> {
    ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
        DataError::new("", format!("not an npz archive: {error}"), "give a whole file written by `numpy.savez`")
    })
}

fn array_names(bytes: &[u8]) -> Result<Vec<String>, DataError> {
    if bytes.starts_with(b"\x93NUMPY") {
        return Ok(vec![LONE_NAME.to_string()]);
    }
    let archive = open(bytes)?;
    let files = archive.file_names().filter_map(Result::ok);
    let mut names: Vec<String> =
        files.filter_map(|file| array_name_from_file_name(&file).map(str::to_string)).collect();
    names.sort_unstable();
    Ok(names)
}

/// The array in the bytes of a `.npy` file.
fn parse_array(bytes: &[u8]) -> Result<Column, DataError> {
    check_header(bytes)?;
    let file = NpyFile::new(bytes).map_err(|error| DataError::new("", format!("not an npy array: {error}"), FETCH))?;
    let shape = file.shape().to_vec();
    let order = file.order();
    let (stored, endianness) = element_type(&file.dtype())?;
    let data = file.into_inner();
    check_size(stored, &shape, data, FETCH)?;
    let mut bytes = match order {
        Order::C => data.to_vec(),
        Order::Fortran => from_fortran(data, stored.bytes(), &shape),
    };
    if endianness == Endianness::Big {
        bytes.chunks_exact_mut(stored.bytes()).for_each(<[u8]>::reverse);
    }
    if stored == Stored::Element(Dtype::Bool) {
        bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Ok(Column { stored, shape, bytes })
}

/// Refuses headers on which the npy library would allocate without bound, recurse deeply or overflow.
fn check_header(bytes: &[u8]) -> Result<(), DataError> {
    let broken = |problem: &str| DataError::new("", format!("not an npy array: {problem}"), FETCH);
    let (start, length) = match (bytes.get(6), bytes.get(8..12)) {
        (Some(1), Some(size)) => (10, usize::from(u16::from_le_bytes([size[0], size[1]]))),
        (Some(_), Some(size)) => (12, u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize),
        _ => return Err(broken("the file ends within the header")),
    };
    let header = bytes.get(start..).and_then(|rest| rest.get(..length));
    let text = header.ok_or_else(|| broken("the file ends within the header"))?;
    let text = std::str::from_utf8(text).map_err(|_| broken("the header is not text"))?;
    if text.bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count() > 16 {
        return Err(broken("the header nests too deeply"));
    }
    let sizes = text.split("'shape'").nth(1).unwrap_or_default();
    let numbers = sizes.split(|character: char| !character.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let count = numbers
        .map(|digits| digits.parse::<u64>().ok())
        .try_fold(1u64, |product, size| product.checked_mul(size?.max(1)));
    count.map(|_| ()).ok_or_else(|| broken("its shape is too large"))
}

fn element_type(dtype: &DType) -> Result<(Stored, Endianness), DataError> {
    let unsupported = || {
        let problem = format!("elements of type {} are not supported", dtype.descr());
        DataError::new(
            "",
            problem,
            "convert in NumPy first, as `x.astype('f4')`; bool u1 i1 i2 i4 i8 u4 f4 f8 are read",
        )
    };
    let DType::Plain(plain) = dtype else { return Err(unsupported()) };
    let stored = match (plain.type_char(), plain.size_field()) {
        (TypeChar::Bool, 1) => Stored::Element(Dtype::Bool),
        (TypeChar::Uint, 1) => Stored::U8,
        (TypeChar::Int, 1) => Stored::I8,
        (TypeChar::Int, 2) => Stored::I16,
        (TypeChar::Int, 4) => Stored::Element(Dtype::I32),
        (TypeChar::Int, 8) => Stored::Element(Dtype::I64),
        (TypeChar::Uint, 4) => Stored::Element(Dtype::U32),
        (TypeChar::Float, 4) => Stored::Element(Dtype::F32),
        (TypeChar::Float, 8) => Stored::Element(Dtype::F64),
        _ => return Err(unsupported()),
    };
    Ok((stored, plain.endianness()))
}

/// Row-major elements from column-major ones.
fn from_fortran(data: &[u8], size: usize, shape: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut position = vec![0u64; shape.len()];
    for _ in 0..data.len() / size {
        let offset = position.iter().zip(shape).rev().fold(0, |offset, (&at, &along)| offset * along + at) as usize;
        out.extend_from_slice(&data[offset * size..(offset + 1) * size]);
        for (at, &along) in position.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < along {
                break;
            }
            *at = 0;
        }
    }
    out
}

/// Writes an archive, not compressed and without a time, so that equal tensors give equal bytes.
pub fn write(path: &Path, tensors: &[(String, HostTensor)]) -> Result<(), DataError> {
    let mut archive = Cursor::new(Vec::new());
    archive_to(&mut archive, tensors).map_err(|error| DataError::in_file(path, format!("cannot pack: {error}"), ""))?;
    write_atomically(path, |writer| writer.write_all(archive.get_ref()))
}

fn archive_to(to: impl Write + Seek, tensors: &[(String, HostTensor)]) -> std::io::Result<()> {
    let mut archive = ZipWriter::new(to);
    for (name, tensor) in tensors {
        match tensor.dtype() {
            Dtype::F32 => add::<f32>(&mut archive, name, tensor)?,
            Dtype::F64 => add::<f64>(&mut archive, name, tensor)?,
            Dtype::I32 => add::<i32>(&mut archive, name, tensor)?,
            Dtype::I64 => add::<i64>(&mut archive, name, tensor)?,
            Dtype::U32 => add::<u32>(&mut archive, name, tensor)?,
            Dtype::Bool => add::<bool>(&mut archive, name, tensor)?,
        }
    }
    archive.finish()?;
    Ok(())
}

fn add<T: Number + AutoSerialize>(
    archive: &mut ZipWriter<impl Write + Seek>,
    name: &str,
    tensor: &HostTensor,
) -> std::io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .large_file(tensor.bytes().len() > (1 << 31));
    archive.start_file(file_name_from_array_name(name), options)?;
    let mut writer = WriteOptions::<T>::new().default_dtype().shape(tensor.shape()).writer(archive).begin_nd()?;
    writer.extend(tensor.bytes().chunks_exact(tensor.dtype().bytes() as usize).map(T::read))?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a `.npy` file.
    fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\0".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn tensors() -> Vec<(String, HostTensor)> {
        vec![
            ("w".to_string(), HostTensor::from_slice([2, 3], &[1.5f32, -2.0, f32::NAN, 0.1, 0.0, 7.0]).unwrap()),
            ("scalar".to_string(), HostTensor::scalar(0.1f64)),
            ("i".to_string(), HostTensor::from_slice([2], &[i32::MIN, 5]).unwrap()),
            ("l".to_string(), HostTensor::from_slice([1], &[i64::MAX]).unwrap()),
            ("u".to_string(), HostTensor::from_slice([1, 1], &[u32::MAX]).unwrap()),
            ("b".to_string(), HostTensor::from_slice([0], &[false; 0]).unwrap()),
        ]
    }

    #[test]
    fn an_archive_comes_back_and_is_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let (path, again) = (folder.path().join("a.npz"), folder.path().join("b.npz"));
        write(&path, &tensors()).unwrap();
        write(&again, &tensors()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
        let read_back = read_all(&path).unwrap();
        assert_eq!(read_back.len(), tensors().len());
        for ((name, column), (expected_name, tensor)) in read_back.iter().zip(tensors()) {
            assert_eq!((name, column.stored), (&expected_name, Stored::Element(tensor.dtype())));
            assert_eq!((column.shape.as_slice(), column.bytes.as_slice()), (tensor.shape(), tensor.bytes()));
        }
        assert_eq!(read(&path, &["i", "w"]).unwrap()[0].shape, [2]);
        let error = read(&path, &["scalr"]).unwrap_err().to_string();
        assert!(error.contains("no array is named `scalr`") && error.contains("did you mean `scalar`?"), "{error}");
    }

    #[test]
    fn orders_and_ends() {
        // The matrix [[1, 2, 3], [4, 5, 6]].
        let row_major = npy("|u1", "False", "(2, 3)", &[1, 2, 3, 4, 5, 6]);
        let column_major = npy("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6]);
        assert_eq!(parse_array(&row_major).unwrap(), parse_array(&column_major).unwrap());
        let big = parse_array(&npy(">f4", "False", "(1,)", &1.5f32.to_be_bytes())).unwrap();
        assert_eq!(big.bytes, 1.5f32.to_le_bytes());
        let cube: Vec<u8> = (0..24).map(|at| at % 2 * 12 + at / 2 % 3 * 4 + at / 6).collect();
        let cube = parse_array(&npy("|i1", "True", "(2, 3, 4)", &cube)).unwrap();
        assert_eq!(cube.bytes, (0..24).collect::<Vec<u8>>());
        assert_eq!(parse_array(&npy("|b1", "False", "(2,)", &[0, 1])).unwrap().stored, Stored::Element(Dtype::Bool));
    }

    #[test]
    fn unusable_arrays_are_named() {
        for (bytes, expected) in [
            (npy("<c8", "False", "(1,)", &[0; 8]), "type '<c8' are not supported"),
            (npy("<U3", "False", "(1,)", &[0; 12]), "not supported"),
            (npy("|O", "False", "(1,)", &[0; 8]), "not supported"),
            (npy("<f4", "False", "(3,)", &[0; 8]), "f32[3] needs 12 bytes of data, the file has 8"),
            (npy("<f4", "False", "(9999999999, 9999999999)", &[]), "its shape is too large"),
            (npy("<f4", "False", "((((((((((((((((((1", &[]), "nests too deeply"),
            (b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(), "ends within the header"),
        ] {
            let error = parse(&bytes, |_| true).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(parse(b"no archive", |_| true).unwrap_err().to_string().contains("not an npz archive"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let array = npy("<i2", "False", "(2, 2)", &[0; 8]);
        assert!(parse_array(&array).is_ok());
        for length in 0..array.len() {
            assert!(parse_array(&array[..length]).is_err(), "{length}");
        }
        let mut archive = Cursor::new(Vec::new());
        archive_to(&mut archive, &tensors()).unwrap();
        let archive = archive.into_inner();
        assert!(parse(&archive, |_| true).is_ok());
        for length in 0..archive.len() {
            assert!(parse(&archive[..length], |_| true).is_err(), "{length}");
        }
    }

    #[test]
    fn no_single_wrong_byte_panics() {
        let mut archive = Cursor::new(Vec::new());
        archive_to(&mut archive, &tensors()[..2]).unwrap();
        let archive = archive.into_inner();
        for at in 0..archive.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = archive.clone();
                damaged[at] ^= flip;
                // Some damage is harmless (names, times); what matters is that it comes back at all.
                let _ = parse(&damaged, |_| true);
            }
        }
    }
}
