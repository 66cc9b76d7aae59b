//! An answer kept for comparison: the client's, or a copy's.

use super::{
    gather::{Gather, OutOfMemory, join},
    outcome::Compared,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::ResponseHeader;
use std::sync::Arc;
use tidegate_compare::{Answer, Budget, Charge};

/// An answer that is coming.
#[derive(Debug)]
pub(super) struct Answering {
    status: u16,
    headers: HeaderMap,
    body: Gather,
    charge: Charge,
    /// Why it cannot be kept.
    lost: Option<NoAnswer>,
}

/// An answer that has come, still in pieces: putting them together is work for the mirrors'
/// threads.
#[derive(Debug)]
pub(super) struct Kept {
    status: u16,
    headers: HeaderMap,
    pieces: Vec<Bytes>,
    /// Pays for the pieces.
    _charge: Charge,
}

/// Why there is no answer to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    TooLarge,
    OutOfMemory,
    Incomplete,
    /// The client is answered by another variant than the one that is compared with.
    AnotherVariant,
}

impl Answering {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            status: 0,
            headers: HeaderMap::new(),
            body: Gather::default(),
            charge: Charge::new(budget),
            lost: None,
        }
    }

    /// Its head, of which only the fields that are `kept`. Whatever came before was another
    /// attempt's.
    pub(super) fn head(&mut self, head: &ResponseHeader, kept: impl Fn(&HeaderName) -> bool) {
        let fields = head.headers.iter().filter(|(name, _)| kept(name));
        // A copy: the values are parts of the buffer that the whole head was read into.
        let fields = fields.filter_map(|(name, value)| {
            Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?))
        });
        let fields: HeaderMap = fields.collect();
        let size = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.charge.shrink(self.charge.bytes());
        (self.status, self.headers, self.body) = (head.status.as_u16(), fields, Gather::default());
        self.lost = (!self.charge.grow(size)).then_some(NoAnswer::OutOfMemory);
    }

    /// A piece of its body, of which `limit` bytes can be compared.
    pub(super) fn body(&mut self, piece: &Bytes, limit: usize) {
        if self.lost.is_some() {
            return;
        }
        if self.body.len() + piece.len() > limit {
            self.lose(NoAnswer::TooLarge);
        } else if self.body.push(piece, &mut self.charge).is_err() {
            self.lose(NoAnswer::OutOfMemory);
        }
    }

    /// Nothing can be made of it any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) fn finish(self) -> Result<Kept, NoAnswer> {
        match self.lost {
            Some(lost) => Err(lost),
            None if self.status == 0 => Err(NoAnswer::Incomplete),
            None => Ok(Kept {
                status: self.status,
                headers: self.headers,
                pieces: self.body.finish(),
                _charge: self.charge,
            }),
        }
    }

    fn lose(&mut self, why: NoAnswer) {
        self.lost = Some(why);
        self.body = Gather::default();
        self.charge.shrink(self.charge.bytes());
    }
}

impl Kept {
    /// The answer in one piece, of at most `limit` bytes.
    pub(super) fn answer(&self, limit: usize, charge: &mut Charge) -> Result<Answer, NoAnswer> {
        if self.pieces.iter().map(Bytes::len).sum::<usize>() > limit {
            return Err(NoAnswer::TooLarge);
        }
        let body = join(self.pieces.clone(), charge)?;
        Ok(Answer { status: self.status, headers: self.headers.clone(), body })
    }
}

impl From<OutOfMemory> for NoAnswer {
    fn from(_: OutOfMemory) -> Self {
        NoAnswer::OutOfMemory
    }
}

impl From<NoAnswer> for Compared {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::TooLarge => Compared::TooLarge,
            NoAnswer::OutOfMemory => Compared::MemoryBudget,
            NoAnswer::Incomplete => Compared::Incomplete,
            NoAnswer::AnotherVariant => Compared::NotBaseline,
        }
    }
}
