//! Values as they are shown in examples: short, and without secrets.
//!
//! Scalars are shown, as they tell a rounding error from a wrong currency. Objects and arrays are
//! only summed up: what is in them may be anything, and a person looks at the field, not at the
//! document. Whether a value is secret goes by the name it has or lies beneath, since nothing in
//! the value tells. Names of members are shown, as they are what a report is about, but not those
//! beneath a secret, which may be ids. Rejected: showing a hash of secrets, which gives short ones
//! away.

use crate::json::{Node, Number, Value};
use crate::path::CUT;
use http::HeaderName;

/// The longest text of a value or place, in characters.
pub(crate) const SHOWN_MAX: usize = 120;

/// Stands for a secret value.
pub(crate) const REDACTED: &str = "[redacted]";

/// Stands for the value where there is none.
pub(crate) const ABSENT: &str = "absent";

/// `text`, or as much of it as may be shown.
pub(crate) fn cut(text: &str) -> String {
    cut_at(text, SHOWN_MAX)
}

/// The first `most` characters of `text`, the last of them [`CUT`] if there are more.
pub(crate) fn cut_at(text: &str, most: usize) -> String {
    if text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let end = text.char_indices().nth(most - 1).map_or(0, |(end, _)| end);
    let mut cut = String::with_capacity(end + CUT.len_utf8());
    cut.push_str(&text[..end]);
    cut.push(CUT);
    cut
}

/// A value of a body; `members` counts those of an object.
pub(crate) fn value(node: &Node<'_>, members: impl FnOnce() -> usize) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(Number::Natural(value)) => value.to_string(),
        Value::Number(Number::Negative(value)) => value.to_string(),
        Value::Number(Number::Float(value)) => json_text(value),
        // Not more of a long text than is shown, before it grows by escaping.
        Value::String(text) => cut(&json_text(&cut_at(text, SHOWN_MAX))),
        Value::Object(_) => counted('{', members(), "member", '}'),
        Value::Array(elements) => counted('[', *elements as usize, "element", ']'),
    }
}

/// The values of a header field; bytes that are no ASCII text are escaped.
pub(crate) fn header(name: &HeaderName, values: &[u8]) -> String {
    if is_secret_field(name) {
        return REDACTED.to_owned();
    }
    // What a `location` hands over is in its query.
    let (values, query) = match values.iter().position(|byte| *byte == b'?') {
        Some(end) => (&values[..end], "?[redacted]"),
        None => (values, ""),
    };
    // One character more than is shown, so that the cut can be seen.
    let values = &values[..values.len().min(SHOWN_MAX + 1)];
    cut(&format!("{}{query}", values.escape_ascii()))
}

fn json_text<T: serde::Serialize + ?Sized>(value: &T) -> String {
    // Neither texts nor finite numbers fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn counted(open: char, count: usize, what: &str, close: char) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{open}{count} {what}{plural}{close}")
}

/// Whether the values of the header field `name` are secret.
fn is_secret_field(name: &HeaderName) -> bool {
    name.as_str() == "www-authenticate" || is_secret(name.as_str())
}

/// Whether a member called `name` and what lies beneath it are secret.
pub(crate) fn is_secret(name: &str) -> bool {
    // A name so long is no name, and lowering it would take as much memory again.
    if name.len() > NAME_MAX {
        return true;
    }
    let name = name.to_lowercase().replace('-', "_");
    // The plural, too: a list of tokens is no less secret than one.
    let singular = name.strip_suffix('s').unwrap_or(&name);
    SECRETS.iter().any(|secret| name.contains(secret))
        || SECRET_ENDS.iter().any(|secret| name.ends_with(secret) || singular.ends_with(secret))
}

/// What is in secret names, lowercased and with `_` for `-`: `client_secret_id` and
/// `SecretAccessKey` are among them.
const SECRETS: [&str; 5] = ["password", "passwd", "passphrase", "secret", "credential"];

/// How secret names are or end: `proxy-authorization`, `set-cookie`, `x-api-key`, `privateKey` and
/// `refreshToken` are among them.
const SECRET_ENDS: [&str; 16] = [
    "authorization",
    "cookie",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "session",
    "session_id",
    "sessionid",
    "pwd",
    "jwt",
    "otp",
    "ssn",
];

/// The longest name that is looked at.
const NAME_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Value<'_>) -> String {
        super::value(&Node::of(value), || 3)
    }

    #[test]
    fn scalars_are_json_and_containers_are_summed_up() {
        assert_eq!(shown(Value::Null), "null");
        assert_eq!(shown(Value::Bool(true)), "true");
        assert_eq!(shown(Value::Number(Number::Natural(u64::MAX))), u64::MAX.to_string());
        assert_eq!(shown(Value::Number(Number::Negative(-3))), "-3");
        assert_eq!(shown(Value::Number(Number::Float(0.25))), "0.25");
        assert_eq!(shown(Value::String("a\"\n".into())), r#""a\"\n""#);
        assert_eq!(shown(Value::Object(4)), "{3 members}");
        assert_eq!(shown(Value::Array(1)), "[1 element]");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = shown(Value::String("ö".repeat(1_000).into()));
        assert_eq!(text, format!("\"{}…", "ö".repeat(SHOWN_MAX - 2)));
        assert_eq!(cut(&"ö".repeat(SHOWN_MAX)), "ö".repeat(SHOWN_MAX));
        let control = shown(Value::String("\u{1}".repeat(100).into()));
        assert_eq!(control.chars().count(), SHOWN_MAX);
        assert_eq!(cut_at("abc", 2), "a…");
    }

    #[test]
    fn secret_names() {
        for name in ["password", "Password", "db_passwd", "refreshToken", "X-Api-Key", "APIKEY"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["cookies", "access_tokens", "sessionId", "client-secret", "credentials"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["SecretAccessKey", "private_key", "passphrase", "db_password_hash", "jwt"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["token_type", "name", "", "s", "keys", "tokenizer", "authorized"] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(is_secret(&"n".repeat(5_000)));
    }

    #[test]
    fn secret_fields() {
        use http::header::*;
        let x_api_key = HeaderName::from_static("x-api-key");
        for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE] {
            assert_eq!(header(&name, b"Bearer abc"), REDACTED);
        }
        assert_eq!(header(&x_api_key, b"abc"), REDACTED);
        assert_eq!(header(&CONTENT_TYPE, b"text/\xff\"html"), r#"text/\xff\"html"#);
        assert_eq!(header(&ETAG, &[b'a'; 200]), format!("{}…", "a".repeat(SHOWN_MAX - 1)));
    }
}
