//! Certificates, keys and authorities: what is wrong with them is told, and a change of one is a
//! change of the configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tidegate_config::{Failure, Loaded, load, plan::ListenerProtocol};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A configuration whose certificate, key and authorities are in files of their own.
const MAIN: &str = "\
listeners:
  - name: tls
    address: 127.0.0.1:0
    tls: { certificates: [{ cert: cert.pem, key: cert.key }], client_ca: ca.pem }
upstreams:
  - { name: up, endpoints: [a.example:1], tls: { ca: roots.pem, cert: client.pem, key: client.key } }
routes: [{ name: all, variants: [{ name: only, upstream: up }] }]
";

struct Config(TempDir);

impl Config {
    fn new() -> Result<Self, std::io::Error> {
        let config = Self(TempDir::new()?);
        config.write("tidegate.yaml", MAIN)?;
        for (name, from) in [
            ("cert.pem", "edge.pem"),
            ("cert.key", "edge.key"),
            ("ca.pem", "ca.pem"),
            ("roots.pem", "ca.pem"),
            ("client.pem", "client.pem"),
            ("client.key", "client.key"),
        ] {
            config.copy(from, name)?;
        }
        Ok(config)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> std::io::Result<()> {
        fs::write(self.path(name), text)
    }

    /// Puts a file of the tests' certificates there.
    fn copy(&self, from: &str, name: &str) -> std::io::Result<()> {
        self.write(name, data(from)?)
    }

    fn load(&self) -> Result<Loaded, Failure> {
        load(&self.path("tidegate.yaml"), None)
    }

    /// The errors or warnings, with file names without their directory: `line:column message; help`.
    fn told(&self) -> Vec<String> {
        let all = match self.load() {
            Ok(loaded) => loaded.warnings,
            Err(failure) => failure.diagnostics,
        };
        let here = format!("{}/", self.0.path().display());
        let brief = all.iter().map(|told| {
            let help = told.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
            let text = format!("{}:{} {}{help}", told.place.line, told.place.column, told.message);
            text.replace(&here, "")
        });
        brief.collect()
    }
}

fn data(name: &str) -> std::io::Result<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certs");
    fs::read_to_string(directory.join(name))
}

#[test]
fn are_read() -> Outcome {
    let loaded = Config::new()?.load()?;
    assert_eq!(loaded.warnings, []);
    let ListenerProtocol::Tls(tls) = &loaded.plan.listeners[0].protocol else {
        return Err("TLS".into());
    };
    assert!(tls.client_auth.as_ref().is_some_and(|auth| !auth.optional));
    Ok(())
}

/// A certificate in DER, as it stands in a PEM file.
fn der(name: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    Ok(CertificateDer::from_pem_slice(data(name)?.as_bytes())?.to_vec())
}

