//! Loading: read, parse, decode, compile, and keep the last good text of an included file that is
//! bad, so that one team's mistake holds up no other.

use crate::{
    compile,
    credentials::{Credentials, Material},
    decode::Decode,
    diagnostic::{Diagnostic, Severity, SourceView, resolve},
    include,
    plan::Plan,
    problem::{Problem, Problems, Span},
    render::render,
    schema::{Document, Included},
    source,
    yaml::{self, Kind, Node},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// How often bad included files are replaced before the whole is given up: replacing one can
/// uncover that another needed it.
const MAX_ROUNDS: usize = 8;

/// A configuration that can be served from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it compiled to.
    pub plan: Plan,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// Errors of included files whose last good text was used instead; a file that never was good
    /// is left out.
    pub degraded: Vec<Diagnostic>,
    /// The texts that the plan was made from: the main file, then the included ones in order.
    pub sources: Vec<Source>,
    /// Files and directories whose change may change the outcome.
    pub watched: Vec<PathBuf>,
    /// A hash of everything that was read; the same digest means that nothing changed.
    pub digest: u64,
    /// Certificates and keys as they were used.
    pub material: Material,
}

/// A file that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As it was named or found.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Failure {
    /// All errors in the order of files and lines, then the warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// As in [`Loaded::watched`].
    pub watched: Vec<PathBuf>,
    /// As in [`Loaded::digest`].
    pub digest: u64,
}

impl Failure {
    /// The diagnostics as text with pointers into the files.
    pub fn render(&self, color: bool) -> String {
        render(&self.diagnostics, color)
    }

    fn summary(&self) -> String {
        let errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        match (self.diagnostics.first(), errors) {
            (Some(first), 0 | 1) => first.to_string(),
            (Some(first), more) => format!("{first} (and {} more errors)", more - 1),
            (None, _) => "the configuration cannot be used".to_owned(),
        }
    }
}

impl Loaded {
    /// The warnings as text with pointers into the files.
    pub fn render_warnings(&self, color: bool) -> String {
        render(&self.warnings, color)
    }
}

/// Loads a configuration file and what it includes.
///
/// With the outcome of an earlier load in `last_good`, an included file that is bad (unreadable,
/// malformed, or wrong in itself) is replaced by its text of then and reported in
/// [`Loaded::degraded`].
///
/// # Errors
/// Everything that is wrong, when the main file is, or an included file that cannot be replaced.
pub fn load(path: &Path, last_good: Option<&Loaded>) -> Result<Loaded, Failure> {
    let mut files = Files::read(path);
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut credentials = Credentials::new(directory, last_good.map(|loaded| &loaded.material));
    let good: HashMap<&Path, &Arc<str>> = last_good
        .iter()
        .flat_map(|loaded| loaded.sources.iter().skip(1))
        .map(|source| (source.path.as_path(), &source.text))
        .collect();
    let mut degraded = Vec::new();
    let mut replaced: BTreeSet<u32> = BTreeSet::new();
    let mut first_failure = None;
    for _ in 0..MAX_ROUNDS {
        let (plan, problems) = files.compile(&mut credentials);
        let diagnostics = |problems| resolve(problems, &files.views());
        if let Some(plan) = plan {
            let warnings = diagnostics(problems);
            return Ok(files.loaded(plan, credentials, warnings, degraded));
        }
        let bad: BTreeSet<u32> = problems
            .iter()
            .filter(|problem| problem.error && !replaced.contains(&problem.span.file))
            .map(|problem| problem.span.file)
            .filter(|file| *file != 0)
            .collect();
        let theirs = problems.iter().filter(|p| p.error && bad.contains(&p.span.file)).cloned();
        let theirs = diagnostics(theirs.collect());
        first_failure.get_or_insert_with(|| diagnostics(problems));
        if last_good.is_none() || bad.is_empty() || files.main.is_bad() {
            break;
        }
        degraded.extend(theirs);
        for file in bad {
            files.replace(file, &good);
            credentials.fall_back(file);
            replaced.insert(file);
        }
    }
    Err(files.failure(&credentials, first_failure.unwrap_or_default()))
}

/// Compiles a text that names no other file, as if it were the file `name`. Reads nothing.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile_text(name: &str, text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let mut main = Unit::<Document>::parse(0, PathBuf::from(name), text.into());
    if let Some(include) = main.decoded.as_ref().and_then(|document| document.include.0.first()) {
        let mut problems = Problems::default();
        problems.error(include.span, "`include` needs a file to start from");
        main.problems.append(&mut problems.list);
    }
    let files = Files { main, includes: Vec::new(), watched: Vec::new(), digest: 0 };
    let (plan, problems) = files.compile(&mut Credentials::none());
    plan.ok_or_else(|| resolve(problems, &files.views()))
}

/// One file and what became of it.
struct Unit<T> {
    path: PathBuf,
    text: Arc<str>,
    decoded: Option<T>,
    problems: Vec<Problem>,
    dropped: HashSet<String>,
    names_missing: bool,
    /// Part of the configuration; a bad file that never was good is not.
    used: bool,
}

