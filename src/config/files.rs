//! Files that the configuration names: where they are, and whether they can be read.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::reader::Item;

impl Item<'_> {
    /// A path. A relative one counts from the current directory when something is there, else from the
    /// directory of the configuration file.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.parse("a path", |text| (!text.is_empty()).then_some(text))?;
        let path = PathBuf::from(text);
        if path.is_absolute() || path.exists() {
            return Some(path);
        }
        Some(self.reading.dir.join(path))
    }
}

/// The content of a regular file of at most `max_bytes`.
///
/// # Errors
/// What is wrong with the file, to stand after its name.
pub(super) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    // Opening a pipe would wait for its writer, for ever.
    let metadata = fs::metadata(path).map_err(|error| describe(error.kind()))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| describe(error.kind()))?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(|error| describe(error.kind()))?;
    if bytes.len() as u64 > max_bytes {
        return Err(format!("is larger than {}", bytesize::ByteSize(max_bytes)));
    }
    Ok(bytes)
}

fn describe(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => "does not exist".to_owned(),
        ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        kind => format!("cannot be read: {kind}"),
    }
}