#[test]
fn what_is_wrong_with_one_is_told() -> Outcome {
    let edge = data("edge.pem")?;
    let middle = edge.rfind("-----BEGIN").ok_or("an intermediate")?;
    let swapped = format!("{}{}", &edge[middle..], &edge[..middle]);
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
    let junk = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let cut = &edge[..middle - 30];
    let two_keys = data("edge.key")? + &data("client.key")?;
    let curve = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let text = |text: &str| text.as_bytes().to_vec();
    let file = |name: &str| data(name).map(String::into_bytes);
    for (name, contents, told) in [
        (
            "cert.pem",
            file("edge.key")?,
            "4:35 `cert.pem` has a private key, and no certificate; name the file with the \
             certificate here",
        ),
        (
            "cert.key",
            file("edge.pem")?,
            "4:50 `cert.key` has a certificate, and no private key; name the file with the private \
             key here",
        ),
        (
            "cert.key",
            file("client.key")?,
            "4:50 the key in `cert.key` does not belong to the certificate in `cert.pem`; a \
             certificate that was renewed may have got a new key",
        ),
        (
            "cert.pem",
            text(&swapped),
            "4:50 the key in `cert.key` does not belong to the certificate in `cert.pem`; it \
             belongs to a later certificate of that file: put that one first",
        ),
        (
            "cert.key",
            file("encrypted.key")?,
            "4:50 the private key in `cert.key` is encrypted; decrypt it, as with `openssl pkey`, \
             and protect it by the permissions of its file",
        ),
        (
            "cert.key",
            text(&two_keys),
            "4:50 `cert.key` has more than one private key; keep the one that belongs to the \
             certificate",
        ),
        (
            "cert.key",
            text(curve),
            "4:50 the private key in `cert.key` cannot be used; use a key of ECDSA (P-256 or \
             P-384), RSA (2048 to 8192 bits) or Ed25519",
        ),
        (
            "cert.pem",
            vec![],
            "4:35 `cert.pem` has no certificate; it needs a PEM file, with `-----BEGIN \
             CERTIFICATE-----`",
        ),
        (
            "cert.pem",
            der("edge.pem")?,
            "4:35 `cert.pem` is DER, not PEM; convert it, as with `openssl x509 -inform der` or \
             `openssl pkey -inform der`",
        ),
        (
            "cert.pem",
            text(request),
            "4:35 `cert.pem` has no certificate, but `CERTIFICATE REQUEST`",
        ),
        (
            "cert.pem",
            text(cut),
            "4:35 `cert.pem` is not valid PEM; it may be cut off, or damaged by copying",
        ),
        (
            "cert.pem",
            text(junk),
            "4:35 the certificate in `cert.pem` is damaged: it is no X.509 certificate",
        ),
        (
            "cert.pem",
            text(&format!("{edge}{junk}")),
            "4:35 number 3 of the certificates in `cert.pem` is damaged: it is no X.509 certificate",
        ),
        (
            "ca.pem",
            file("client.key")?,
            "4:74 `ca.pem` has a private key, and no certificate; name the file with the \
             certificate here",
        ),
        (
            "ca.pem",
            text(&format!("{}{junk}", data("ca.pem")?)),
            "4:74 number 2 of the certificates in `ca.pem` is damaged: it is no X.509 certificate",
        ),
        (
            "roots.pem",
            text("none"),
            "6:54 `roots.pem` has no certificate; it needs a PEM file, with `-----BEGIN \
             CERTIFICATE-----`",
        ),
        (
            "client.key",
            file("edge.key")?,
            "6:88 the key in `client.key` does not belong to the certificate in `client.pem`; a \
             certificate that was renewed may have got a new key",
        ),
        (
            "client.key",
            vec![b'x'; (8 << 20) + 1],
            "6:88 cannot read `client.key`: it is larger than 8 MiB",
        ),
    ] {
        let config = Config::new()?;
        config.write(name, contents)?;
        assert_eq!(config.told(), [told], "{name}");
        assert!(config.load().is_err(), "{name}");
    }
    Ok(())
}

#[test]
fn all_that_is_wrong_is_told_at_once() -> Outcome {
    let config = Config::new()?;
    for name in ["cert.pem", "cert.key", "ca.pem", "roots.pem", "client.key"] {
        fs::remove_file(config.path(name))?;
    }
    fs::create_dir(config.path("ca.pem"))?;
    let absent =
        |name: &str| format!("cannot read `{name}`: No such file or directory (os error 2)");
    assert_eq!(
        config.told(),
        [
            format!("4:35 {}", absent("cert.pem")),
            format!("4:50 {}", absent("cert.key")),
            "4:74 cannot read `ca.pem`: it is not a regular file".to_owned(),
            format!("6:54 {}", absent("roots.pem")),
            format!("6:88 {}", absent("client.key")),
        ]
    );
    let failure = config.load().err().ok_or("a failure")?;
    assert_eq!(failure.diagnostics[0].path, "listeners[0].tls.certificates[0].cert");
    assert_eq!(failure.diagnostics[4].path, "upstreams[0].tls.key");
    Ok(())
}

#[test]
fn one_out_of_its_time_is_a_warning() -> Outcome {
    let config = Config::new()?;
    config.copy("expired.pem", "cert.pem")?;
    assert_eq!(config.told(), ["4:35 the certificate in `cert.pem` expired on 2001-01-01"]);
    config.copy("future.pem", "cert.pem")?;
    assert_eq!(
        config.told(),
        ["4:35 the certificate in `cert.pem` is not valid before 2100-01-01"]
    );
    config.copy("edge.pem", "cert.pem")?;
    config.copy("expired.pem", "ca.pem")?;
    assert_eq!(config.told(), ["4:74 the certificate in `ca.pem` expired on 2001-01-01"]);
    config.write("ca.pem", data("expired.pem")? + &data("ca.pem")?)?;
    assert_eq!(config.told(), [""; 0], "a list may have authorities of the past");
    Ok(())
}

