//! Listeners.

use super::Names;
use crate::{
    credentials::Credentials,
    plan::{
        ClientAuth, ClientTimeouts, Listener as Plan, ListenerLimits, ListenerProtocol, ServerTls,
    },
    problem::{Problems, Span},
    schema::{Document, Listener, ServerTls as Tls},
};
use std::{collections::HashMap, net::SocketAddr, sync::Arc};

/// Compiles the listeners. Those whose certificates are bad are left out.
pub(super) fn compile(
    document: &Document,
    credentials: &mut Credentials<'_>,
    problems: &mut Problems,
) -> Vec<Plan> {
    let list = &document.listeners;
    if list.is_empty() && list.complete {
        problems
            .error(list.span, "there are no listeners")
            .help("add one, such as `{ name: web, address: 127.0.0.1:8080 }`".to_owned());
    }
    let mut names = Names::new("listener");
    let mut addresses: HashMap<SocketAddr, Span> = HashMap::new();
    let mut compiled = Vec::with_capacity(list.len());
    for (position, listener) in list.iter().enumerate() {
        names.add(&listener.name, position, problems);
        unique(listener.address.0, listener.address.span, &mut addresses, problems);
        let Some(protocol) = protocol(listener, credentials, problems) else { continue };
        compiled.push(Plan {
            name: listener.name.0.as_str().into(),
            address: listener.address.0,
            protocol,
            limits: limits(listener, problems),
            timeouts: ClientTimeouts {
                head: listener.timeouts.head.0,
                idle: listener.timeouts.idle.0,
                body: listener.timeouts.body.0,
                min_body_rate: listener.min_body_rate.0,
            },
        });
    }
    if let Some(admin) = &document.admin {
        unique(admin.address.0, admin.address.span, &mut addresses, problems);
    }
    compiled
}

/// Port 0 is another port each time.
fn unique(
    address: SocketAddr,
    span: Span,
    addresses: &mut HashMap<SocketAddr, Span>,
    problems: &mut Problems,
) {
    if address.port() == 0 {
        return;
    }
    if let Some(first) = addresses.get(&address) {
        problems
            .error(span, format!("the address {address} is taken"))
            .note(*first, "it is used here");
        return;
    }
    addresses.insert(address, span);
}

fn protocol(
    listener: &Listener,
    credentials: &mut Credentials<'_>,
    problems: &mut Problems,
) -> Option<ListenerProtocol> {
    let written = listener.protocol.as_ref();
    let Some(tls) = &listener.tls else {
        return Some(match written.is_some_and(|protocol| protocol.value.0) {
            true => ListenerProtocol::H2c,
            false => ListenerProtocol::Http1,
        });
    };
    if let Some(protocol) = written {
        problems
            .error(protocol.span, "a listener with `tls` has no `protocol`")
            .help("leave it out: the client chooses HTTP/2 or HTTP/1.1 (ALPN)".to_owned());
    }
    self::tls(tls, credentials, problems).map(|tls| ListenerProtocol::Tls(Arc::new(tls)))
}

fn tls(tls: &Tls, credentials: &mut Credentials<'_>, problems: &mut Problems) -> Option<ServerTls> {
    let list = &tls.certificates;
    if list.is_empty() && list.complete {
        problems
            .error(list.span, "a listener with `tls` needs a certificate")
            .help("add one, such as `{ cert: edge.pem, key: edge.key }`".to_owned());
    }
    let mut certificates = Vec::with_capacity(list.len());
    for (position, files) in list.iter().enumerate() {
        let found = credentials.certificate(&files.cert, &files.key, problems);
        if position > 0 && found.as_ref().is_some_and(|found| found.names.is_empty()) {
            problems
                .warning(
                    files.cert.span,
                    "no client ever gets this certificate: it has no DNS name",
                )
                .help("put it first, as the one for clients that name no other".to_owned());
        }
        certificates.extend(found);
    }
    let authorities = tls.client_ca.as_ref().map(|file| credentials.authorities(file, problems));
    if let (None, Some(auth)) = (&tls.client_ca, &tls.client_auth) {
        problems
            .error(auth.span, "`client_auth` needs `client_ca`")
            .help("name the file with the authorities of client certificates".to_owned());
    }
    let optional = tls.client_auth.as_ref().is_some_and(|auth| auth.value.0);
    let client_auth = match authorities {
        Some(authorities) => Some(ClientAuth { authorities: authorities?, optional }),
        None => None,
    };
    (!certificates.is_empty()).then_some(ServerTls {
        certificates,
        client_auth,
        min_version: tls.min_version.0,
    })
}

fn limits(listener: &Listener, problems: &mut Problems) -> ListenerLimits {
    let limits = &listener.limits;
    if let (Some(all), Some(each)) = (limits.connections, &limits.connections_per_client)
        && each.value > all
    {
        problems.warning(
            each.span,
            format!("no client gets this far: all together have {all} connections"),
        );
    }
    ListenerLimits {
        connections: limits.connections,
        connections_per_client: limits.connections_per_client.as_ref().map(|each| each.value),
    }
}
