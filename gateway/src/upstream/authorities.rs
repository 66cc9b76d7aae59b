//! The system's certificate authorities, for pingora, which panics at the start of a process where
//! there are none (an image `from scratch`), and where one of them cannot be read.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use std::{
    fs::File,
    io::{self, Write as _},
    sync::OnceLock,
};

/// A file of authorities for pingora's connectors (`ca_file`); `None` where the system's are fine as
/// they are. It has those of the system that can be read, or else Mozilla's, which came with this
/// program. Every connector of the process needs it, whether it will speak TLS or not.
pub(crate) fn authorities_file() -> Option<String> {
    static BUNDLE: OnceLock<Option<Bundle>> = OnceLock::new();
    BUNDLE.get_or_init(bundle).as_ref().map(|bundle| bundle.path.clone())
}

#[derive(Debug)]
struct Bundle {
    path: String,
    /// The path leads to it as long as it is open.
    _file: File,
}

fn bundle() -> Option<Bundle> {
    let system = rustls_native_certs::load_native_certs();
    let found = system.as_ref().map(Vec::as_slice).unwrap_or_default();
    let readable: Vec<_> = found.iter().filter(|one| is_readable(one)).cloned().collect();
    if system.is_ok() && !readable.is_empty() && readable.len() == found.len() {
        return None;
    }
    let authorities = if readable.is_empty() {
        tracing::info!("the system has no certificate authorities: Mozilla's are used");
        webpki_root_certs::TLS_SERVER_ROOT_CERTS
    } else {
        let left_out = found.len() - readable.len();
        tracing::warn!(left_out, "certificate authorities of the system cannot be read");
        &readable
    };
    let written = write(authorities);
    written.inspect_err(|error| tracing::error!(%error, "cannot keep authorities in a file")).ok()
}

fn is_readable(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

fn write(authorities: &[CertificateDer<'_>]) -> io::Result<Bundle> {
    let mut text = String::new();
    for authority in authorities {
        text.push_str(&pem(authority));
    }
    let (mut file, path) = nameless()?;
    file.write_all(text.as_bytes())?;
    Ok(Bundle { path, _file: file })
}

/// A file that is nowhere but in memory: the file system may be one that cannot be written to.
#[cfg(target_os = "linux")]
fn nameless() -> io::Result<(File, String)> {
    use std::os::fd::AsRawFd as _;
    let file =
        File::from(rustix::fs::memfd_create("authorities", rustix::fs::MemfdFlags::CLOEXEC)?);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Nor does everybody have a /proc.
    if std::fs::metadata(&path).is_err() {
        return temporary();
    }
    Ok((file, path))
}

#[cfg(not(target_os = "linux"))]
use temporary as nameless;

fn temporary() -> io::Result<(File, String)> {
    let (file, path) = tempfile::NamedTempFile::new()?.keep()?;
    Ok((file, path.to_string_lossy().into_owned()))
}

fn pem(certificate: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (i, letter) in text.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_core::connectors::{ConnectorOptions, TransportConnector};

    /// pingora panics if it cannot read them.
    #[test]
    fn pingora_takes_what_is_written() {
        for authorities in [webpki_root_certs::TLS_SERVER_ROOT_CERTS, &[]] {
            let bundle = write(authorities).expect("a file");
            let mut options = ConnectorOptions::new(0);
            options.ca_file = Some(bundle.path.clone());
            let _ = TransportConnector::new(Some(options));
        }
    }
}
