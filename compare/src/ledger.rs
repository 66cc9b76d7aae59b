//! What was found so far, in bounded memory.
//!
//! Fields are counted, not differences: that a list has fifty elements makes a difference of theirs
//! no more certain. For each field there are four counts and three examples, however many answers
//! are compared. Answers with members named by ids would make fields without end, so the fields
//! seen least make room for new ones; they go on counting as fields that were looked at, or chance
//! would find a different one among them.

use crate::evidence::{ALPHA, log_evidence, threshold, threshold_of_one};
use crate::render::{cut, cut_at};
use crate::report::{Example, FieldReport, FieldVerdict, Report};
use crate::{Comparison, Difference, Field, Kind, Rules};
use std::collections::BTreeMap;

/// What was found in all comparisons so far. Takes at most 2.6 MB (0.9 MB if all texts are ASCII):
/// 256 fields of 10 KB, which is a path of 512 bytes and three examples of 3 KB.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Ordered by field and kind; at most [`FIELDS_MAX`].
    entries: Vec<Entry>,
    /// How many fields there ever were, those included that were dropped.
    fields: u64,
    dropped: u64,
    identical: u64,
    noise: u64,
    mismatch: u64,
    paired: u64,
}

/// The exchange that was compared.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// When, in Unix seconds.
    pub time: f64,
    /// The id of the request.
    pub request_id: &'a str,
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
}

/// What one comparison amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing differs.
    Match,
    /// Only fields differ that are known as noise.
    Noise,
    /// Another field differs.
    Mismatch,
}

impl Verdict {
    /// The name in metrics and reports.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Match => "match",
            Verdict::Noise => "noise",
            Verdict::Mismatch => "mismatch",
        }
    }
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what [`compare`](crate::compare) found for `exchange`, and says what it amounts to with
    /// all that is known by then.
    pub fn record(&mut self, comparison: &Comparison, exchange: &Exchange<'_>) -> Verdict {
        let paired = comparison.noise.is_some();
        self.paired += u64::from(paired);
        let seen = seen(comparison);
        for ((field, kind), (candidate, noise)) in &seen {
            if let Some(entry) = self.entry(field, *kind, exchange.time) {
                entry.count(candidate.is_some(), *noise, paired, exchange.time);
                if let Some(difference) = candidate {
                    entry.keep(difference, exchange);
                }
            }
        }
        let differing = seen.iter().filter(|(_, (candidate, _))| candidate.is_some());
        let mut verdict = Verdict::Match;
        for ((field, kind), _) in differing {
            verdict = Verdict::Noise;
            if !self.is_noise(field, *kind) {
                verdict = Verdict::Mismatch;
                break;
            }
        }
        match verdict {
            Verdict::Match => self.identical += 1,
            Verdict::Noise => self.noise += 1,
            Verdict::Mismatch => self.mismatch += 1,
        }
        verdict
    }

    /// What was found, without the fields that `rules` ignore by now.
    pub fn report(&self, rules: &Rules) -> Report {
        let ignored = |field: &Field| match field {
            Field::Json(path) => rules.ignore.iter().any(|pattern| pattern.covers(path)),
            _ => false,
        };
        let shown: Vec<&Entry> =
            self.entries.iter().filter(|entry| !ignored(&entry.field)).collect();
        let evidence = shown.iter().map(|entry| entry.log_evidence).collect();
        let threshold = threshold(evidence, self.fields);
        let compared = self.identical + self.noise + self.mismatch;
        let mut fields: Vec<FieldReport> =
            shown.iter().map(|entry| entry.report(threshold, compared)).collect();
        fields.sort_by(|a, b| urgency(a).cmp(&urgency(b)).then_with(|| weight(b, a)));
        Report {
            compared,
            identical: self.identical,
            noise: self.noise,
            mismatch: self.mismatch,
            paired: self.paired,
            fields,
            fields_dropped: self.dropped,
            alpha: ALPHA,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The entry of a field, a new one if need be; `None` if there is no room for it.
    fn entry(&mut self, field: &Field, kind: Kind, time: f64) -> Option<&mut Entry> {
        let position = match self.position(field, kind) {
            Ok(position) => position,
            Err(mut position) => {
                self.fields += 1;
                if self.entries.len() >= FIELDS_MAX {
                    self.dropped += 1;
                    let evicted = self.evict()?;
                    position -= usize::from(evicted < position);
                }
                self.entries.insert(position, Entry::new(field.clone(), kind, time));
                position
            }
        };
        self.entries.get_mut(position)
    }

    fn position(&self, field: &Field, kind: Kind) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| (&entry.field, entry.kind).cmp(&(field, kind)))
    }

    /// Removes the field seen least if it is one of those that hardly were, and says where it was.
    fn evict(&mut self) -> Option<usize> {
        let sightings = |entry: &Entry| entry.differs + entry.noise_differs;
        let (position, least) = self.entries.iter().enumerate().min_by(|(_, a), (_, b)| {
            sightings(a).cmp(&sightings(b)).then(a.last_seen.total_cmp(&b.last_seen))
        })?;
        if sightings(least) > EVICTABLE_MAX {
            return None;
        }
        self.entries.remove(position);
        Some(position)
    }

    /// Without the ranking of all fields that a report has, so that it costs little each time.
    fn is_noise(&self, field: &Field, kind: Kind) -> bool {
        let position = self.position(field, kind).ok();
        position.and_then(|position| self.entries.get(position)).is_some_and(|entry| {
            entry.noise_differs > 0 && entry.log_evidence < threshold_of_one(self.fields)
        })
    }
}

