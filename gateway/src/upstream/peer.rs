//! How an upstream's endpoints are spoken to, in pingora's terms.
//!
//! Verification of certificates is never off: pingora takes an empty server name for "do not
//! verify", so there is none here. And pools never share a connection: what pingora tells
//! connections apart by leaves out the authorities and the protocol, so the group's key has them.

use pingora_core::{
    protocols::l4::ext::TcpKeepalive,
    upstreams::peer::HttpPeer,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidegate_config::plan::{Certificate, ClientTls, Protocol, Upstream};
use tidegate_policies::{Purpose, Salt};

/// Requests at once on an HTTP/2 connection: what servers allow by default.
pub(super) const H2_STREAMS: usize = 100;

/// A connection that does not answer a ping of this interval is dead.
const H2_PING: Duration = Duration::from_secs(10);

/// What an endpoint may send before it is read; pingora's own default is 8 MiB.
const H2_WINDOW: u32 = 256 * 1024;

/// The same for HTTP/1.1, whose streams may rest: a machine that vanished is noticed in two minutes.
const TCP_KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(15),
    count: 4,
    // The system's.
    #[cfg(target_os = "linux")]
    user_timeout: Duration::ZERO,
};

/// What the peers of an upstream have in common.
#[derive(Debug)]
pub(super) struct Peers(HttpPeer);

impl Peers {
    pub(super) fn new(upstream: &Upstream) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut peer = HttpPeer::new(nowhere, upstream.tls.is_some(), String::new());
        peer.group_key = group_key(upstream);
        let timeouts = &upstream.timeouts;
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.read_timeout = Some(timeouts.response.max(timeouts.idle));
        peer.options.write_timeout = Some(timeouts.idle);
        peer.options.idle_timeout = Some(timeouts.idle);
        peer.options.tcp_keepalive = Some(TCP_KEEPALIVE);
        match upstream.protocol {
            Protocol::Http1 => peer.options.set_http_version(1, 1),
            Protocol::Http2 => {
                peer.options.set_http_version(2, 2);
                peer.options.max_h2_streams = H2_STREAMS;
                peer.options.h2_ping_interval = Some(H2_PING);
                peer.options.h2_stream_window_size = Some(H2_WINDOW);
                peer.options.h2_connection_window_size = Some(4 * H2_WINDOW);
            }
        }
        if let Some(tls) = &upstream.tls {
            encrypt(&mut peer, tls, &upstream.name);
        }
        Self(peer)
    }

    /// The peer at `address`.
    pub(super) fn at(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = self.0.clone();
        peer._address = address.into();
        if peer.is_tls() && peer.sni.is_empty() {
            // A certificate for the address, then, or none is good enough.
            peer.sni = address.ip().to_string();
        }
        peer
    }
}

fn encrypt(peer: &mut HttpPeer, tls: &ClientTls, upstream: &str) {
    peer.sni = tls.sni.to_string();
    if let Some(authorities) = &tls.authorities {
        // An empty list is one that pingora makes no connection with.
        let readable = authorities.iter().filter_map(|one| certificate(one, upstream));
        peer.options.ca = Some(readable.collect());
    }
    if let Some(Certificate { chain, key, .. }) = &tls.certificate {
        let readable: Option<Vec<_>> =
            chain.iter().map(|one| certificate(one, upstream).map(|_| one.to_vec())).collect();
        if let Some(chain) = readable.filter(|chain| !chain.is_empty()) {
            let key = CertKey::new(chain, key.secret_der().to_vec());
            peer.client_cert_key = Some(Arc::new(key));
        }
    }
}

/// A certificate as pingora wants it. The configuration checked it; but what pingora cannot read, it
/// panics at.
fn certificate(der: &[u8], upstream: &str) -> Option<WrappedX509> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(_) => Some(WrappedX509::new(der.to_vec(), parse_x509)),
        Err(error) => {
            tracing::error!(%upstream, %error, "a certificate cannot be read, and is left out");
            None
        }
    }
}

fn group_key(upstream: &Upstream) -> u64 {
    let mut text = vec![b'0' + upstream.protocol as u8];
    let mut add = |part: &[u8]| {
        text.extend((part.len() as u64).to_le_bytes());
        text.extend(part);
    };
    if let Some(tls) = &upstream.tls {
        add(tls.sni.as_bytes());
        let authorities = tls.authorities.iter().flat_map(|authorities| authorities.iter());
        let mut count = 0_u64;
        for authority in authorities {
            add(authority);
            count += 1;
        }
        add(&count.to_le_bytes());
        for one in tls.certificate.iter().flat_map(|certificate| certificate.chain.iter()) {
            add(one);
        }
    }
    Salt::new(&upstream.name, Purpose::Endpoint).point(&text).0
}
