//! Where things are: addresses, endpoints, networks, hosts, parsed to types that cannot be wrong.

use crate::{
    decode::{Invalid, Scalar},
    plan::Endpoint,
    text::parsed,
};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};
use tidegate_policies::HostPattern;

parsed! {
    /// An IP address and port to listen on.
    Address(SocketAddr) "an address such as `127.0.0.1:8080`" { "type": "string" } address;
    /// `host:port` of a server.
    Server(Endpoint) "an endpoint such as `127.0.0.1:9001`" { "type": "string" } endpoint;
    /// A network, or one address.
    Network(IpNet) "a network such as `10.0.0.0/8`" { "type": "string" } network;
    /// A host or wildcard.
    Host(HostPattern) "a host such as `shop.example.com`" { "type": "string" } host;
    /// The name that a server is asked for and verified by, in lower case, or its address.
    ServerName(String) "a server name such as `shop.internal`"
        { "type": "string", "minLength": 1 } server_name;
    /// The address of a DNS server.
    Resolver(SocketAddr) "an address such as `127.0.0.1:53`" { "type": "string" } resolver;
    /// What a request says in `host`.
    HostField(String) "a host such as `shop.internal`" { "type": "string", "minLength": 1 } host_field;
}

fn address(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| {
        let invalid = Invalid::new(format!("`{text}` is not an IP address and port"));
        match text.strip_prefix("localhost:").or(text.strip_prefix(':')) {
            Some(port) => invalid.help(format!("did you mean `127.0.0.1:{port}`?")),
            None => invalid.help("write it as `127.0.0.1:8080` or `[::1]:8080`"),
        }
    })
}

fn resolver(text: &str) -> Result<SocketAddr, Invalid> {
    let address: SocketAddr = text.parse().map_err(|_| {
        let invalid = Invalid::new(format!("`{text}` is not an IP address and port"));
        match text.parse::<IpAddr>() {
            Ok(ip) => invalid.help(format!("did you mean `{}`?", SocketAddr::new(ip, 53))),
            Err(_) => invalid.help("write it as `10.0.0.2:53` or `[fd00::2]:53`"),
        }
    })?;
    match address.port() {
        0 => Err(Invalid::new(format!("the DNS server `{text}` needs a port from 1 to 65535"))),
        _ => Ok(address),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, Invalid> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(Invalid::new(format!("an endpoint has no scheme (`{scheme}://`)"))
            .help(format!("did you mean `{}`?", rest.trim_end_matches('/'))));
    }
    let no_port = || {
        Invalid::new(format!("the endpoint `{text}` has no port"))
            .help(format!("write it as `{}:80`", bracketed(text)))
    };
    if text.parse::<IpAddr>().is_ok() {
        return Err(no_port());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return nonzero_port(text, address.port()).map(|_| Endpoint::Address(address));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
    let parsed = port.parse().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()));
    let port = nonzero_port(text, parsed.unwrap_or(0))?;
    if !is_host_name(host) {
        return Err(Invalid::new(format!("`{host}` is not a host name or an IP address")));
    }
    Ok(Endpoint::Name(host.to_ascii_lowercase().into(), port))
}

fn nonzero_port(text: &str, port: u16) -> Result<u16, Invalid> {
    match port {
        0 => Err(Invalid::new(format!("the endpoint `{text}` needs a port from 1 to 65535"))),
        port => Ok(port),
    }
}

fn bracketed(text: &str) -> String {
    if text.contains(':') { format!("[{text}]") } else { text.to_owned() }
}

/// Letters, digits, `-` and `_` (which names in container networks have) in labels; not something
/// that looks like a mistyped IPv4 address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && host.split('.').all(label) && (last.bytes().any(|b| !b.is_ascii_digit()))
}

fn network(text: &str) -> Result<IpNet, Invalid> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet = text.parse().map_err(|_| {
        Invalid::new(format!("`{text}` is not a network")).help("write it as `10.0.0.0/8`")
    })?;
    if net != net.trunc() {
        return Err(Invalid::new(format!("`{text}` has bits set beyond its prefix"))
            .help(format!("did you mean `{}` or the one address `{}`?", net.trunc(), net.addr())));
    }
    Ok(net)
}

fn host(text: &str) -> Result<HostPattern, Invalid> {
    HostPattern::from_str(text).map_err(|error| Invalid::new(error.to_string()))
}

fn server_name(text: &str) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new("a server name may not be empty")
            .help("without a name no certificate could be verified"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    match rustls_pki_types::ServerName::try_from(name) {
        Ok(_) => Ok(name.to_ascii_lowercase()),
        Err(_) => Err(Invalid::new(format!("`{text}` is not a server name"))
            .help("write a host name such as `shop.internal`, or an IP address, without a port")),
    }
}

fn host_field(text: &str) -> Result<String, Invalid> {
    match http::uri::Authority::from_str(text) {
        Ok(host) if !host.host().is_empty() && !text.contains('@') => Ok(text.to_owned()),
        _ => Err(Invalid::new(format!("`{text}` is not a host"))
            .help("write it as `shop.internal` or `shop.internal:8080`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let address = |text: &str| Endpoint::Address(text.parse().expect("an address"));
        assert_eq!(endpoint("127.0.0.1:80"), Ok(address("127.0.0.1:80")));
        assert_eq!(endpoint("[::1]:80"), Ok(address("[::1]:80")));
        assert_eq!(endpoint("Shop.internal:80"), Ok(Endpoint::Name("shop.internal".into(), 80)));
        let wrong = [
            "",
            "shop",
            "shop:",
            "shop:0",
            "shop:65536",
            "shop:+80",
            "127.0.0.1",
            "::1",
            ":80",
            "127.0.0.1:0",
            "http://shop:80",
            "256.0.0.1:80",
            "a b:80",
            "a..b:80",
        ];
        for text in wrong {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(network("10.1.2.3").map(|net| net.to_string()), Ok("10.1.2.3/32".to_owned()));
        assert!(network("10.0.0.1/8").is_err());
        assert!(network("::1/129").is_err());
    }
}