/// How many fields are kept.
const FIELDS_MAX: usize = 256;

/// A field that differed more often is not dropped for another.
const EVICTABLE_MAX: u64 = 2;

/// How many examples of a field are kept.
const EXAMPLES_MAX: usize = 3;

/// The longest texts of an example, in characters.
const REQUEST_ID_MAX: usize = 128;
const METHOD_MAX: usize = 32;
const PATH_MAX: usize = 200;

/// The fields of a comparison, each with the first difference in the candidate and whether the
/// noise copy differs.
type Seen<'c> = BTreeMap<(&'c Field, Kind), (Option<&'c Difference>, bool)>;

fn seen(comparison: &Comparison) -> Seen<'_> {
    let mut seen = Seen::new();
    for difference in &comparison.candidate {
        let entry = seen.entry((&difference.field, difference.kind)).or_default();
        entry.0.get_or_insert(difference);
    }
    for difference in comparison.noise.iter().flatten() {
        seen.entry((&difference.field, difference.kind)).or_default().1 = true;
    }
    seen
}

/// What is known about one field and kind of difference.
#[derive(Debug)]
struct Entry {
    field: Field,
    kind: Kind,
    differs: u64,
    noise_differs: u64,
    /// In how many paired comparisons either differed.
    judged: u64,
    candidate_only: u64,
    noise_only: u64,
    /// Of the two counts before.
    log_evidence: f64,
    first_seen: f64,
    last_seen: f64,
    examples: Vec<Example>,
}

impl Entry {
    fn new(field: Field, kind: Kind, time: f64) -> Self {
        Entry {
            field,
            kind,
            differs: 0,
            noise_differs: 0,
            judged: 0,
            candidate_only: 0,
            noise_only: 0,
            log_evidence: 0.0,
            first_seen: time,
            last_seen: time,
            examples: Vec::new(),
        }
    }

    fn count(&mut self, candidate: bool, noise: bool, paired: bool, time: f64) {
        self.last_seen = time;
        self.differs += u64::from(candidate);
        self.noise_differs += u64::from(noise);
        self.judged += u64::from(paired);
        if paired && candidate != noise {
            self.candidate_only += u64::from(candidate);
            self.noise_only += u64::from(noise);
            self.log_evidence = log_evidence(self.candidate_only, self.noise_only);
        }
    }

    /// Keeps the first examples and the newest.
    fn keep(&mut self, difference: &Difference, exchange: &Exchange<'_>) {
        self.examples.truncate(EXAMPLES_MAX - 1);
        self.examples.reserve_exact(1);
        self.examples.push(Example {
            time: exchange.time,
            request_id: cut_at(exchange.request_id, REQUEST_ID_MAX),
            method: cut_at(exchange.method, METHOD_MAX),
            path: cut_at(exchange.path, PATH_MAX),
            at: cut(&difference.at),
            expected: cut(&difference.expected),
            actual: cut(&difference.actual),
        });
    }

    fn report(&self, threshold: f64, compared: u64) -> FieldReport {
        FieldReport {
            field: self.field.to_string(),
            kind: self.kind.label(),
            verdict: self.verdict(threshold),
            differs: self.differs,
            rate: self.differs as f64 / compared.max(1) as f64,
            noise_differs: self.noise_differs,
            candidate_only: self.candidate_only,
            noise_only: self.noise_only,
            log10_evidence: (self.judged > 0)
                .then_some(self.log_evidence / std::f64::consts::LN_10),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            examples: self.examples.clone(),
        }
    }

    fn verdict(&self, threshold: f64) -> FieldVerdict {
        if self.log_evidence >= threshold {
            FieldVerdict::Different
        } else if self.noise_differs > 0 {
            FieldVerdict::Noise
        } else if self.judged > 0 {
            FieldVerdict::Undecided
        } else {
            FieldVerdict::Unjudged
        }
    }
}

/// The order of verdicts in a report.
fn urgency(field: &FieldReport) -> u8 {
    match field.verdict {
        FieldVerdict::Different => 0,
        FieldVerdict::Undecided => 1,
        FieldVerdict::Unjudged => 2,
        FieldVerdict::Noise => 3,
    }
}

/// The order of fields of the same verdict: by evidence where that was asked for, else by count.
fn weight(a: &FieldReport, b: &FieldReport) -> std::cmp::Ordering {
    let evidence = |field: &FieldReport| match field.verdict {
        FieldVerdict::Different | FieldVerdict::Undecided => field.log10_evidence.unwrap_or(0.0),
        FieldVerdict::Unjudged | FieldVerdict::Noise => 0.0,
    };
    evidence(a).total_cmp(&evidence(b)).then(a.differs.cmp(&b.differs))
}

#[cfg(test)]
mod tests;
