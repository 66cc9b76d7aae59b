//! A bare pingora proxy, the yardstick of `proxy_cost`: what a user of pingora would write to send
//! one request in ten to a second upstream.
//!
//! usage: `bare_proxy LISTEN STABLE CANARY` (socket addresses)
//!
//! To be fair to it: the same pingora, allocator, build profile, number of threads and pool size as
//! the gateway's; addresses are parsed once, so no name is resolved on the way of a request. It
//! keeps all that `http_proxy_service` gives by default (that includes pingora's compression
//! module, which is off but present). It has no host or path to match, no key to hash, no limits,
//! no header hygiene, no metrics and no reload.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct BareProxy {
    stable: SocketAddr,
    canary: SocketAddr,
}

#[async_trait]
impl ProxyHttp for BareProxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let address = if rand::random_range(0..10) == 0 { self.canary } else { self.stable };
        Ok(Box::new(HttpPeer::new(address, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut address = |name| -> anyhow::Result<SocketAddr> {
        let text = arguments.next().with_context(|| format!("the {name} address is missing"))?;
        text.parse().with_context(|| format!("{name} address {text}"))
    };
    let listen = address("listen")?;
    let proxy = BareProxy { stable: address("stable")?, canary: address("canary")? };

    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let conf: &Arc<ServerConf> = &server.configuration;
    let mut service = http_proxy_service(conf, proxy);
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run_forever()
}
