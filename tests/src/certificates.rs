//! Certificates, made when a test wants them.

use anyhow::Result;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tempfile::TempDir;

/// Somebody who signs certificates. Its files are gone when it is dropped.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
    file: PathBuf,
    /// Of the pairs made so far; each has a file name of its own.
    made: AtomicU64,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Its public key, in PEM.
    pub public_key: PathBuf,
    /// The certificate in DER, in base64.
    pub base64: String,
}

impl Authority {
    /// A new one that nobody knows.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let directory = TempDir::new()?;
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, certificate.pem())?;
        let made = AtomicU64::new(0);
        Ok(Self { issuer: Issuer::new(params, key), directory, file, made })
    }

    /// Its own certificate.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The same as text: for a configuration, or an argument.
    pub fn path(&self) -> String {
        self.file.display().to_string()
    }

    /// For a server with these names or addresses.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn server(&self, names: &[&str]) -> Result<Pair> {
        self.sign(Self::for_server(names)?)
    }

    /// For a server, and over since 2021.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn expired(&self, names: &[&str]) -> Result<Pair> {
        let mut params = Self::for_server(names)?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    /// For a client of this name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client(&self, name: &str) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn for_server(names: &[&str]) -> Result<CertificateParams> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Pair> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.directory.path().join(format!("{number}.{kind}"));
        let pair = Pair {
            cert: file("pem"),
            key: file("key"),
            public_key: file("pub"),
            base64: base64(&certificate),
        };
        std::fs::write(&pair.cert, certificate.pem())?;
        std::fs::write(&pair.key, key.serialize_pem())?;
        std::fs::write(&pair.public_key, key.public_key_pem())?;
        Ok(pair)
    }
}

/// PEM is base64 of DER in lines, between two that are none.
fn base64(certificate: &Certificate) -> String {
    certificate.pem().lines().filter(|line| !line.starts_with("-----")).collect()
}

impl Pair {
    /// As an entry of `certificates`.
    pub fn yaml(&self) -> String {
        format!("{{ cert: {}, key: {} }}", self.cert.display(), self.key.display())
    }

    /// The files of this pair get the contents of `other`'s: first the key, then the certificate,
    /// each at once.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn become_like(&self, other: &Self) -> Result<()> {
        for (from, to) in [(&other.key, &self.key), (&other.cert, &self.cert)] {
            let beside = to.with_extension("next");
            std::fs::copy(from, &beside)?;
            std::fs::rename(beside, to)?;
        }
        Ok(())
    }

    /// A pair in `directory` that is this one for now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn copy_into(&self, directory: &Path) -> Result<Self> {
        let file = |path: &Path| directory.join(path.file_name().unwrap_or_default());
        let copy = Self {
            cert: file(&self.cert),
            key: file(&self.key),
            public_key: file(&self.public_key),
            base64: self.base64.clone(),
        };
        for (from, to) in
            [(&self.cert, &copy.cert), (&self.key, &copy.key), (&self.public_key, &copy.public_key)]
        {
            std::fs::copy(from, to)?;
        }
        Ok(copy)
    }
}
