//! What is known of certificates without asking anybody: that they are certificates, whose they
//! are, whether a key belongs to them, and whether it is their time.

use crate::decode::Invalid;
use rustls::{
    CertificateError, Error, InconsistentKeys, RootCertStore, crypto::ring::default_provider,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::{path::Path, sync::Arc, time::UNIX_EPOCH};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, time::ASN1Time,
};

/// Checks a chain, the end-entity certificate first, and says the DNS names that it is for.
pub(super) fn chain(
    file: &Path,
    chain: &[CertificateDer<'static>],
) -> Result<Vec<Arc<str>>, Invalid> {
    let mut names = Vec::new();
    for (position, certificate) in chain.iter().enumerate() {
        let parsed = parse(file, position, certificate)?;
        if position > 0 {
            continue;
        }
        let alternatives = parsed.subject_alternative_name().map_err(|_| {
            let shown = file.display();
            Invalid::new(format!("the names of the certificate in `{shown}` cannot be read"))
        })?;
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            if let GeneralName::DNSName(name) = name {
                names.push(name.trim_end_matches('.').to_ascii_lowercase().into());
            }
        }
    }
    Ok(names)
}

/// Checks that each of these can vouch for others.
pub(super) fn authorities(file: &Path, chain: &[CertificateDer<'static>]) -> Result<(), Invalid> {
    let mut store = RootCertStore::empty();
    for (position, certificate) in chain.iter().enumerate() {
        parse(file, position, certificate)?;
        store.add(certificate.clone()).map_err(|error| {
            let which = which(file, position);
            Invalid::new(format!("{which} cannot be an authority: {}", reason(&error)))
        })?;
    }
    Ok(())
}

/// Checks that the key is the one of the first certificate.
pub(super) fn belongs(
    (file, chain): (&Path, &[CertificateDer<'static>]),
    (key_file, key): (&Path, &PrivateKeyDer<'static>),
) -> Result<(), Invalid> {
    let shown = key_file.display();
    let loaded = default_provider().key_provider.load_private_key(key.clone_key());
    let loaded = loaded.map_err(|_| {
        Invalid::new(format!("the private key in `{shown}` cannot be used"))
            .help("use a key of ECDSA (P-256 or P-384), RSA (2048 to 8192 bits) or Ed25519")
    })?;
    let matches = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&loaded)).keys_match()
    };
    let Some(first) = chain.first() else { return Ok(()) };
    match matches(first) {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(Error::InconsistentKeys(_)) => {
            let message = format!(
                "the key in `{shown}` does not belong to the certificate in `{}`",
                file.display()
            );
            let later = chain.iter().skip(1).any(|certificate| matches(certificate).is_ok());
            Err(Invalid::new(message).help(match later {
                true => "it belongs to a later certificate of that file: put that one first",
                false => "a certificate that was renewed may have got a new key",
            }))
        }
        Err(error) => {
            let which = which(file, 0);
            Err(Invalid::new(format!("{which} cannot be used: {}", reason(&error))))
        }
    }
}

/// Says that a certificate of a chain is over, or has not begun.
pub(super) fn any_over(file: &Path, chain: &[CertificateDer<'static>]) -> Option<String> {
    let over = |(position, certificate): (usize, &CertificateDer<'static>)| {
        Some(format!("{} {}", which(file, position), over(certificate)?))
    };
    chain.iter().enumerate().find_map(over)
}

/// Says that all authorities are over: a system's list has some of the past.
pub(super) fn all_over(file: &Path, chain: &[CertificateDer<'static>]) -> Option<String> {
    let over: Option<Vec<String>> = chain.iter().map(over).collect();
    Some(format!("{} {}", which(file, 0), over?.first()?))
}

fn parse<'a>(
    file: &Path,
    position: usize,
    certificate: &'a CertificateDer<'static>,
) -> Result<X509Certificate<'a>, Invalid> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => {
            let which = which(file, position);
            Err(Invalid::new(format!("{which} is damaged: it is no X.509 certificate")))
        }
    }
}

/// "the certificate in `x`"
fn which(file: &Path, position: usize) -> String {
    let number = match position {
        0 => "the".to_owned(),
        _ => format!("number {} of the", position + 1),
    };
    let plural = if position == 0 { "" } else { "s" };
    format!("{number} certificate{plural} in `{}`", file.display())
}

fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string(),
        Error::InvalidCertificate(CertificateError::BadEncoding) => {
            "its encoding is bad".to_owned()
        }
        other => other.to_string(),
    }
}

/// "expired on 2024-12-31", where that is so.
fn over(certificate: &CertificateDer<'static>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let now = UNIX_EPOCH.elapsed().ok()?.as_secs().try_into().ok()?;
    let day = |time: ASN1Time| time.to_datetime().date().to_string();
    let (begin, end) = (parsed.validity.not_before, parsed.validity.not_after);
    if end.timestamp() < now {
        return Some(format!("expired on {}", day(end)));
    }
    (begin.timestamp() > now).then(|| format!("is not valid before {}", day(begin)))
}
