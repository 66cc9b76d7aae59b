//! From files to plans, and from mistakes to messages.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_config::{
    Plan, compile_text, load,
    plan::{
        AccessLog, Admin, ClientTimeouts, Endpoint, HeaderOps, IssueCookie, Listener,
        ListenerLimits, ListenerProtocol, LoadBalance, LogTarget, Protocol, Rewrite, Runtime,
        Upstream, UpstreamLimits, UpstreamTimeouts, Variant,
    },
    render,
};
use tidegate_policies::{KeySource, Reason, Request, RouteId, Sample, VariantId};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const FULL: &str = include_str!("data/full.yaml");

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// With every default.
fn listener(name: &str, address: SocketAddr) -> Listener {
    Listener {
        name: name.into(),
        address,
        protocol: ListenerProtocol::Http1,
        limits: ListenerLimits { connections: None, connections_per_client: None },
        timeouts: ClientTimeouts {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(60),
            min_body_rate: 64,
        },
    }
}

#[test]
fn the_process_of_a_full_example() -> Outcome {
    let path = data("full.yaml");
    let loaded = load(&path, None)?;
    let directory = path.parent().ok_or("a directory")?;
    let Plan { listeners, admin, runtime, access_log, trusted_proxies, upstreams, .. } =
        loaded.plan;
    assert_eq!(
        listeners,
        [listener("web", "127.0.0.1:8080".parse()?), listener("other", "[::1]:0".parse()?),]
    );
    let token_file = Some(directory.join("admin.token"));
    assert_eq!(admin, Some(Admin { address: "127.0.0.1:9901".parse()?, token_file }));
    assert_eq!(
        runtime,
        Runtime {
            threads: 2,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            max_requests: 100_000.try_into()?,
            resolvers: vec![],
            upgrade_socket: directory.join("tidegate.sock"),
            mirror_memory: 32 << 20,
        }
    );
    let sample = Sample::from_millionths(125_000).ok_or("a sample")?;
    assert_eq!(access_log, Some(AccessLog { target: LogTarget::Stdout, sample }));
    assert_eq!(trusted_proxies, ["127.0.0.1/32".parse()?, "::1/128".parse()?]);
    assert_eq!(
        upstreams[0],
        Upstream {
            name: "shop-v1".into(),
            endpoints: vec![
                Endpoint::Address("127.0.0.1:9001".parse()?),
                Endpoint::Name("shop.internal".into(), 9002),
            ],
            protocol: Protocol::Http1,
            tls: None,
            load_balance: LoadBalance::LeastRequest,
            slow_start: None,
            health_check: None,
            outlier_detection: None,
            timeouts: UpstreamTimeouts {
                connect: Duration::from_millis(250),
                response: Duration::from_secs(15),
                idle: Duration::from_secs(120),
            },
            limits: UpstreamLimits { connections: 16.try_into()?, requests: 32.try_into()? },
        }
    );
    assert_eq!(upstreams[2].protocol, Protocol::Http2);
    assert_eq!(upstreams[1].load_balance, LoadBalance::RoundRobin);
    assert_eq!(upstreams[1].timeouts.connect, Duration::from_secs(1));
    assert_eq!(upstreams[1].limits.requests.get(), 4_096);
    Ok(())
}

#[test]
fn the_routes_of_a_full_example() -> Outcome {
    let plan = compile_text("full.yaml", FULL).map_err(|e| render(&e, false))?;
    let [shop, rest, halves] = &plan.routes[..] else { return Err("three routes".into()) };
    assert_eq!(
        shop.variants,
        [
            Variant { name: "stable".into(), upstream: 0, weight: 90, fallback: None },
            Variant {
                name: "canary".into(),
                upstream: 1,
                weight: 10,
                fallback: Some(VariantId(0)),
            },
        ]
    );
    let user = KeySource::Header(HeaderName::from_static("x-user-id"));
    assert_eq!(shop.policy.bucket_by, [user, KeySource::Cookie("uid".to_owned())]);
    let max_age = Duration::from_secs(30 * 86_400);
    assert_eq!(shop.issue, Some(IssueCookie { name: "uid".into(), source: 1, max_age }));
    assert_eq!(shop.timeout, Some(Duration::from_secs(15)));
    assert_eq!(shop.max_body, 1 << 20);
    let rewrite = Rewrite { from_prefix: "/shop".into(), to_prefix: "/".into() };
    assert_eq!(shop.rewrite, Some(rewrite));
    assert!(shop.expose_variant && !rest.expose_variant);
    let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    assert_eq!(
        shop.request_headers,
        HeaderOps {
            remove: vec![HeaderName::from_static("x-debug")],
            set: vec![field("authorization", "Bearer s3cret")],
            add: vec![field("x-env", "edge")],
        }
    );
    assert_eq!(shop.response_headers.remove, [http::header::SERVER]);
    assert_eq!(
        &*shop.text.matching,
        "host *.shop.example.com, shop.example.com; path prefix /shop; method GET, POST; \
         header x-tenant = \"acme\"; query \"beta\" = \"1\""
    );
    assert_eq!(&*shop.text.pins[1], "to stable; cookie \"opt_out\" present");
    assert_eq!((&*shop.text.salt, &*rest.text.salt), ("shop-2026-11", "rest"));
    assert_eq!((rest.max_body, rest.timeout, rest.variants[0].weight), (100 << 20, None, 1));
    assert_eq!(halves.variants[0].weight, 999_000);
    assert_eq!(halves.variants[1].weight, 1_000);
    Ok(())
}

