//! What a decoder has put out comes in; whether all decoders together hold too much goes out.
//!
//! A window of zstd has up to 8 MiB and one of brotli 16, as far as it is written. A body's own bounds allow that; hundreds of
//! bodies that are left open would cost a gibibyte.

use std::sync::atomic::{AtomicU64, Ordering};

use super::CodingError;

/// Bytes that each may hold, whatever the others do: one that leaves large ones open blinds nobody else's small ones.
const FREE_BYTES: u64 = 64 << 10;

/// Bytes that the windows of some decoders hold.
#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicU64,
    max: u64,
}

/// Of the whole process: a fleet of lawful answers has windows of some 100 KiB each.
pub(super) static PROCESS: Budget = Budget::new(24 << 20);

impl Budget {
    pub(super) const fn new(max: u64) -> Self {
        Self { held: AtomicU64::new(0), max }
    }
}

/// The part of one decoder; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: &'static Budget,
    bytes: u64,
}

impl Share {
    pub(super) fn of(budget: &'static Budget) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes as much as a window of so many bytes holds of what was put out.
    ///
    /// # Errors
    /// `Crowded` where all of them together hold too much.
    pub(super) fn hold(&mut self, put_out: u64, window: u64) -> Result<(), CodingError> {
        let more = put_out.min(window).saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(more);
        let before = self.budget.held.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.max && self.bytes > FREE_BYTES {
            return Err(CodingError::Crowded);
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_limited_together_and_given_back() {
        static BUDGET: Budget = Budget::new(10 * FREE_BYTES);
        const WINDOW: u64 = 100 * FREE_BYTES;
        let [mut one, mut other] = [Share::of(&BUDGET), Share::of(&BUDGET)];
        for part in [6, 6, 1] {
            assert!(one.hold(FREE_BYTES.saturating_mul(part), WINDOW).is_ok());
        }
        assert!(other.hold(4 * FREE_BYTES, WINDOW).is_ok());
        assert_eq!(other.hold(4 * FREE_BYTES + 1, WINDOW), Err(CodingError::Crowded));
        let mut small = Share::of(&BUDGET);
        assert!(small.hold(FREE_BYTES, WINDOW).is_ok());
        drop((other, small));
        assert!(Share::of(&BUDGET).hold(4 * FREE_BYTES, WINDOW).is_ok());
        drop(one);
        assert_eq!(BUDGET.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_body_takes_no_more_than_its_window() {
        static BUDGET: Budget = Budget::new(u64::MAX);
        let mut share = Share::of(&BUDGET);
        assert!(share.hold(u64::MAX, 7).is_ok());
        assert_eq!(BUDGET.held.load(Ordering::Relaxed), 7);
    }
}
