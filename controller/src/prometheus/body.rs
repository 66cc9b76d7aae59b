//! What an answer of Prometheus' HTTP API says.

use super::SourceError;
use crate::client::brief;
use serde::Deserialize;
use serde_json::Value;

/// The envelope of every answer.
#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

/// One series of a vector.
#[derive(Deserialize)]
struct Series {
    /// Absent for a native histogram.
    #[serde(default)]
    value: Option<Sample>,
}

/// A time and the number of then, which is text because JSON has no NaN.
#[derive(Deserialize)]
struct Sample(#[expect(dead_code, reason = "the time")] f64, String);

/// The number in an answer.
pub(super) fn number(body: &[u8]) -> Result<f64, SourceError> {
    let envelope: Envelope = understand(serde_json::from_slice(body))?;
    if envelope.status != "success" {
        let why = envelope.error.unwrap_or(envelope.status);
        return Err(SourceError::Refused(brief(&why)));
    }
    let data =
        envelope.data.ok_or_else(|| SourceError::Malformed("there is no data".to_owned()))?;
    let Sample(_, text) = sample(data)?;
    let number: f64 = text
        .parse()
        .map_err(|_| SourceError::Malformed(format!("`{}` is not a number", brief(&text))))?;
    if number.is_nan() {
        return Err(SourceError::NoData);
    }
    Ok(number)
}

/// Why Prometheus refuses, if that is what the answer says.
pub(super) fn refusal(body: &[u8]) -> Option<String> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    envelope.error.filter(|_| envelope.status == "error").map(|error| brief(&error))
}

fn sample(data: Data) -> Result<Sample, SourceError> {
    match data.kind.as_str() {
        "scalar" => understand(serde_json::from_value(data.result)),
        "vector" => {
            let mut series: Vec<Series> = understand(serde_json::from_value(data.result))?;
            match (series.pop(), series.len()) {
                (None, _) => Err(SourceError::NoData),
                (Some(Series { value: Some(sample) }), 0) => Ok(sample),
                (Some(Series { value: None }), 0) => Err(SourceError::Type("histogram".to_owned())),
                (Some(_), others) => Err(SourceError::Series(others + 1)),
            }
        }
        other => Err(SourceError::Type(brief(other))),
    }
}

fn understand<T>(parsed: serde_json::Result<T>) -> Result<T, SourceError> {
    parsed.map_err(|error| SourceError::Malformed(brief(&error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(series: &str) -> Result<f64, SourceError> {
        let data = format!(r#"{{"resultType":"vector","result":[{series}]}}"#);
        number(format!(r#"{{"status":"success","data":{data}}}"#).as_bytes())
    }

    fn valued(text: &str) -> String {
        format!(r#"{{"metric":{{}},"value":[1700000000.781,"{text}"]}}"#)
    }

    #[test]
    fn one_number() {
        assert_eq!(vector(&valued("0.25")), Ok(0.25));
        assert_eq!(vector(&valued("-1e-3")), Ok(-0.001));
        let scalar =
            br#"{"status":"success","data":{"resultType":"scalar","result":[1700000000,"7"]}}"#;
        assert_eq!(number(scalar), Ok(7.0));
        let warned = br#"{"status":"success","warnings":["slow"],"infos":["x"],
            "data":{"resultType":"scalar","result":[1.5,"7"]}}"#;
        assert_eq!(number(warned), Ok(7.0));
    }

    #[test]
    fn nothing_to_tell() {
        assert_eq!(vector(""), Err(SourceError::NoData));
        assert_eq!(vector(&valued("NaN")), Err(SourceError::NoData));
    }

    #[test]
    fn not_one_number() {
        let two = format!("{},{}", valued("1"), valued("2"));
        let said = vector(&two).map_err(|error| error.to_string());
        assert_eq!(
            said,
            Err("the query returned 2 series; aggregate it, e.g. with sum()".to_owned())
        );
        // As `histogram_quantile` says "slower than the last bucket".
        assert_eq!(vector(&valued("+Inf")), Ok(f64::INFINITY));
        let histogram = r#"{"metric":{},"histogram":[1,{"count":"4","sum":"2"}]}"#;
        assert_eq!(vector(histogram), Err(SourceError::Type("histogram".to_owned())));
        for kind in ["matrix", "string"] {
            let data = format!(r#"{{"resultType":"{kind}","result":[]}}"#);
            let body = format!(r#"{{"status":"success","data":{data}}}"#);
            assert_eq!(number(body.as_bytes()), Err(SourceError::Type(kind.to_owned())));
        }
    }

    #[test]
    fn refusals() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"parse error:\n x"}"#;
        assert_eq!(number(body), Err(SourceError::Refused("parse error:  x".to_owned())));
        assert_eq!(refusal(body), Some("parse error:  x".to_owned()));
        assert_eq!(refusal(b"<html>"), None);
        assert_eq!(number(br#"{"status":"what"}"#), Err(SourceError::Refused("what".to_owned())));
    }

    #[test]
    fn nonsense() {
        for body in [
            "",
            "<html>",
            "{",
            "[]",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,2]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"x"]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#,
        ] {
            let result = number(body.as_bytes());
            assert!(matches!(result, Err(SourceError::Malformed(_))), "{body}: {result:?}");
        }
    }
}
