//! TLS with clients: certificates by server name, client certificates, HTTP/2 or HTTP/1.1 by ALPN.

use http::HeaderValue;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::CertificateDer;
use std::{collections::HashMap, io, sync::Arc};
use tidegate_config::plan::{Certificate, ClientAuth, ServerTls, TlsVersion};
use tokio_rustls::TlsAcceptor;

/// The protocols that are spoken, the better one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What takes clients of `tls`.
///
/// # Errors
/// When a certificate or an authority is no use. The configuration has looked at them; this is for
/// what only TLS itself can say.
pub(super) fn acceptor(tls: &ServerTls) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(ring::default_provider());
    let versions = match tls.min_version {
        TlsVersion::V12 => &[&TLS13, &TLS12][..],
        TlsVersion::V13 => &[&TLS13][..],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?;
    let builder = match &tls.client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => builder.with_client_cert_verifier(verifier(auth, &provider)?),
    };
    let certificates = Arc::new(Certificates::new(&tls.certificates, &provider)?);
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    // Clients come back without a whole handshake.
    config.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(
    auth: &ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> io::Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in auth.authorities.iter() {
        roots.add(authority.clone()).map_err(io::Error::other)?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if auth.optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(io::Error::other)
}

/// The certificates of a listener by the names that they are for.
#[derive(Debug)]
struct Certificates {
    first: Arc<CertifiedKey>,
    /// In lower case; wildcards as `*.example.com`.
    by_name: HashMap<Arc<str>, Arc<CertifiedKey>>,
}

impl Certificates {
    fn new(list: &[Certificate], provider: &CryptoProvider) -> io::Result<Self> {
        let mut first = None;
        let mut by_name = HashMap::new();
        for certificate in list {
            let key = provider
                .key_provider
                .load_private_key(certificate.key.clone_key())
                .map_err(io::Error::other)?;
            let certified = Arc::new(CertifiedKey::new(certificate.chain.to_vec(), key));
            first.get_or_insert_with(|| Arc::clone(&certified));
            for name in &certificate.names {
                // Of two for the same name the one that is written first serves.
                by_name.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(&certified));
            }
        }
        let first = first.ok_or_else(|| io::Error::other("there is no certificate"))?;
        Ok(Self { first, by_name })
    }

    /// The certificate for `name`: its own, else the wildcard's above it (RFC 6125 §6.4.3: for one
    /// label), else the first.
    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        if let Some(exact) = self.by_name.get(name) {
            return exact;
        }
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        wildcard.and_then(|name| self.by_name.get(&*name)).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives the name in lower case.
        Some(Arc::clone(self.find(hello.server_name().unwrap_or(""))))
    }
}

/// A client's certificate as the `Client-Cert` field of RFC 9440 has it.
pub(super) fn client_cert(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    HeaderValue::try_from(format!(":{}:", STANDARD.encode(certificate))).ok()
}
