//! From the text of a PEM file to certificates and keys, or to what is there instead.

use crate::decode::Invalid;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{PemObject, SectionKind},
};
use std::path::Path;

/// What begins a section.
const BEGIN: &str = "-----BEGIN ";

/// How a label says that its section is encrypted, and how the older form does.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];

/// All certificates of a file, in order; at least one.
pub(super) fn certificates(
    file: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let mut certificates = Vec::new();
    for section in sections(file, bytes)? {
        if let (SectionKind::Certificate, der) = section {
            certificates.push(CertificateDer::from(der));
        }
    }
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    let shown = file.display();
    Err(match labels(bytes).iter().find(|label| label.ends_with("PRIVATE KEY")) {
        Some(_) => Invalid::new(format!("`{shown}` has a private key, and no certificate"))
            .help("name the file with the certificate here"),
        None => missing(file, bytes, "certificate"),
    })
}

/// The private key of a file.
pub(super) fn key(file: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, Invalid> {
    let shown = file.display();
    let text = String::from_utf8_lossy(bytes);
    if ENCRYPTED.iter().any(|mark| text.contains(mark)) {
        return Err(Invalid::new(format!("the private key in `{shown}` is encrypted")).help(
            "decrypt it, as with `openssl pkey`, and protect it by the permissions of its file",
        ));
    }
    let mut keys = sections(file, bytes)?
        .into_iter()
        .filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => Err(Invalid::new(format!("`{shown}` has more than one private key"))
            .help("keep the one that belongs to the certificate")),
        (None, _) => match labels(bytes).iter().find(|label| *label == "CERTIFICATE") {
            Some(_) => {
                Err(Invalid::new(format!("`{shown}` has a certificate, and no private key"))
                    .help("name the file with the private key here"))
            }
            None => Err(missing(file, bytes, "private key")),
        },
    }
}

type Section = (SectionKind, Vec<u8>);

/// The error says nothing of the text: it may be that of a key.
fn sections(file: &Path, bytes: &[u8]) -> Result<Vec<Section>, Invalid> {
    let sections: Result<Vec<Section>, _> = Section::pem_slice_iter(bytes).collect();
    sections.map_err(|_| {
        Invalid::new(format!("`{}` is not valid PEM", file.display()))
            .help("it may be cut off, or damaged by copying")
    })
}

fn missing(file: &Path, bytes: &[u8], what: &str) -> Invalid {
    let shown = file.display();
    let labels = labels(bytes);
    match labels.first() {
        Some(label) => Invalid::new(format!("`{shown}` has no {what}, but `{label}`")),
        // A sequence of more than 255 bytes, as every certificate and most keys are.
        None if bytes.starts_with(&[0x30, 0x82]) => Invalid::new(format!(
            "`{shown}` is DER, not PEM"
        ))
        .help("convert it, as with `openssl x509 -inform der` or `openssl pkey -inform der`"),
        None => Invalid::new(format!("`{shown}` has no {what}"))
            .help(format!("it needs a PEM file, with `-----BEGIN {}-----`", what.to_uppercase())),
    }
}

/// What the sections of a file are called.
fn labels(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let begins = text.lines().filter_map(|line| line.trim().strip_prefix(BEGIN));
    let label = |rest: &str| {
        let visible = |c: &char| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == ' ';
        rest.chars().take_while(visible).take(40).collect()
    };
    begins.map(label).collect()
}
