//! Reading files: bounded, and UTF-8 or an error that says where it is not.

use crate::problem::{Problem, Span};
use std::{fs::File, io::Read as _, path::Path};

/// The largest configuration file. Ten thousand routes take 3 MiB.
const MAX_FILE: u64 = 16 << 20;

/// A file's text, as far as there is one.
pub(crate) struct Text {
    /// The text; where it is not UTF-8, with replacement characters.
    pub(crate) text: String,
    /// What was read, also when it is no text; empty when nothing could be read.
    pub(crate) bytes: Vec<u8>,
    /// Why it cannot be used.
    pub(crate) problem: Option<Problem>,
}

/// Reads a file. `regular` refuses what could block forever, such as a pipe.
pub(crate) fn read(file: u32, path: &Path, regular: bool) -> Text {
    let failed = |message: String, bytes| {
        let span = Span { file, ..Span::default() };
        let problem = Problem { error: true, span, message, help: None, note: None };
        Text { text: String::new(), bytes, problem: Some(problem) }
    };
    let bytes = match read_bytes(path, regular, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) => return failed(format!("cannot read this file: {error}"), Vec::new()),
    };
    if bytes.len() as u64 > MAX_FILE {
        return failed(format!("this file is larger than {} MiB", MAX_FILE >> 20), bytes);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Text { text: text.to_owned(), bytes, problem: None },
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = valid.matches('\n').count() + 1;
            let column = valid.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
            let span =
                Span { file, node: 0, line: narrow(line), column: narrow(column), length: 1 };
            let message = "this is not UTF-8 text".to_owned();
            let help = Some("save the file in UTF-8".to_owned());
            let problem = Problem { error: true, span, message, help, note: None };
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Text { text, bytes, problem: Some(problem) }
        }
    }
}

/// Reads a file up to one byte more than `max`.
pub(crate) fn read_bytes(path: &Path, regular: bool, max: u64) -> std::io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?;
    if kind.is_dir() || (regular && !kind.is_file()) {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
