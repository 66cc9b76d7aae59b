//! What users are told about their configuration: where, what, and what would be right.

use crate::{
    problem::{Problem, Problems, Span},
    yaml::{self, Kind, Node},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// How much of a line is shown, in characters.
const EXCERPT: usize = 160;

/// How much of it stands before the place in question.
const BEFORE: usize = 80;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used and is probably not meant like this.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The place.
    pub place: Place,
    /// The path of the key, as in `routes[2].variants[0].upstream`; empty for the whole file.
    pub path: String,
    /// What is wrong: lower case, without a full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Another place that has to do with it, and why.
    pub note: Option<(Place, String)>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0: the file as a whole.
    pub column: u32,
    /// How many characters it spans on its line, at least 1.
    pub length: u32,
    /// The line, or what of a long line stands around the place. Control characters are replaced.
    pub excerpt: String,
    /// Where in `excerpt` the place begins, from 1.
    pub excerpt_column: u32,
}

impl Diagnostic {
    /// `{severity, file, line, column, path, message, help}`
    pub fn json(&self) -> Value {
        json!({
            "severity": self.severity.as_str(),
            "file": self.place.file.to_string_lossy(),
            "line": self.place.line,
            "column": self.place.column,
            "path": self.path,
            "message": self.message,
            "help": self.help,
        })
    }
}

/// One line: `file:line:column: message (path)`.
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if !self.path.is_empty() {
            write!(f, " (at {})", self.path)?;
        }
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// `file:line:column`, or the file alone.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}:{}", self.file.display(), self.column),
        }
    }
}

/// A file that problems are in.
#[derive(Clone, Copy)]
pub(crate) struct SourceView<'a> {
    /// As it was named.
    pub(crate) path: &'a Path,
    /// Its text.
    pub(crate) text: &'a str,
}

/// Looks up the places of problems: errors first, each group in the order of files and lines.
/// `files[n]` is file number n.
pub(crate) fn resolve(mut problems: Vec<Problem>, files: &[SourceView<'_>]) -> Vec<Diagnostic> {
    problems.sort_by_key(|problem| {
        (!problem.error, problem.span.file, problem.span.line, problem.span.column)
    });
    let mut known: HashMap<u32, Located<'_>> = HashMap::new();
    for problem in &problems {
        for span in [Some(problem.span), problem.note.as_ref().map(|note| note.0)] {
            let Some(span) = span else { continue };
            let Some(file) = files.get(span.file as usize) else { continue };
            let located = known.entry(span.file).or_insert_with(|| Located::new(*file));
            located.paths.insert(span.node, String::new());
        }
    }
    for (number, located) in &mut known {
        // The trees are not kept for this: most configurations have no problems. Parsing again
        // numbers the nodes as before.
        if let Some(root) = yaml::parse(*number, located.file.text, &mut Problems::default()) {
            find_paths(&root, &mut String::new(), &mut located.paths);
        }
    }
    problems.into_iter().map(|problem| diagnostic(problem, &known)).collect()
}

struct Located<'a> {
    file: SourceView<'a>,
    lines: Vec<&'a str>,
    paths: HashMap<u32, String>,
}

impl<'a> Located<'a> {
    fn new(file: SourceView<'a>) -> Self {
        let mut lines = Vec::new();
        let mut rest = file.text.strip_prefix('\u{feff}').unwrap_or(file.text);
        while let Some(end) = rest.find(['\n', '\r']) {
            lines.push(&rest[..end]);
            let skip = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            rest = &rest[end + skip..];
        }
        lines.push(rest);
        Self { file, lines, paths: HashMap::new() }
    }
}

fn diagnostic(problem: Problem, known: &HashMap<u32, Located<'_>>) -> Diagnostic {
    let Problem { error, span, message, help, note } = problem;
    let path = known.get(&span.file).and_then(|located| located.paths.get(&span.node));
    Diagnostic {
        severity: if error { Severity::Error } else { Severity::Warning },
        place: place(span, known),
        path: path.cloned().unwrap_or_default(),
        message,
        help,
        note: note.map(|(span, text)| (place(span, known), text.to_owned())),
    }
}

fn place(span: Span, known: &HashMap<u32, Located<'_>>) -> Place {
    let located = known.get(&span.file);
    let line = located
        .and_then(|located| located.lines.get((span.line as usize).checked_sub(1)?))
        .copied()
        .unwrap_or_default();
    let column = span.column.max(1) as usize;
    let skip = column.saturating_sub(BEFORE);
    let visible = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let visible = |c: char| if c == '\t' { ' ' } else { visible(c) };
    let excerpt: String = line.chars().skip(skip).take(EXCERPT).map(visible).collect();
    let excerpt_column = column - skip;
    // The parser counts blanks after quoted text in.
    let pointed = excerpt.chars().skip(excerpt_column - 1).take(span.length as usize);
    let length = pointed.collect::<String>().trim_end().chars().count().max(1);
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        file: located.map(|located| located.file.path.to_owned()).unwrap_or_default(),
        line: span.line,
        column: span.column,
        length: narrow(length),
        excerpt,
        excerpt_column: narrow(excerpt_column),
    }
}

/// Fills in the key path of every wanted node, in one walk of the tree.
fn find_paths(node: &Node, path: &mut String, wanted: &mut HashMap<u32, String>) {
    let mut found = |number: u32, path: &str| {
        if let Some(slot) = wanted.get_mut(&number).filter(|slot| slot.is_empty()) {
            path.clone_into(slot);
        }
    };
    found(node.span.node, path);
    let length = path.len();
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::Seq(items) => {
            for (position, item) in items.iter().enumerate() {
                path.push_str(&format!("[{position}]"));
                find_paths(item, path, wanted);
                path.truncate(length);
            }
        }
        Kind::Map(entries) => {
            for (key, value) in entries {
                if !path.is_empty() {
                    path.push('.');
                }
                path.extend(key.text.chars().take(EXCERPT));
                if let Some(slot) = wanted.get_mut(&key.span.node).filter(|slot| slot.is_empty()) {
                    path.clone_into(slot);
                }
                find_paths(value, path, wanted);
                path.truncate(length);
            }
        }
    }
}
