//! How each proxy is told the same thing.

use std::fmt::Write as _;
use std::net::SocketAddr;

use clap::ValueEnum;

/// A proxy under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Proxy {
    Tidegate,
    Envoy,
    Nginx,
}

impl Proxy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Proxy::Tidegate => "Tidegate",
            Proxy::Envoy => "Envoy",
            Proxy::Nginx => "nginx",
        }
    }
}

/// What a proxy is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    /// Requests go to the primary and nowhere else.
    Plain,
    /// Each is copied to a dark upstream that answers.
    Mirror,
    /// Each is copied to a dark upstream that does not.
    Hung,
    /// As `Mirror`, and answers are documents.
    Document,
    /// As `Document`, and the two answers are compared.
    Compared,
}

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Case::Plain => "no mirror",
            Case::Mirror => "mirror",
            Case::Hung => "mirror hangs",
            Case::Document => "mirror, 2 KiB",
            Case::Compared => "compare, 2 KiB",
        }
    }

    /// What is asked for: three bytes or a document.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Case::Plain | Case::Mirror | Case::Hung => "/shop/items/42?page=2",
            Case::Document | Case::Compared => "/document",
        }
    }
}

/// The upstreams' addresses; without a dark one there is no mirror.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upstreams {
    pub(crate) primary: SocketAddr,
    pub(crate) dark: Option<SocketAddr>,
}

pub(crate) fn tidegate(Upstreams { primary, dark }: Upstreams, compare: bool) -> String {
    let mut text = format!(
        "listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
runtime: {{ threads: 1 }}
upstreams:
  - {{ name: v1, endpoints: [\"{primary}\"] }}
  - {{ name: dark, endpoints: [\"{}\"] }}
routes:
  - name: all
    variants: [{{ name: stable, upstream: v1 }}]
",
        dark.unwrap_or(primary)
    );
    if dark.is_some() {
        text += "    mirrors:
      - name: dark
        upstream: dark
        percent: 100
        timeout: 2s
";
    }
    if compare {
        text += "        compare: { headers: [content-type] }\n";
    }
    text
}

/// The copies' timeout is the route's.
pub(crate) fn envoy(Upstreams { primary, dark }: Upstreams, listen: SocketAddr) -> String {
    let (host, port) = (listen.ip(), listen.port());
    let mirror =
        dark.map_or(String::new(), |_| ", request_mirror_policies: [{ cluster: dark }]".to_owned());
    let mut text = format!(
        "static_resources:
  listeners:
  - name: web
    address: {{ socket_address: {{ address: {host}, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          codec_type: HTTP1
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes:
              - match: {{ prefix: / }}
                route: {{ cluster: v1, timeout: 2s{mirror} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
"
    );
    for (name, address) in [("v1", Some(primary)), ("dark", dark)] {
        let Some(address) = address else { continue };
        let (host, port) = (address.ip(), address.port());
        let _ = write!(
            text,
            "  - name: {name}
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{ socket_address: {{ address: {host}, port_value: {port} }} }}
"
        );
    }
    text
}

/// The `http` block. An idle connection is kept for each copy that may be under way.
pub(crate) fn nginx(Upstreams { primary, dark }: Upstreams, listen: SocketAddr) -> String {
    let (mirror, dark) = match dark {
        Some(dark) => ("mirror /dark; mirror_request_body on;", dark),
        None => ("", primary),
    };
    format!(
        "    upstream v1 {{ server {primary}; keepalive 1024; keepalive_requests 1000000000; }}
    upstream dark {{ server {dark}; keepalive 1024; keepalive_requests 1000000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    server {{
        listen {listen} backlog=1024;
        location / {{ {mirror} proxy_pass http://v1; }}
        location = /dark {{
            internal;
            proxy_connect_timeout 1s;
            proxy_read_timeout 2s;
            proxy_pass http://dark$request_uri;
        }}
    }}
"
    )
}

/// 2 KiB of JSON, as the primary writes it.
pub(crate) fn primary_json() -> String {
    let items = items(|id| format!(r#"{{"id":{id},"name":"item number {id}","price":{id}.5}}"#));
    format!(r#"{{"items":[{items}],"page":2}}"#)
}

/// The same, as the dark version writes it: equal as JSON, but not as bytes, which would be too easy.
pub(crate) fn dark_json() -> String {
    let items = items(|id| format!(r#"{{"price":{id}.5,"name":"item number {id}","id":{id}}}"#));
    format!(r#"{{"page":2,"items":[{items}]}}"#)
}

fn items(item: impl Fn(u32) -> String) -> String {
    // 40 of them make 2 KiB.
    (100..140).map(item).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{dark_json, primary_json};
    use serde_json::Value;

    #[test]
    fn the_documents_are_equal_and_of_the_size_that_is_said() -> serde_json::Result<()> {
        let (primary, dark) = (primary_json(), dark_json());
        assert!((2000..2100).contains(&primary.len()), "{} bytes", primary.len());
        assert_ne!(primary, dark);
        let parsed: Value = serde_json::from_str(&primary)?;
        assert_eq!(parsed, serde_json::from_str::<Value>(&dark)?);
        Ok(())
    }
}
