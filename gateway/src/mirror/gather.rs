//! Bytes that arrive in pieces and are kept, within a limit and the memory of all mirrors.
//!
//! Large pieces are kept as they come, without copying. Small ones are moved together: each piece
//! has a price beside its bytes, and a sender of single bytes must not make a mirror pay for it; and
//! it may be a small part of a large buffer.

use bytes::Bytes;
use tidegate_compare::Charge;

/// Pieces from this size on are kept as they come; smaller ones share blocks of this size.
const BLOCK: usize = 4096;

/// What a piece costs beside its bytes: the list's entry and the allocator's share.
const PIECE: usize = 128;

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Gather {
    pieces: Vec<Bytes>,
    /// Where small pieces are moved together.
    block: Vec<u8>,
    length: usize,
}

/// All mirrors together hold as much as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

impl Gather {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Keeps `piece`, charged to `charge`.
    pub(super) fn push(&mut self, piece: &Bytes, charge: &mut Charge) -> Result<(), OutOfMemory> {
        if piece.len() >= BLOCK {
            pay(charge, piece.len() + PIECE)?;
            self.seal();
            self.pieces.push(piece.clone());
        } else if self.length == 0 {
            // Most bodies are one piece.
            pay(charge, piece.len() + PIECE)?;
            self.pieces.push(Bytes::copy_from_slice(piece));
        } else {
            if self.block.capacity() - self.block.len() < piece.len() {
                pay(charge, BLOCK + PIECE)?;
                self.seal();
                self.block = Vec::with_capacity(BLOCK);
            }
            self.block.extend_from_slice(piece);
        }
        self.length += piece.len();
        Ok(())
    }

    /// All of it, in order.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.seal();
        self.pieces
    }

    fn seal(&mut self) {
        let block = std::mem::take(&mut self.block);
        if !block.is_empty() {
            self.pieces.push(Bytes::from(block));
        }
    }
}

/// `pieces` in one; charged where that takes a copy.
pub(super) fn join(mut pieces: Vec<Bytes>, charge: &mut Charge) -> Result<Bytes, OutOfMemory> {
    if pieces.len() < 2 {
        return Ok(pieces.pop().unwrap_or_default());
    }
    pay(charge, pieces.iter().map(Bytes::len).sum())?;
    Ok(Bytes::from(pieces.concat()))
}

fn pay(charge: &mut Charge, bytes: usize) -> Result<(), OutOfMemory> {
    if charge.grow(bytes) { Ok(()) } else { Err(OutOfMemory) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_compare::Budget;

    #[test]
    fn keeps_bytes_in_order_whatever_the_pieces() {
        let budget = Budget::new(1 << 20);
        let mut charge = Charge::new(&budget);
        let (mut gather, mut all) = (Gather::default(), Vec::new());
        for (i, size) in [1, 1, 5000, 3, 4095, 4096, 2, 1, 9000].into_iter().enumerate() {
            let piece = vec![i as u8; size];
            gather.push(&piece.clone().into(), &mut charge).expect("there is room");
            all.extend(piece);
        }
        assert_eq!(gather.len(), all.len());
        let joined = join(gather.finish(), &mut charge).expect("there is room");
        assert_eq!(joined, all);
        drop(charge);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn single_bytes_cost_no_more_than_twice_their_number() {
        let budget = Budget::new(1 << 20);
        let mut charge = Charge::new(&budget);
        let mut gather = Gather::default();
        for _ in 0..65_536 {
            gather.push(&Bytes::from_static(b"x"), &mut charge).expect("there is room");
        }
        assert!(budget.used() < 2 * 65_536, "{}", budget.used());
    }

    #[test]
    fn stops_at_the_budget() {
        let budget = Budget::new(10_000);
        let mut charge = Charge::new(&budget);
        let mut gather = Gather::default();
        let piece = Bytes::from(vec![0; 6_000]);
        assert_eq!(gather.push(&piece, &mut charge), Ok(()));
        assert_eq!(gather.push(&piece, &mut charge), Err(OutOfMemory));
        assert!(budget.used() <= 10_000);
    }
}
