//! Reading a pattern.

use super::{Pattern, STEPS_MAX, Step};
use std::str::FromStr;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct InvalidPattern {
    column: usize,
    problem: Problem,
}

impl InvalidPattern {
    /// Where, in characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("a pattern starts with `$`, the whole body, as in `$.items[*].price`")]
    NoRoot,
    #[error("a name is missing here; write `.name`, `.*` or `['any name']`")]
    NoName,
    #[error("`..` needs a name, as in `$..name`")]
    DescendantNeedsName,
    #[error("all elements of an array are one field; use [*] in place of an index")]
    Index,
    #[error("brackets hold a quoted name or a star; write `['any name']` or `[*]`")]
    Brackets,
    #[error("the quote of this name is not closed; write `['any name']`")]
    OpenQuote,
    #[error("a `]` is missing here")]
    OpenBracket,
    #[error("this is no escape; write `\\\\` for a backslash, `\\'` for a quote, or `\\u00e9`")]
    Escape,
    #[error("`{0}` cannot stand here; write a name that contains it as `['any name']`")]
    Unexpected(char),
    #[error("a pattern has at most {STEPS_MAX} steps; write `$..name` for a name at any depth")]
    TooManySteps,
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        steps(text, STEPS_MAX).map(|steps| Pattern { steps })
    }
}

/// The steps of `text`, no more than `most`.
pub(super) fn steps(text: &str, most: usize) -> Result<Vec<Step>, InvalidPattern> {
    let mut parser = Parser { rest: text, text };
    if !parser.take("$") {
        return Err(parser.wrong(Problem::NoRoot));
    }
    let mut steps = Vec::new();
    while !parser.rest.is_empty() {
        if steps.len() == most {
            return Err(parser.wrong(Problem::TooManySteps));
        }
        steps.push(parser.step()?);
    }
    Ok(steps)
}

struct Parser<'a> {
    text: &'a str,
    /// What of it is still to be read.
    rest: &'a str,
}

impl Parser<'_> {
    fn step(&mut self) -> Result<Step, InvalidPattern> {
        if self.take("..") {
            return match self.rest.chars().next() {
                Some('[') => match self.bracket()? {
                    Step::Name(name) => Ok(Step::Descendant(name)),
                    _ => Err(self.wrong(Problem::DescendantNeedsName)),
                },
                None | Some('*') => Err(self.wrong(Problem::DescendantNeedsName)),
                _ => self.name().map(Step::Descendant),
            };
        }
        if self.take(".*") {
            return Ok(Step::Any);
        }
        if self.take(".") {
            return self.name().map(Step::Name);
        }
        match self.rest.chars().next() {
            Some('[') => self.bracket(),
            Some(other) => Err(self.wrong(Problem::Unexpected(other))),
            None => Err(self.wrong(Problem::NoName)),
        }
    }

    /// A name without quotes.
    fn name(&mut self) -> Result<String, InvalidPattern> {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
        let inner = |c: char| letter(c) || c.is_ascii_digit();
        match self.rest.chars().next() {
            Some(first) if letter(first) => {}
            Some('[' | '.') | None => return Err(self.wrong(Problem::NoName)),
            Some(other) => return Err(self.wrong(Problem::Unexpected(other))),
        }
        let length = self.rest.find(|c| !inner(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// `[*]` or `['name']`.
    fn bracket(&mut self) -> Result<Step, InvalidPattern> {
        self.take("[");
        let step = if self.take("*") {
            Step::Any
        } else if self.take("'") {
            Step::Name(self.quoted('\'')?)
        } else if self.take("\"") {
            Step::Name(self.quoted('"')?)
        } else if self.rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | ':')) {
            return Err(self.wrong(Problem::Index));
        } else {
            return Err(self.wrong(Problem::Brackets));
        };
        if !self.take("]") {
            return Err(self.wrong(Problem::OpenBracket));
        }
        Ok(step)
    }

    /// A name up to the `quote` that closes it.
    fn quoted(&mut self, quote: char) -> Result<String, InvalidPattern> {
        let open = self.wrong(Problem::OpenQuote);
        let mut name = String::new();
        loop {
            let mut characters = self.rest.chars();
            match characters.next() {
                None => return Err(open),
                Some('\\') => {
                    let Some((character, length)) = unescaped(characters.as_str()) else {
                        return Err(self.wrong(Problem::Escape));
                    };
                    name.push(character);
                    self.rest = &self.rest[1 + length..];
                }
                Some(character) => {
                    self.rest = characters.as_str();
                    if character == quote {
                        return Ok(name);
                    }
                    name.push(character);
                }
            }
        }
    }

    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The error for what comes next.
    fn wrong(&self, problem: Problem) -> InvalidPattern {
        let read = self.text.chars().count() - self.rest.chars().count();
        InvalidPattern { column: read + 1, problem }
    }
}

/// The character that an escape means, and how many bytes follow its backslash. As in RFC 9535,
/// but for characters beyond U+FFFF, which are written as they are.
fn unescaped(text: &str) -> Option<(char, usize)> {
    let character = match text.bytes().next()? {
        quoted @ (b'\'' | b'"' | b'\\' | b'/') => char::from(quoted),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let digits = text.get(1..5).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            let code = u32::from_str_radix(digits, 16).ok()?;
            return Some((char::from_u32(code)?, 5));
        }
        _ => return None,
    };
    Some((character, 1))
}