#[test]
fn a_certificate_that_no_name_leads_to_is_a_warning() -> Outcome {
    let config = Config::new()?;
    let second = "key: cert.key }, { cert: client.pem, key: client.key }]";
    config.write("tidegate.yaml", MAIN.replacen("key: cert.key }]", second, 1))?;
    assert_eq!(
        config.told(),
        [
            "4:70 no client ever gets this certificate: it has no DNS name; put it first, as the one \
          for clients that name no other"
        ]
    );
    Ok(())
}

#[test]
fn they_are_watched_and_part_of_the_digest() -> Outcome {
    let config = Config::new()?;
    let first = config.load()?;
    let names = ["ca.pem", "cert.key", "cert.pem", "client.key", "client.pem", "roots.pem"];
    let mut all = vec![config.path("tidegate.yaml")];
    all.extend(names.map(|name| config.path(name)));
    assert_eq!(first.watched, all);
    assert_eq!(config.load()?.digest, first.digest);

    let mut seen = vec![first.digest];
    let mut new = |digest: u64| {
        assert!(!seen.contains(&digest));
        seen.push(digest);
    };
    // The same certificates in other words are another configuration: nobody compares keys here.
    config.write("roots.pem", format!("# roots\n{}", data("ca.pem")?))?;
    new(config.load()?.digest);
    config.copy("edge.key", "client.key")?;
    let failure = config.load().err().ok_or("a failure")?;
    assert_eq!(failure.watched, all);
    new(failure.digest);
    fs::remove_file(config.path("client.key"))?;
    let failure = config.load().err().ok_or("a failure")?;
    assert_eq!(failure.watched, all, "what is not there is watched, too");
    new(failure.digest);
    config.copy("client.key", "client.key")?;
    config.copy("ca.pem", "roots.pem")?;
    assert_eq!(config.load()?.digest, first.digest);
    Ok(())
}

#[test]
fn paths_are_relative_to_the_main_file() -> Outcome {
    let config = Config::new()?;
    fs::create_dir(config.path("routes.d"))?;
    let (main, upstreams) = MAIN.split_at(MAIN.find("upstreams:").ok_or("upstreams")?);
    config.write("tidegate.yaml", format!("include: routes.d/*.yaml\n{main}"))?;
    config.write("routes.d/a.yaml", upstreams)?;
    assert_eq!(config.load()?.warnings, []);
    let absolute = config.path("roots.pem").display().to_string();
    config.write("routes.d/a.yaml", upstreams.replace("roots.pem", &absolute))?;
    assert_eq!(config.load()?.warnings, []);
    Ok(())
}

/// As its routes do, an included file's certificates stay as they last were good.
#[test]
fn a_bad_one_of_an_included_file_holds_up_no_other() -> Outcome {
    let config = Config::new()?;
    let upstreams = MAIN.find("upstreams:").ok_or("upstreams")?;
    let own = "routes: [{ name: own, match: { path: { prefix: /own } }, variants: [{ name: v, upstream: mine }] }]\n";
    let mine = "upstreams: [{ name: mine, endpoints: [127.0.0.1:1] }]\n";
    let main = format!("include: a.yaml\n{}{mine}{own}", &MAIN[..upstreams]);
    config.write("tidegate.yaml", &main)?;
    config.write("a.yaml", &MAIN[upstreams..])?;
    let good = config.load()?;
    let shown = |loaded: &Loaded| {
        let tls = loaded.plan.upstreams[1].tls.clone();
        tls.and_then(|tls| tls.certificate).map(|certificate| certificate.chain.to_vec())
    };

    config.copy("edge.pem", "client.pem")?;
    config.write("roots.pem", "")?;
    config.write("tidegate.yaml", main.replace("/own", "/ours"))?;
    let path = config.path("tidegate.yaml");
    let next = load(&path, Some(&good))?;
    assert_eq!(next.degraded.len(), 2, "{:?}", next.degraded);
    assert_eq!(&*next.plan.routes[0].text.matching, "path prefix /ours");
    assert_eq!(shown(&next), shown(&good));
    assert_ne!(next.digest, good.digest);
    // Nothing changes, and what was good then still is.
    let again = load(&path, Some(&next))?;
    assert_eq!((again.digest, shown(&again)), (next.digest, shown(&good)));

    config.copy("edge.key", "client.key")?;
    config.copy("ca.pem", "roots.pem")?;
    let mended = load(&path, Some(&again))?;
    assert_eq!(mended.degraded, []);
    assert_ne!(shown(&mended), shown(&good));

    // The main file's own are not: there is nothing good to begin with.
    config.copy("client.key", "cert.key")?;
    assert!(load(&path, Some(&mended)).is_err());
    Ok(())
}
