//! Who may use the admin API, by the token that they hold.

use axum::http::{HeaderMap, header};
use std::{fmt, io, path::Path, sync::Arc};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

/// Short tokens can be guessed.
const MIN_TOKEN: usize = 16;

/// Every request is compared with all of them.
const MAX_HOLDERS: usize = 64;

/// The longest name.
const MAX_NAME: usize = 64;

/// Whose token has no name.
const NAMELESS: &str = "admin";

/// Who acts where no token is asked for.
const LOCAL: &str = "local";

/// Names in the records of decisions that are nobody's.
const RESERVED: [&str; 3] = [LOCAL, "configuration", "controller"];

/// Who asks, as the records of decisions name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor(pub(crate) Arc<str>);

/// The bearer tokens; none: no token is asked for.
#[derive(Clone)]
pub(crate) struct Tokens(Vec<Holder>);

/// A token and who holds it.
#[derive(Clone, PartialEq, Eq)]
struct Holder {
    name: Arc<str>,
    token: String,
}

// Tokens are for nobody's log.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|holder| &holder.name)).finish()
    }
}

impl Tokens {
    /// Reads the tokens from a file: one a line, alone or behind the name of who holds it. Lines
    /// that begin with `#` do not count.
    ///
    /// # Errors
    /// When the file cannot be read, holds no token, or has a line that is none.
    pub(crate) fn read(file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = file else { return Ok(Self(Vec::new())) };
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot read admin.token_file {shown}: {error}"))
        })?;
        let holders = parse(&text).map_err(|why| {
            let what = format!("cannot use admin.token_file {shown}: {why}");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        Ok(Self(holders))
    }

    /// Whether anybody may ask.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who asks; `None`: somebody without a right to.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Option<Actor> {
        if self.0.is_empty() {
            return Some(Actor(LOCAL.into()));
        }
        let given = headers.get(header::AUTHORIZATION)?.as_bytes();
        let (scheme, token) = given.split_at_checked("bearer ".len())?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        // All are compared, and each whole: the time tells nobody how near a guess was.
        let mut found = 0_u32;
        for (number, holder) in (1..).zip(&self.0) {
            found.conditional_assign(&number, token.ct_eq(holder.token.as_bytes()));
        }
        let position = usize::try_from(found).ok()?.checked_sub(1)?;
        self.0.get(position).map(|holder| Actor(Arc::clone(&holder.name)))
    }
}

/// The one token of a file that a client was given: its own, in the syntax of the gateway's.
///
/// # Errors
/// In words, when there is not exactly one.
pub(crate) fn only_token(text: &str) -> Result<String, String> {
    let mut holders = parse(text)?;
    match (holders.pop(), holders.is_empty()) {
        (Some(holder), true) => Ok(holder.token),
        _ => Err("it has several tokens: which one is yours?".to_owned()),
    }
}

fn parse(text: &str) -> Result<Vec<Holder>, String> {
    let mut holders: Vec<Holder> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let holder = holder(line).map_err(|why| format!("line {number}: {why}"))?;
        if holders.iter().any(|other| other.token == holder.token) {
            return Err(format!("line {number}: the token is that of an earlier line"));
        }
        if holders.len() == MAX_HOLDERS {
            return Err(format!("line {number}: there are more than {MAX_HOLDERS} tokens"));
        }
        holders.push(holder);
    }
    if holders.is_empty() {
        return Err("it has no token".to_owned());
    }
    Ok(holders)
}

fn holder(line: &str) -> Result<Holder, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, token) = match words[..] {
        [token] => (NAMELESS, token),
        [name, token] => (name, token),
        _ => return Err("a line is a token, or a name and a token".to_owned()),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(format!(
            "a name has at most {MAX_NAME} letters, digits and `-`, `_`, `.`, `@`"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!("`{name}` is no person's name in the records of decisions"));
    }
    if token.len() < MIN_TOKEN {
        return Err(format!("the token is shorter than {MIN_TOKEN} characters"));
    }
    Ok(Holder { name: name.into(), token: token.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(tokens: &Tokens, value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, header::HeaderValue::from_static(value));
        tokens.admit(&headers).map(|actor| actor.0.to_string())
    }

    #[test]
    fn tokens_are_compared_whole() {
        let tokens = Tokens(parse(" 0123456789abcdef\n").expect("a token"));
        assert_eq!(admitted(&tokens, "Bearer 0123456789abcdef").as_deref(), Some("admin"));
        assert_eq!(admitted(&tokens, "bearer 0123456789abcdef").as_deref(), Some("admin"));
        for wrong in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeff",
            "Basic 0123456789abcdef",
            "Bearer ",
            "",
        ] {
            assert_eq!(admitted(&tokens, wrong), None, "{wrong}");
        }
        assert_eq!(tokens.admit(&HeaderMap::new()), None);
    }

    #[test]
    fn a_token_says_who_asks() {
        let text = "# people\nanna@example.com 0123456789abcdef\r\n\n  bob\tfedcba9876543210  \n";
        let tokens = Tokens(parse(text).expect("tokens"));
        let anna = admitted(&tokens, "Bearer 0123456789abcdef");
        assert_eq!(anna.as_deref(), Some("anna@example.com"));
        assert_eq!(admitted(&tokens, "Bearer fedcba9876543210").as_deref(), Some("bob"));
        assert_eq!(admitted(&tokens, "Bearer bob fedcba9876543210"), None);
        assert_eq!(format!("{tokens:?}"), r#"["anna@example.com", "bob"]"#);
        let nobody = Tokens(Vec::new());
        assert_eq!(nobody.admit(&HeaderMap::new()), Some(Actor("local".into())));
    }

    #[test]
    fn a_bad_line_is_named_and_no_token_shown() {
        let many: String = (0..65).map(|n| format!("token-number-{n:06}\n")).collect();
        for (text, why) in [
            ("", "it has no token"),
            ("# nobody\n", "it has no token"),
            ("too-short", "line 1: the token is shorter than 16 characters"),
            ("a 0123456789abcdef\n\nb short", "line 3: the token is shorter than 16 characters"),
            ("a b 0123456789abcdef", "line 1: a line is a token, or a name and a token"),
            ("controller 0123456789abcdef", "line 1: `controller` is no person's name"),
            ("a/b 0123456789abcdef", "line 1: a name has at most 64 letters"),
            ("0123456789abcdef\nb 0123456789abcdef", "line 2: the token is that of an earlier"),
            (&many, "line 65: there are more than 64 tokens"),
        ] {
            let said = parse(text).err().expect("an error");
            assert!(said.starts_with(why) && !said.contains("0123456789"), "{said}");
        }
    }

    #[test]
    fn a_client_has_one_token() {
        assert_eq!(only_token("anna 0123456789abcdef\n").as_deref(), Ok("0123456789abcdef"));
        assert!(only_token("0123456789abcdef\nfedcba9876543210").is_err());
    }
}
