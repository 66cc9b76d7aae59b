//! Programs in Python, for protocols whose usual libraries are not Rust's. They are in `tests/parts`
//! and are talked to in lines of JSON; `lines.py` there says how.

use crate::SOON;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    ffi::OsStr,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::oneshot,
    time::timeout,
};

/// For Python to import all that it needs, or a browser to start, on a machine that compiles.
const STARTED: Duration = Duration::from_secs(40);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// One program. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Part {
    script: &'static str,
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    asked: AtomicU64,
    ready: Value,
    child: Mutex<Child>,
}

impl Part {
    /// Starts one and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not within [`STARTED`], or its Python is not installed.
    pub(crate) async fn start(
        script: &'static str,
        arguments: &[impl AsRef<OsStr>],
    ) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = match std::env::var_os("TIDEGATE_TEST_PYTHON") {
            Some(path) => path.into(),
            None => root.join("../target/tools/python/bin/python"),
        };
        let mut child = Command::new(&python)
            // No compiled files in the source tree.
            .arg("-B")
            .arg(root.join("parts").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("cannot start {}; `scripts/deps.sh test` makes it", python.display())
            })?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let input = tokio::sync::Mutex::new(child.stdin.take().context("no standard input")?);
        let first = timeout(STARTED, lines.next_line()).await.context(script)??;
        let first = first.with_context(|| format!("{script} ended at once"))?;
        let ready = serde_json::from_str(&first).context(first)?;
        let waiting = Waiting::default();
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
                let number = answer["id"].as_u64().unwrap_or(u64::MAX);
                let asker = locked(&answered).remove(&number);
                if let Some(asker) = asker {
                    _ = asker.send(answer);
                }
            }
            // Whoever still waits is told that nobody will answer.
            locked(&answered).clear();
        });
        let (asked, child) = (AtomicU64::new(1), Mutex::new(child));
        Ok(Self { script, input, waiting, asked, ready, child })
    }

    /// What it said when it was ready.
    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    /// Asks it to do something.
    ///
    /// # Errors
    /// When it cannot, or has not within [`SOON`].
    pub(crate) async fn ask(&self, what: &str, with: Value) -> Result<Value> {
        self.ask_within(SOON, what, with).await
    }

    /// Asks for something that may take longer.
    ///
    /// # Errors
    /// When it cannot, or has not within `limit`.
    pub(crate) async fn ask_within(
        &self,
        limit: Duration,
        what: &str,
        with: Value,
    ) -> Result<Value> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut question = json!({ "id": number, "do": what });
        if let (Some(question), Value::Object(with)) = (question.as_object_mut(), with) {
            question.extend(with);
        }
        let (asker, answer) = oneshot::channel();
        locked(&self.waiting).insert(number, asker);
        self.input.lock().await.write_all(format!("{question}\n").as_bytes()).await?;
        let answer = timeout(limit, answer).await;
        let context = || format!("{}: {question}", self.script);
        let answer = answer.with_context(context)?.with_context(context)?;
        match answer.get("error") {
            Some(error) => bail!("{}: {error}", context()),
            None => Ok(answer),
        }
    }

    /// Ends it without asking, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).start_kill()?;
        crate::eventually("the program has ended", async || {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            child.try_wait().ok().flatten().map(drop)
        })
        .await
    }
}

fn locked<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pairs as the programs take them: header fields, or metadata.
pub(crate) fn pairs(fields: &[(&str, &str)]) -> Value {
    fields.iter().map(|(name, value)| json!([name, value])).collect()
}

/// The first value of a field in pairs that a program gave.
pub(crate) fn value(pairs: &Value, name: &str) -> String {
    let mut all = pairs.as_array().into_iter().flatten();
    let is = |pair: &&Value| pair[0].as_str().is_some_and(|text| text.eq_ignore_ascii_case(name));
    all.find(is).and_then(|pair| pair[1].as_str()).unwrap_or_default().to_owned()
}
