//! The report of the unattended story: a checklist for people, JSON for programs.

use super::{load, record::Totals, stats::thousands};
use crate::screen::Paint;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::Instant,
};

/// The claims and what was observed.
#[derive(Debug)]
pub(super) struct Report {
    started: Instant,
    claims: Vec<Claim>,
    /// Prints for people, each claim as soon as it is decided.
    checklist: Option<Paint>,
}

#[derive(Debug, Serialize)]
struct Claim {
    claim: String,
    ok: bool,
    observed: String,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    ok: bool,
    seconds: f64,
    requests: u64,
    failed: u64,
    reasons: BTreeMap<String, u64>,
    claims: &'a [Claim],
}

impl Report {
    /// # Errors
    /// When standard output is gone.
    pub(super) fn new(for_people: bool) -> io::Result<Self> {
        let checklist = for_people.then(Paint::for_stdout);
        if for_people {
            let mut out = io::stdout().lock();
            writeln!(
                out,
                "Three versions of a service, {} requests a second, a gateway between them.\n\
                 One is dark, one is a canary; the configuration is edited, then broken, and a\n\
                 version dies. Then a good revision is rolled out, and a bad one rolled back.\n\
                 This takes 40 s.\n",
                load::RATE,
            )?;
            out.flush()?;
        }
        Ok(Self { started: Instant::now(), claims: Vec::new(), checklist })
    }

    /// Adds a claim, whether it holds, and what was observed.
    ///
    /// # Errors
    /// When standard output is gone.
    pub(super) fn claim(&mut self, claim: &str, ok: bool, observed: String) -> io::Result<()> {
        if let Some(paint) = &self.checklist {
            let mark = if ok { paint.green("ok  ") } else { paint.red("FAIL") };
            let mut out = io::stdout().lock();
            writeln!(out, "{mark}  {claim}\n      {}", paint.dim(&observed))?;
            out.flush()?;
        }
        self.claims.push(Claim { claim: claim.to_owned(), ok, observed });
        Ok(())
    }

    /// Prints what is left to print; whether every claim holds.
    ///
    /// # Errors
    /// When standard output is gone.
    pub(super) fn finish(self, totals: Totals) -> io::Result<bool> {
        let ok = !self.claims.is_empty() && self.claims.iter().all(|claim| claim.ok);
        let seconds = (self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let mut out = io::stdout().lock();
        match &self.checklist {
            Some(paint) => {
                let held = self.claims.iter().filter(|claim| claim.ok).count();
                let verdict = format!("{held} of {} claims hold", self.claims.len());
                let verdict = if ok { paint.green(&verdict) } else { paint.red(&verdict) };
                let requests = thousands(totals.requests);
                writeln!(out, "\n{verdict}: {requests} requests in {seconds} s")?;
            }
            None => {
                let Totals { requests, failed, reasons } = totals;
                let claims = &self.claims[..];
                let summary = Summary { ok, seconds, requests, failed, reasons, claims };
                serde_json::to_writer_pretty(&mut out, &summary)?;
                writeln!(out)?;
            }
        }
        out.flush()?;
        Ok(ok)
    }
}
