//! What a [`Ledger`](crate::Ledger) says when asked.

use serde::Serialize;

/// What was found in all comparisons so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How many answers were compared.
    pub compared: u64,
    /// In how many nothing differed.
    pub identical: u64,
    /// In how many only fields differed that were known as noise.
    pub noise: u64,
    /// In how many another field differed.
    pub mismatch: u64,
    /// How many were compared with a second copy of the old version, too. Without any no field can
    /// be judged.
    pub paired: u64,
    /// The fields that differed: the different ones first, then by how much they ask to be looked
    /// at.
    pub fields: Vec<FieldReport>,
    /// How many fields were not kept, for lack of room.
    pub fields_dropped: u64,
    /// The expected share of fields called different that are not.
    pub alpha: f64,
}

/// What was found about one field and kind of difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldReport {
    /// `$.items[*].price`, `header content-type`, `status` or `body`.
    pub field: String,
    /// `added`, `removed`, `changed` or `type_changed`.
    pub kind: &'static str,
    /// What it is taken for.
    pub verdict: FieldVerdict,
    /// In how many comparisons the candidate differed.
    pub differs: u64,
    /// The share of that in all comparisons.
    pub rate: f64,
    /// In how many of the paired comparisons the second copy of the old version differed.
    pub noise_differs: u64,
    /// In how many of these only the candidate differed.
    pub candidate_only: u64,
    /// In how many of these only the second copy differed.
    pub noise_only: u64,
    /// The evidence that the new version is the reason; 2 is a hundred to one. None if the field
    /// differed in no paired comparison.
    pub log10_evidence: Option<f64>,
    /// When it first differed, in Unix seconds.
    pub first_seen: f64,
    /// When it last differed.
    pub last_seen: f64,
    /// The first two and the last time that the candidate differed.
    pub examples: Vec<Example>,
}

/// What a field is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldVerdict {
    /// The new version is the reason that it differs.
    Different,
    /// It differed in the candidate only, but not often enough to rule out chance.
    Undecided,
    /// It differs between two copies of the old version, too.
    Noise,
    /// There was no second copy to tell.
    Unjudged,
}

impl FieldVerdict {
    /// The name in reports.
    pub fn label(self) -> &'static str {
        match self {
            FieldVerdict::Different => "different",
            FieldVerdict::Undecided => "undecided",
            FieldVerdict::Noise => "noise",
            FieldVerdict::Unjudged => "unjudged",
        }
    }
}

/// One exchange in which a field differed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// When, in Unix seconds.
    pub time: f64,
    /// The id of the request.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The concrete place, `$.items[3].price`.
    pub at: String,
    /// What the primary had there.
    pub expected: String,
    /// What the candidate had there.
    pub actual: String,
}
