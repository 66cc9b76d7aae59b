//! Diagnostics as text, in the style of the Rust compiler:
//!
//! ```text
//! error: unknown upstream `shop-v3`
//!   --> tidegate.yaml:41:37 (routes[0].variants[1].upstream)
//!    |
//! 41 |       - { name: canary, upstream: shop-v3, weight: 10 }
//!    |                                   ^^^^^^^
//!    = help: did you mean `shop-v2`?
//! ```

use crate::diagnostic::{Diagnostic, Place, Severity};
use std::fmt::Write as _;

/// How many diagnostics are written out; a file with more has one cause.
const MAX_SHOWN: usize = 100;

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// All of `diagnostics`, each with a pointer into the text; with ANSI colours if `color`.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let mut out = String::new();
    let mut writer = Writer { out: &mut out, color };
    for diagnostic in diagnostics.iter().take(MAX_SHOWN) {
        writer.diagnostic(diagnostic);
    }
    if diagnostics.len() > MAX_SHOWN {
        let _ = writeln!(out, "and {} more", diagnostics.len() - MAX_SHOWN);
    }
    out
}

struct Writer<'a> {
    out: &'a mut String,
    color: bool,
}

impl Writer<'_> {
    fn diagnostic(&mut self, diagnostic: &Diagnostic) {
        let style = match diagnostic.severity {
            Severity::Error => RED,
            Severity::Warning => YELLOW,
        };
        self.styled(style, diagnostic.severity.as_str());
        self.styled(BOLD, &format!(": {}", diagnostic.message));
        self.out.push('\n');
        let number = |place: &Place| place.line.to_string().len();
        let note = diagnostic.note.as_ref();
        let margin = number(&diagnostic.place).max(note.map_or(0, |(place, _)| number(place)));
        self.place(&diagnostic.place, &diagnostic.path, margin, style, '^', "");
        if let Some((place, text)) = note {
            self.place(place, "", margin, BLUE, '-', text);
        }
        if let Some(help) = &diagnostic.help {
            self.gutter(margin, "=");
            self.styled(BOLD, " help");
            let _ = writeln!(self.out, ": {help}");
        }
        self.out.push('\n');
    }

    fn place(
        &mut self,
        place: &Place,
        path: &str,
        margin: usize,
        style: &str,
        mark: char,
        label: &str,
    ) {
        let _ = write!(self.out, "{:margin$}", "");
        self.styled(BLUE, "-->");
        let _ = write!(self.out, " {place}");
        if !path.is_empty() {
            let _ = write!(self.out, " ({path})");
        }
        self.out.push('\n');
        if place.line == 0 {
            return;
        }
        self.gutter(margin, "|");
        self.out.push('\n');
        self.styled(BLUE, &format!("{:>margin$} |", place.line));
        let _ = writeln!(self.out, " {}", place.excerpt.trim_end());
        self.gutter(margin, "|");
        let indent = " ".repeat(place.excerpt_column as usize);
        let marks = String::from(mark).repeat(place.length as usize);
        self.out.push_str(&indent);
        self.styled(style, &marks);
        if !label.is_empty() {
            self.styled(style, &format!(" {label}"));
        }
        self.out.push('\n');
    }

    fn gutter(&mut self, margin: usize, sign: &str) {
        let text = format!("{:margin$} {sign}", "");
        self.styled(BLUE, &text);
    }

    fn styled(&mut self, style: &str, text: &str) {
        if self.color {
            let _ = write!(self.out, "{style}{text}{RESET}");
        } else {
            self.out.push_str(text);
        }
    }
}
