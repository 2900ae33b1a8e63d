//! Whole files: read (unpacking gzip) and written so that a reader never sees half of one.
//!
//! Expects: a path.
//! Guarantees: errors name the path. A written file is either the old one or the whole new one, also after a crash.
//! Leaves out: streams; every reader of ours works on bytes in memory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::DataError;

/// First bytes of a gzip stream.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The bytes of a file, unpacked if they are a gzip stream (whatever the name says).
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = fs::read(path).map_err(|error| io_error(path, "read", &error))?;
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).map_err(|error| {
        let problem = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the gzip stream ends too early".to_string(),
            _ => format!("the gzip stream is damaged: {error}"),
        };
        DataError::in_file(path, problem, "fetch the file again; it is truncated or corrupt")
    })?;
    Ok(unpacked)
}

/// The text of a file, unpacked if need be, without a byte-order mark.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    let text = String::from_utf8(read_bytes(path)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        let byte = error.as_bytes()[valid];
        DataError::in_file(path, format!("line {line} is not UTF-8 (byte 0x{byte:02x})"), "save the file as UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_string(),
        None => text,
    })
}

/// Writes a file through `fill`: first to a file beside it, then flushed to the disk and renamed into place.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), DataError> {
    let temporary = beside(path)?;
    let written = (|| {
        let file = File::create(&temporary)?;
        let mut writer = BufWriter::new(&file);
        fill(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|error| {
        // The half-written file is of no use to anyone; the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        io_error(path, "write", &error)
    })
}

/// Whether a file can be written here, asked before work whose result it shall hold. What is there stays as it is.
pub fn check_writable(path: &Path) -> Result<(), DataError> {
    let temporary = beside(path)?;
    File::create(&temporary).and_then(|_| fs::remove_file(&temporary)).map_err(|error| io_error(path, "write", &error))
}

/// The name of the temporary file for `path`: the same folder (a rename must not cross file systems), one per process.
fn beside(path: &Path) -> Result<PathBuf, DataError> {
    let name = path.file_name().ok_or_else(|| {
        DataError::in_file(path, "cannot write here: this names no file", "give a path that ends in a file name")
    })?;
    Ok(path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id())))
}

/// What the system said about a path, with a remedy for the common cases.
pub(crate) fn io_error(path: &Path, action: &str, error: &io::Error) -> DataError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound if action == "write" => "create the folder first".to_string(),
        io::ErrorKind::NotFound => "check the path; paths in a program are relative to the program's file".to_string(),
        io::ErrorKind::PermissionDenied => format!("allow this user to {action} it, or choose another path"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another disk".to_string()
        }
        io::ErrorKind::IsADirectory => "give the path of a file, not of a folder".to_string(),
        _ => String::new(),
    };
    DataError::in_file(path, format!("cannot {action}: {error}"), remedy)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// Packs bytes, for tests of readers.
    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_whatever_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plain.txt");
        fs::write(&path, gzip(b"some text")).unwrap();
        assert_eq!(read_bytes(&path).unwrap(), b"some text");
        fs::write(&path, "\u{feff}other").unwrap();
        assert_eq!(read_text(&path).unwrap(), "other");
    }

    #[test]
    fn every_truncation_of_gzip_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let packed = gzip(b"some text that is long enough to be packed, packed, packed");
        for length in GZIP_MAGIC.len()..packed.len() {
            fs::write(&path, &packed[..length]).unwrap();
            let error = read_bytes(&path).unwrap_err().to_string();
            assert!(error.contains("a.gz") && error.contains("gzip"), "{length}: {error}");
        }
    }

    #[test]
    fn unreadable_text_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin.txt");
        fs::write(&path, b"one\ntwo \xe9\n").unwrap();
        let error = read_text(&path).unwrap_err().to_string();
        assert!(error.contains("latin.txt: line 2 is not UTF-8 (byte 0xe9)"), "{error}");
        let error = read_text(&folder.path().join("none.txt")).unwrap_err().to_string();
        assert!(error.contains("none.txt: cannot read") && error.contains("help: check the path"), "{error}");
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        write_atomically(&path, |writer| writer.write_all(b"old")).unwrap();
        let full = write_atomically(&path, |writer| {
            writer.write_all(b"half of the new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let error = full.unwrap_err().to_string();
        assert!(error.contains("kept: cannot write") && error.contains("free some space"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
        let error = write_atomically(&folder.path().join("no/such"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("no/such: cannot write") && error.contains("create the folder"), "{error}");
    }
}
