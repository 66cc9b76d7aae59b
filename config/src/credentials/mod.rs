//! Certificates, private keys and authorities: the files that a configuration names besides
//! configuration.
//!
//! They are read and checked while it is compiled, so that a pair that does not fit is an error of
//! the configuration, found by `check` and refused by a reload. What was read is part of the
//! digest, and where it was looked for is watched, also when there was nothing. Each file is read
//! once in a load. Rejected: reading them where they are used, which finds a bad pair when a client
//! connects.

mod check;
mod pem;

use crate::{
    decode::Invalid,
    plan::Certificate,
    problem::{Problems, Span, Spanned},
    source::read_bytes,
    text::Text,
};
use rustls_pki_types::CertificateDer;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest file. A system's authorities take 300 KiB.
const MAX_FILE: u64 = 8 << 20;

/// A list of certificates that is shared by all who name its file.
pub(crate) type Chain = Arc<[CertificateDer<'static>]>;

/// What was read: bytes, or why there are none.
type Contents = Result<Arc<[u8]>, String>;

/// The files that a configuration in force was made with, for one that has to do without a file
/// that is bad meanwhile.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Material(BTreeMap<PathBuf, Arc<[u8]>>);

/// Without what is in the files: some are private keys.
impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads and checks the files that one load needs.
pub(crate) struct Credentials<'a> {
    /// What relative paths are taken from; absent: nothing may be read.
    directory: Option<PathBuf>,
    read: BTreeMap<PathBuf, Contents>,
    authorities: HashMap<PathBuf, Result<Chain, Invalid>>,
    last_good: Option<&'a Material>,
    /// Numbers of the configuration files that fall back to what was good.
    stale: BTreeSet<u32>,
    used: Material,
}

impl<'a> Credentials<'a> {
    /// Relative paths are taken from `directory`.
    pub(crate) fn new(directory: &Path, last_good: Option<&'a Material>) -> Self {
        Self { directory: Some(directory.to_owned()), last_good, ..Self::none() }
    }

    /// Reads nothing: to name a file is an error.
    pub(crate) fn none() -> Self {
        Self {
            directory: None,
            read: BTreeMap::new(),
            authorities: HashMap::new(),
            last_good: None,
            stale: BTreeSet::new(),
            used: Material::default(),
        }
    }

    /// From now on a file that is bad is taken as it last was good, where the configuration file
    /// with this number names it.
    pub(crate) fn fall_back(&mut self, file: u32) {
        self.stale.insert(file);
    }

    /// The certificate in the file `cert` with its private key in the file `key`, if the two are
    /// good and belong together.
    pub(crate) fn certificate(
        &mut self,
        cert: &Spanned<Text>,
        key: &Spanned<Text>,
        problems: &mut Problems,
    ) -> Option<Certificate> {
        let places = [self.place(cert, problems), self.place(key, problems)];
        let [Some(cert_path), Some(key_path)] = places else { return None };
        let files = [self.read(&cert_path), self.read(&key_path)];
        let mut outcome = pair((&cert_path, &files[0]), (&key_path, &files[1]));
        let mut used = files.map(Result::ok);
        if outcome.is_err()
            && let Some(old) = self.old(cert.span, [&cert_path, &key_path])
        {
            let again = old.clone().map(Ok);
            let again = pair((&cert_path, &again[0]), (&key_path, &again[1]));
            if again.is_ok() {
                (outcome, used) = (again, old.map(Some));
            }
        }
        match outcome {
            Ok((certificate, warning)) => {
                let [cert_used, key_used] = used;
                self.used.0.extend(cert_used.map(|bytes| (cert_path, bytes)));
                self.used.0.extend(key_used.map(|bytes| (key_path, bytes)));
                if let Some(warning) = warning {
                    problems.warning(cert.span, warning);
                }
                Some(certificate)
            }
            Err(wrong) => {
                for (whose, invalid) in wrong {
                    let span = if whose == Whose::Cert { cert.span } else { key.span };
                    problems.error(span, invalid.message).help(invalid.help);
                }
                None
            }
        }
    }

