//! Numbers from a Prometheus server.

mod body;
mod pollers;

pub use pollers::Pollers;

use crate::client::{self, Address};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;
use tidegate_judge::Answer;

/// Bytes of an answer. A query with one number as its result is answered with some hundreds.
const MAX_BODY: u64 = 1 << 20;

/// A query that has one number as its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The server's base URL, to which `/api/v1/query` is appended. It may have a path and a query
    /// of its own, and `user:password@` for basic authentication.
    pub url: String,
    /// PromQL.
    pub query: String,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing matched, or there was nothing to divide by: there is no number yet.
    #[error("the query has no result yet")]
    NoData,
    /// The server cannot be reached, or does not speak HTTP.
    #[error("prometheus cannot be reached: {0}")]
    Unreachable(String),
    /// It takes too long.
    #[error("prometheus did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Something in its place answers.
    #[error("prometheus answered with HTTP status {0}")]
    Status(u16),
    /// It refuses the query; what it says.
    #[error("prometheus says: {0}")]
    Refused(String),
    /// The result is not one number.
    #[error("the query returned {0} series; aggregate it, e.g. with sum()")]
    Series(usize),
    /// The result is of a type that has no single number.
    #[error("the query returned a {0}; it has to be a scalar, or a vector of one number")]
    Type(String),
    /// The answer cannot be understood.
    #[error("prometheus answered with something else: {0}")]
    Malformed(String),
    /// The answer is larger than 1 MiB.
    #[error("the answer is larger than 1 MiB; aggregate the query, e.g. with sum()")]
    TooLarge,
}

impl Query {
    /// Asks the server, and waits for the answer.
    ///
    /// # Errors
    /// When there is no number, for whatever reason.
    pub fn ask(&self) -> Result<f64, SourceError> {
        let address = Address::of(&self.url);
        let failed = |error: &ureq::Error| match error {
            ureq::Error::BodyExceedsLimit(_) => SourceError::TooLarge,
            error if client::is_timeout(error) => SourceError::Timeout(self.timeout),
            error => SourceError::Unreachable(client::explain(error)),
        };
        let mut request = client::agent(self.timeout).get(endpoint(&address.url, &self.query));
        if let Some(authorization) = address.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(|error| failed(&error))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_BODY).read_to_vec();
        if !status.is_success() {
            // The reason is in the body, if it is from Prometheus.
            let refused = body.ok().and_then(|body| body::refusal(&body));
            return Err(refused.map_or(SourceError::Status(status.as_u16()), SourceError::Refused));
        }
        body::number(&body.map_err(|error| failed(&error))?)
    }
}

/// What a gate makes of a result.
fn answer(result: Result<f64, SourceError>) -> Answer {
    match result {
        Ok(number) => Answer::number(number),
        Err(SourceError::NoData) => Answer::NoData,
        Err(error) => Answer::Broken(error.to_string()),
    }
}

/// The URL that is asked.
fn endpoint(base: &str, query: &str) -> String {
    let (address, own) = match base.split_once('?') {
        Some((address, own)) => (address, format!("{own}&")),
        None => (base, String::new()),
    };
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
    format!("{}/api/v1/query?{own}query={query}", address.trim_end_matches('/'))
}
