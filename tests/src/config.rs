//! The text of a configuration.

use crate::Pair;
use std::{fmt::Write, net::SocketAddr};

/// A configuration with a listener `web` and an admin address, both on ports that the system
/// chooses. Texts are YAML as a user would write it, so the tests read like the documentation.
#[derive(Debug, Clone)]
pub struct Config {
    listeners: String,
    top: String,
    upstreams: String,
    routes: String,
    rollouts: String,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// Listener and admin address, nothing else.
    pub fn new() -> Self {
        Self {
            listeners: "  - { name: web, address: 127.0.0.1:0 }\n".to_owned(),
            top: "admin: { address: 127.0.0.1:0 }\n".to_owned(),
            upstreams: String::new(),
            routes: String::new(),
            rollouts: String::new(),
        }
    }

    /// One route `shop` for everything, with one variant `stable` on `address`.
    pub fn single(address: SocketAddr) -> Self {
        Self::new().upstream("v1", address).route("shop", "/", "[{ name: stable, upstream: v1 }]")
    }

    /// One route `shop` for everything: `stable` on `v1` with `weight_1`, `canary` on `v2` with
    /// `weight_2`. Both are listed as given, so `"10%"` is as good as `"10"`.
    pub fn split(v1: SocketAddr, weight_1: &str, v2: SocketAddr, weight_2: &str) -> Self {
        let variants = format!(
            "[{{ name: stable, upstream: v1, weight: {weight_1} }}, \
              {{ name: canary, upstream: v2, weight: {weight_2} }}]"
        );
        Self::new().upstream("v1", v1).upstream("v2", v2).route("shop", "/", &variants)
    }

    /// [`Self::single`] with a mirror `dark` on `dark`; `keys` go into its flow mapping.
    pub fn mirrored(address: SocketAddr, dark: SocketAddr, keys: &str) -> Self {
        Self::single(address)
            .dark("dark", dark)
            .also(&format!("mirrors: [{{ name: dark, upstream: dark, {keys} }}]"))
    }

    /// Adds a listener on a port that the system chooses; `keys` go into its flow mapping after name
    /// and address.
    #[must_use]
    pub fn listener(mut self, name: &str, keys: &str) -> Self {
        _ = writeln!(self.listeners, "  - {{ name: {name}, address: 127.0.0.1:0, {keys} }}");
        self
    }

    /// Adds a listener `h2c` for HTTP/2 without TLS; `keys` as above.
    #[must_use]
    pub fn h2c(self, keys: &str) -> Self {
        self.listener("h2c", &format!("protocol: h2c, {keys}"))
    }

    /// Adds a listener `tls`; `keys` go into the flow mapping of its `tls`, before anything else
    /// there its `certificates`.
    #[must_use]
    pub fn tls(self, certificates: &[&Pair], keys: &str) -> Self {
        let certificates: Vec<_> = certificates.iter().map(|pair| pair.yaml()).collect();
        let tls = format!("tls: {{ certificates: [{}], {keys} }}", certificates.join(", "));
        self.listener("tls", &tls)
    }

    /// Adds top-level keys.
    #[must_use]
    pub fn top(mut self, yaml: &str) -> Self {
        self.top.push_str(yaml);
        self.top.push('\n');
        self
    }

    /// Adds an upstream with one endpoint.
    #[must_use]
    pub fn upstream(self, name: &str, address: SocketAddr) -> Self {
        self.upstream_with(name, &format!("endpoints: [\"{address}\"]"))
    }

    /// Adds an upstream for a mirror, with patience: mirrors yield to all other work, and on a busy
    /// machine a connection that is there at once may be noticed a second later.
    #[must_use]
    pub fn dark(self, name: &str, address: SocketAddr) -> Self {
        let keys = format!("endpoints: [\"{address}\"], timeouts: {{ connect: 10s }}");
        self.upstream_with(name, &keys)
    }

    /// Adds an upstream; `keys` go into its flow mapping after the name.
    #[must_use]
    pub fn upstream_with(mut self, name: &str, keys: &str) -> Self {
        _ = writeln!(self.upstreams, "  - {{ name: {name}, {keys} }}");
        self
    }

    /// Adds a route for a path prefix; `variants` is a flow sequence.
    #[must_use]
    pub fn route(self, name: &str, prefix: &str, variants: &str) -> Self {
        self.route_block(&format!(
            "- name: {name}\n  match: {{ path: {{ prefix: {prefix} }} }}\n  variants: {variants}"
        ))
    }

    /// Adds routes as a block sequence that starts in the first column.
    #[must_use]
    pub fn route_block(mut self, yaml: &str) -> Self {
        for line in yaml.lines() {
            _ = writeln!(self.routes, "  {line}");
        }
        self
    }

    /// Adds keys to the route written last; one key a line, starting in the first column.
    #[must_use]
    pub fn also(mut self, yaml: &str) -> Self {
        for line in yaml.lines() {
            _ = writeln!(self.routes, "    {line}");
        }
        self
    }

    /// Adds a rollout `v2` of `canary` on the route `shop`; `keys` are lines of a block mapping that
    /// start in the first column.
    #[must_use]
    pub fn rollout(mut self, revision: &str, keys: &str) -> Self {
        let head = "- name: v2\n  route: shop\n  baseline: stable\n  candidate: canary";
        for line in head.lines() {
            _ = writeln!(self.rollouts, "  {line}");
        }
        _ = writeln!(self.rollouts, "    revision: \"{revision}\"");
        for line in keys.lines() {
            _ = writeln!(self.rollouts, "    {line}");
        }
        self
    }

    /// The whole text.
    pub fn yaml(&self) -> String {
        let mut text = format!("listeners:\n{}{}", self.listeners, self.top);
        if !self.upstreams.is_empty() {
            _ = write!(text, "upstreams:\n{}", self.upstreams);
        }
        if !self.routes.is_empty() {
            _ = write!(text, "routes:\n{}", self.routes);
        }
        if !self.rollouts.is_empty() {
            _ = write!(text, "rollouts:\n{}", self.rollouts);
        }
        text
    }
}