    /// The authorities in a file: at least one.
    pub(crate) fn authorities(
        &mut self,
        file: &Spanned<Text>,
        problems: &mut Problems,
    ) -> Option<Chain> {
        let path = self.place(file, problems)?;
        let contents = self.read(&path);
        let checked = self.authorities.entry(path.clone());
        let mut outcome = checked.or_insert_with(|| authorities(&path, &contents)).clone();
        let mut used = contents.ok();
        if outcome.is_err()
            && let Some([old]) = self.old(file.span, [&path])
            && let Ok(good) = authorities(&path, &Ok(Arc::clone(&old)))
        {
            (outcome, used) = (Ok(good), Some(old));
        }
        match outcome {
            Ok(chain) => {
                if let Some(warning) = check::all_over(&path, &chain) {
                    problems.warning(file.span, warning);
                }
                self.used.0.extend(used.map(|bytes| (path, bytes)));
                Some(chain)
            }
            Err(invalid) => {
                problems.error(file.span, invalid.message).help(invalid.help);
                None
            }
        }
    }

    /// The paths of all files that were looked for.
    pub(crate) fn watched(&self) -> impl Iterator<Item = PathBuf> {
        self.read.keys().cloned()
    }

    /// `digest` with all that was read.
    pub(crate) fn digest(&self, digest: u64) -> u64 {
        if self.read.is_empty() {
            return digest;
        }
        let mut hasher = DefaultHasher::new();
        (digest, &self.read).hash(&mut hasher);
        hasher.finish()
    }

    /// The files that were used, as they were used.
    pub(crate) fn into_used(self) -> Material {
        self.used
    }

    fn place(&self, file: &Spanned<Text>, problems: &mut Problems) -> Option<PathBuf> {
        if self.directory.is_none() {
            problems.error(
                file.span,
                "a certificate, a key or an authority needs a file to start from",
            );
        }
        self.directory.as_ref().map(|directory| directory.join(&file.value.0))
    }

    fn read(&mut self, path: &Path) -> Contents {
        if let Some(known) = self.read.get(path) {
            return known.clone();
        }
        let contents = match read_bytes(path, true, MAX_FILE) {
            Ok(bytes) if bytes.len() as u64 > MAX_FILE => {
                Err(format!("it is larger than {} MiB", MAX_FILE >> 20))
            }
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(error.to_string()),
        };
        self.read.insert(path.to_owned(), contents.clone());
        contents
    }

    /// What these files last were, if whoever names them falls back to that.
    fn old<const N: usize>(&self, span: Span, paths: [&Path; N]) -> Option<[Arc<[u8]>; N]> {
        let last_good = self.last_good.filter(|_| self.stale.contains(&span.file))?;
        let found = paths.map(|path| last_good.0.get(path).cloned());
        found.iter().all(Option::is_some).then(|| found.map(Option::unwrap_or_default))
    }
}

/// Which file of a pair is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Cert,
    Key,
}

/// A certificate with its key, and what is odd about it.
type Pair = (Certificate, Option<String>);

/// A pair, or all that is wrong with it.
fn pair(
    (cert_path, cert): (&Path, &Contents),
    (key_path, key): (&Path, &Contents),
) -> Result<Pair, Vec<(Whose, Invalid)>> {
    let chain = text_of(cert_path, cert).and_then(|bytes| {
        let chain = pem::certificates(cert_path, bytes)?;
        let names = check::chain(cert_path, &chain)?;
        Ok((chain, names))
    });
    let key = text_of(key_path, key).and_then(|bytes| pem::key(key_path, bytes));
    let ((chain, names), key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => {
            let wrong = [
                chain.err().map(|invalid| (Whose::Cert, invalid)),
                key.err().map(|invalid| (Whose::Key, invalid)),
            ];
            return Err(wrong.into_iter().flatten().collect());
        }
    };
    check::belongs((cert_path, &chain), (key_path, &key))
        .map_err(|invalid| vec![(Whose::Key, invalid)])?;
    let warning = check::any_over(cert_path, &chain);
    Ok((Certificate { chain: chain.into(), key: Arc::new(key), names }, warning))
}

fn authorities(path: &Path, contents: &Contents) -> Result<Chain, Invalid> {
    let chain = pem::certificates(path, text_of(path, contents)?)?;
    check::authorities(path, &chain)?;
    Ok(chain.into())
}

fn text_of<'a>(path: &Path, contents: &'a Contents) -> Result<&'a [u8], Invalid> {
    match contents {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(Invalid::new(format!("cannot read `{}`: {error}", path.display()))),
    }
}
