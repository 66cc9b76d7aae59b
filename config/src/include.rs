//! `include`: from patterns to the files that exist now.

use crate::{problem::Problems, schema::Document};
use glob::{MatchOptions, Pattern};
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

/// How many files may be included.
const MAX_FILES: usize = 10_000;

/// `*` does not match a leading dot: editors and Kubernetes keep their own files under such names.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What `include` names.
#[derive(Debug, Default)]
pub(crate) struct Expansion {
    /// The files, in the order of the patterns, each pattern's sorted by name, each file once.
    pub(crate) files: Vec<PathBuf>,
    /// The directories whose entries decide what the files are.
    pub(crate) directories: Vec<PathBuf>,
}

/// Finds the included files. `main` is never one of them, though a pattern may match it.
pub(crate) fn expand(document: &Document, main: &Path, problems: &mut Problems) -> Expansion {
    let directory = main.parent().unwrap_or(Path::new(""));
    let main = main.canonicalize().ok();
    let mut expansion = Expansion::default();
    let mut seen = HashSet::new();
    for pattern in &document.include.0 {
        let full = directory.join(&pattern.value.0);
        let (Some(parent), Some(last)) = (full.parent(), full.file_name().and_then(|n| n.to_str()))
        else {
            problems.error(pattern.span, "this names no file");
            continue;
        };
        if Path::new(&pattern.value.0).parent().is_some_and(|p| p.to_string_lossy().contains('*')) {
            problems
                .error(pattern.span, "`*` may only stand in the last part of the path")
                .help("write one pattern for each directory".to_owned());
            continue;
        }
        let files = if last.contains('*') {
            expansion.directories.push(parent.to_owned());
            match matching(parent, last) {
                Ok(files) => files,
                Err(error) => {
                    let shown = parent.display();
                    problems.error(pattern.span, format!("cannot list {shown}: {error}"));
                    continue;
                }
            }
        } else {
            vec![full.clone()]
        };
        if files.is_empty() {
            problems.warning(pattern.span, "no file matches this pattern");
        }
        let is_main = |file: &PathBuf| main.is_some() && file.canonicalize().ok() == main;
        let new = files.into_iter().filter(|file| seen.insert(file.clone()));
        expansion.files.extend(new.filter(|file| !is_main(file)));
        if expansion.files.len() > MAX_FILES {
            problems.error(pattern.span, format!("more than {MAX_FILES} files are included"));
            expansion.files.truncate(MAX_FILES);
            break;
        }
    }
    expansion
}

fn matching(directory: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let invalid =
        |error: glob::PatternError| io::Error::new(io::ErrorKind::InvalidInput, error.msg);
    let pattern = Pattern::new(pattern).map_err(invalid)?;
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut files = Vec::new();
    for entry in listed.read_dir()? {
        let name = entry?.file_name();
        let matches = name.to_str().is_some_and(|name| pattern.matches_with(name, OPTIONS));
        let path = directory.join(&name);
        if matches && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
