//! The corpus of requests, `http1.txt`, which explains itself.

use anyhow::{Context, Result, bail};

/// The bytes of a case, and what becomes of them.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// What is answered: `METHOD target` of a request that the upstream sees, or the status of an
    /// answer by the gateway.
    pub(crate) answered: Vec<String>,
    /// What comes after these.
    pub(crate) end: End,
    pub(crate) bytes: Vec<u8>,
}

/// What the connection does after its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It takes another request.
    Open,
    /// It is closed.
    Close,
    /// A refusal, and it is closed.
    Refused,
}

/// All cases.
///
/// # Errors
/// When the text is not as it says.
pub(crate) fn cases() -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("http1.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix('[') {
            let (name, fate) = rest.split_once("] ").with_context(|| line.to_owned())?;
            cases.push(case(name, fate));
        } else if let Some(case) = cases.last_mut() {
            unescape(line, &mut case.bytes).with_context(|| case.name.clone())?;
        }
    }
    Ok(cases)
}

fn case(name: &str, fate: &str) -> Case {
    let mut answered: Vec<String> = fate.split(", ").map(str::to_owned).collect();
    let end = match answered.last().map(String::as_str) {
        Some("refused") => End::Refused,
        Some("close") => End::Close,
        _ => End::Open,
    };
    if end != End::Open {
        answered.pop();
    }
    Case { name: name.to_owned(), answered, end, bytes: Vec::new() }
}

fn unescape(text: &str, bytes: &mut Vec<u8>) -> Result<()> {
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let kind = escape.chars().next().context("a backslash at the end")?;
        rest = &escape[kind.len_utf8()..];
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            's' => bytes.push(b' '),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let digits = rest.get(..2).context("two digits behind \\x")?;
                bytes.push(u8::from_str_radix(digits, 16)?);
                rest = &rest[2..];
            }
            '{' => {
                let (inner, after) = rest.split_once('}').context("no `}`")?;
                let (times, what) = inner.split_once(' ').context("no blank in `{}`")?;
                let mut one = Vec::new();
                unescape(what, &mut one)?;
                bytes.extend(one.repeat(times.parse()?));
                rest = after;
            }
            other => bail!("no escape: \\{other}"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(())
}