impl<T: Decode> Unit<T> {
    fn parse(file: u32, path: PathBuf, text: Arc<str>) -> Self {
        let mut problems = Problems::default();
        let root = yaml::parse(file, &text, &mut problems);
        let decoded = root.as_ref().and_then(|root| T::decode(root, &mut problems));
        let names_missing = problems.names_missing || decoded.is_none();
        let Problems { list, dropped, .. } = problems;
        Self { path, text, decoded, problems: list, dropped, names_missing, used: true }
    }

    fn read(file: u32, path: PathBuf, regular: bool, digest: &mut DefaultHasher) -> Self {
        let source::Text { text, bytes, problem } = source::read(file, &path, regular);
        (&path, &bytes, problem.is_some()).hash(digest);
        match problem {
            None => Self::parse(file, path, text.into()),
            Some(problem) => Self {
                path,
                text: text.into(),
                decoded: None,
                problems: vec![problem],
                dropped: HashSet::new(),
                names_missing: true,
                used: true,
            },
        }
    }

    fn is_bad(&self) -> bool {
        self.problems.iter().any(|problem| problem.error)
    }

    fn view(&self) -> SourceView<'_> {
        SourceView { path: &self.path, text: &self.text }
    }
}

/// The main file (number 0) and the included ones (from 1).
struct Files {
    main: Unit<Document>,
    includes: Vec<Unit<Included>>,
    watched: Vec<PathBuf>,
    digest: u64,
}

impl Files {
    fn read(path: &Path) -> Self {
        let mut digest = DefaultHasher::new();
        let mut main = Unit::<Document>::read(0, path.to_owned(), false, &mut digest);
        let mut problems = Problems::default();
        let document = main.decoded.as_ref();
        let expansion = document
            .map(|document| include::expand(document, path, &mut problems))
            .unwrap_or_default();
        main.problems.append(&mut problems.list);
        let mut watched = vec![path.to_owned()];
        watched.extend(expansion.files.iter().cloned());
        watched.extend(expansion.directories);
        let includes = (1..).zip(expansion.files);
        let includes = includes.map(|(file, path)| Unit::read(file, path, true, &mut digest));
        Self { main, includes: includes.collect(), watched, digest: digest.finish() }
    }

    /// Compiles what there is; the problems are those of all files and of the whole.
    fn compile(&self, credentials: &mut Credentials<'_>) -> (Option<Plan>, Vec<Problem>) {
        let mut problems = Problems::default();
        problems.list.extend(self.main.problems.iter().cloned());
        problems.dropped.extend(self.main.dropped.iter().cloned());
        problems.names_missing = self.main.names_missing;
        for include in &self.includes {
            problems.list.extend(include.problems.iter().cloned());
            problems.dropped.extend(include.dropped.iter().cloned());
            problems.names_missing |= include.names_missing;
        }
        let included: Vec<&Included> =
            self.includes.iter().filter_map(|include| include.decoded.as_ref()).collect();
        let directory = self.main.path.parent().unwrap_or(Path::new(""));
        let plan = self.main.decoded.as_ref().and_then(|document| {
            compile::compile(document, &included, directory, credentials, &mut problems)
        });
        (plan, problems.list)
    }

    /// Puts the last good text in the place of a bad included file, or leaves the file out.
    fn replace(&mut self, file: u32, good: &HashMap<&Path, &Arc<str>>) {
        let Some(unit) = (file as usize).checked_sub(1).and_then(|n| self.includes.get_mut(n))
        else {
            return;
        };
        let path = std::mem::take(&mut unit.path);
        *unit = match good.get(path.as_path()) {
            Some(text) => Unit::parse(file, path, Arc::clone(text)),
            None => {
                let mut problems = Problems::default();
                let nothing = Node { kind: Kind::Map(Vec::new()), span: Span::default() };
                let decoded = Included::decode(&nothing, &mut problems);
                let (text, dropped) = ("".into(), HashSet::new());
                let problems = Vec::new();
                let names_missing = false;
                Unit { path, text, decoded, problems, dropped, names_missing, used: false }
            }
        };
    }

    fn views(&self) -> Vec<SourceView<'_>> {
        let main = std::iter::once(self.main.view());
        main.chain(self.includes.iter().map(Unit::view)).collect()
    }

    fn loaded(
        self,
        plan: Plan,
        credentials: Credentials<'_>,
        warnings: Vec<Diagnostic>,
        degraded: Vec<Diagnostic>,
    ) -> Loaded {
        let main = Source { path: self.main.path, text: self.main.text };
        let used = self.includes.into_iter().filter(|include| include.used);
        let includes = used.map(|include| Source { path: include.path, text: include.text });
        Loaded {
            plan,
            warnings,
            degraded,
            sources: std::iter::once(main).chain(includes).collect(),
            watched: self.watched.into_iter().chain(credentials.watched()).collect(),
            digest: credentials.digest(self.digest),
            material: credentials.into_used(),
        }
    }

    fn failure(self, credentials: &Credentials<'_>, diagnostics: Vec<Diagnostic>) -> Failure {
        Failure {
            diagnostics,
            watched: self.watched.into_iter().chain(credentials.watched()).collect(),
            digest: credentials.digest(self.digest),
        }
    }
}
