//! One call.

use crate::{
    client::{self, Address},
    journal::Delivery,
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::{fmt::Write as _, io::Read as _, path::Path, time::Duration};
use tidegate_judge::Time;

/// Bytes of a secret; files that are larger are something else.
const MAX_SECRET: u64 = 64 << 10;

/// Posts the delivery, signed if it has a secret. It arrived if the answer's status is 2xx; the
/// rest of the answer is not read.
///
/// # Errors
/// Why it did not arrive, in words.
pub(super) fn post(delivery: &Delivery, timeout: Duration, now: Time) -> Result<(), String> {
    let timestamp = (now.0 / 1000).to_string();
    let address = Address::of(&delivery.url);
    let mut request = client::agent(timeout)
        .post(&address.url)
        .header("content-type", "application/json")
        .header("x-tidegate-event", &delivery.event)
        .header("x-tidegate-delivery", delivery.id.to_string())
        .header("x-tidegate-timestamp", &timestamp);
    if let Some(file) = &delivery.secret_file {
        // Never sent unsigned: the other side would have to refuse it.
        let signature = sign(&read_secret(file)?, &timestamp, &delivery.body)?;
        request = request.header("x-tidegate-signature", format!("sha256={signature}"));
    }
    if let Some(authorization) = address.authorization {
        request = request.header("authorization", authorization);
    }
    let response = request.send(&delivery.body).map_err(|error| client::explain(&error))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("the answer's status is {}", status.as_u16())),
    }
}

/// Read at each call, so that a secret can be changed while the gateway runs.
fn read_secret(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |why: &str| format!("the secret {}: {why}", file.display());
    let mut secret = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(MAX_SECRET + 1).read_to_end(&mut secret))
        .map_err(|error| failed(&error.to_string()))?;
    if secret.len() as u64 > MAX_SECRET {
        return Err(failed("it is larger than 64 KiB"));
    }
    match secret.trim_ascii() {
        [] => Err(failed("it is empty")),
        trimmed => Ok(trimmed.to_vec()),
    }
}

/// The time is signed too, so that an old delivery cannot be sent again as a new one.
fn sign(secret: &[u8], timestamp: &str, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| error.to_string())?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(hex, "{byte:02x}").map_err(|error| error.to_string())?;
    }
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1700000000.{"id":1}' | openssl dgst -sha256 -hmac secret`
    #[test]
    fn openssl_agrees() {
        let signature = sign(b"secret", "1700000000", r#"{"id":1}"#);
        assert_eq!(
            signature,
            Ok("3dd1b9aef568d75f6790a84bd2e5dfa1f44409eef3cbdbd3f10b837376100c11".to_owned())
        );
    }
}