#[test]
fn the_decisions_of_a_full_example() -> Outcome {
    let plan = compile_text("full.yaml", FULL).map_err(|e| render(&e, false))?;
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("acme"));
    headers.insert("x-canary", HeaderValue::from_static("always"));
    headers.insert("x-user-id", HeaderValue::from_static("7"));
    let mut request = Request {
        method: &Method::GET,
        host: "EU.shop.example.com:80",
        path: "/shop/cart",
        query: Some("beta=1"),
        headers: &headers,
        client: IpAddr::from([127, 1, 2, 3]),
    };
    assert_eq!(plan.table.find(&request), Some(RouteId(0)));
    let decide = |request: &Request<'_>| plan.routes[0].policy.decide(request, 0);
    assert_eq!(decide(&request).variant, VariantId(1));
    assert_eq!(decide(&request).reason, Reason::Pin(0));
    request.client = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(decide(&request).reason, Reason::Keyed(0));
    request.query = None;
    assert_eq!(plan.table.find(&request), Some(RouteId(1)));
    request.path = "/api/v1/x";
    assert_eq!(plan.table.find(&request), Some(RouteId(2)));
    Ok(())
}

#[test]
fn warnings() -> Outcome {
    let file = tempfile::NamedTempFile::new()?;
    let text = "\
listeners: [{ name: web, address: 127.0.0.1:0 }]
upstreams: [{ name: a, endpoints: [h:1] }, { name: b, endpoints: [h:1] }]
routes:
  - name: draws
    variants:
      - { name: x, upstream: a, weight: 1 }
      - { name: y, upstream: a, weight: 1 }
      - { name: z, upstream: a, weight: 0 }
    pins: [{ variant: y, cookie: { name: y, present: true } }]
  - name: same
    match: { path: { prefix: / } }
    variants: [{ name: x, upstream: a }]
    bucket_by: [{ cookie: id, issue: { max_age: 1d } }, client_ip]
";
    std::fs::write(file.path(), text)?;
    let loaded = load(file.path(), None)?;
    let brief = loaded.warnings.iter().map(|d| format!("{} {}", d.place.line, d.message));
    assert_eq!(
        brief.collect::<Vec<_>>(),
        [
            "2 the upstream `b` is never used",
            "4 users of `draws` change between versions on each request",
            "8 the variant `z` gets no request: its weight is 0 and no pin names it",
            "9 any client can pin itself to `y`",
            "10 the route `same` never gets a request",
            "13 this source is never looked at",
        ]
    );
    assert!(loaded.render_warnings(false).starts_with("warning: the upstream"));
    assert!(load(&data("full.yaml"), None)?.warnings.is_empty());
    Ok(())
}

#[test]
fn files_that_are_no_configuration() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.yaml");
    let check = |line: u32, column: u32, message: &str| {
        let failure = load(&path, None).expect_err("no configuration");
        let first = &failure.diagnostics[0];
        assert_eq!((first.place.line, first.place.column), (line, column), "{first}");
        assert!(first.message.contains(message), "{first}");
        assert_eq!(failure.watched, [path.as_path()]);
    };
    check(0, 0, "cannot read this file");
    std::fs::write(&path, "")?;
    check(1, 1, "the file is empty");
    std::fs::write(&path, b"a: 1\nb: \xff\n")?;
    check(2, 4, "not UTF-8");
    std::fs::write(&path, &FULL[..FULL.len() / 2])?;
    assert!(load(&path, None).is_err(), "half a file");
    std::fs::remove_file(&path)?;
    std::fs::create_dir(&path)?;
    check(0, 0, "not a regular file");
    Ok(())
}
