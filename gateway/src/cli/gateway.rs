//! A running gateway, as commands reach it: through its admin API.

use crate::{admin::only_token, client::Client};
use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;
use std::{fmt, path::PathBuf};

/// The token itself, where no file has it.
const TOKEN: &str = "TIDEGATE_TOKEN";

/// Where the admin API is.
#[derive(Debug, Clone, Args)]
pub(super) struct Gateway {
    /// The gateway's admin address
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEGATE_ADMIN",
        default_value = "http://127.0.0.1:9901"
    )]
    admin: String,
    /// A file with the admin API's bearer token; without it $TIDEGATE_TOKEN is the token, if set
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Why there is no answer to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing can be asked: an address or a token is wrong.
    Misuse(String),
    /// No answer came; it may come later.
    Silence(String),
    /// The gateway will not.
    Refusal {
        /// As what kind of error.
        status: StatusCode,
        /// In its words.
        detail: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Misuse(why) | Trouble::Silence(why) => f.write_str(why),
            Trouble::Refusal { detail, .. } => f.write_str(detail),
        }
    }
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> String {
        trouble.to_string()
    }
}

impl Gateway {
    /// Asks the admin API; the answer's strings have nothing that a terminal would obey.
    ///
    /// # Errors
    /// When no answer came, or it is an error.
    pub(super) async fn ask(&self, method: Method, path: &str) -> Result<Value, Trouble> {
        let base = self.admin.trim_end_matches('/');
        if !base.starts_with("http://") {
            let why = format!("`{base}` is no admin address: write it as http://127.0.0.1:9901");
            return Err(Trouble::Misuse(why));
        }
        let token = self.token()?.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        let answer = Client::new().request(method, &format!("{base}{path}"), &headers).await;
        let answer =
            answer.map_err(|error| Trouble::Silence(format!("no answer from {base}: {error}")))?;
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        tame(&mut body);
        let status = answer.status;
        if status.is_success() {
            return Ok(body);
        }
        let detail = match body["detail"].as_str() {
            Some(detail) => detail.to_owned(),
            None => format!("{base}{path} answered {}", status.as_u16()),
        };
        Err(Trouble::Refusal { status, detail })
    }

    fn token(&self) -> Result<Option<String>, Trouble> {
        let Some(file) = &self.token_file else {
            return Ok(std::env::var(TOKEN).ok().map(|token| token.trim().to_owned()));
        };
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Trouble::Misuse(format!("cannot read {shown}: {error}")))?;
        let token = only_token(&text)
            .map_err(|why| Trouble::Misuse(format!("cannot use {shown}: {why}")))?;
        Ok(Some(token))
    }
}

/// Takes away what a terminal would obey: some texts come from servers and clients.
fn tame(value: &mut Value) {
    match value {
        Value::String(text) => {
            if text.contains(char::is_control) {
                *text = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(tame),
        Value::Object(members) => members.values_mut().for_each(tame),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_in_an_answer_moves_the_cursor() {
        let mut body = json!({ "why": ["it\u{1b}[2J failed\n", 1, null], "ok": "5% → 10%" });
        tame(&mut body);
        assert_eq!(body["why"][0], "it\u{fffd}[2J failed\u{fffd}");
        assert_eq!(body["ok"], "5% → 10%");
    }
}
