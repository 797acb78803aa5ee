//! Bytes from the middle of a connection come in; the place where its frames go on comes out.

use zeroize::{Zeroize, Zeroizing};

use crate::http::http2::frame::{HEADER_BYTES, Header, PAYLOAD_BYTES_UNANNOUNCED_MAX};

/// Bytes held while a frame boundary is looked for: three frames of the usual greatest length fit.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept where the bound is reached: what comes before is given up.
const KEPT_BYTES: usize = HELD_BYTES_MAX / 2;
/// Places followed at once; among random bytes there is one in 2^26.
const CHAINS_MAX: usize = 64;
/// Headers in a row that are proof wherever they stand.
const PROOF_HEADERS: usize = 3;
/// Times kept of what is held; beyond that, bytes count as seen with those before them.
const MARKS_MAX: usize = 64;

/// Frame headers that follow one another.
struct Chain {
    /// Where they stand, as far as seen; `PROOF_HEADERS` of them end the search.
    places: [u64; PROOF_HEADERS],
    headers: usize,
    /// Where the next one should stand.
    next: u64,
}

impl Chain {
    fn holds(&self, place: u64) -> bool {
        self.next == place || self.places.iter().take(self.headers).any(|held| *held == place)
    }
}

/// A search for a frame boundary. Places count from where the search began.
#[derive(Default)]
pub(super) struct Hunt {
    held: Zeroizing<Vec<u8>>,
    /// Place of the first byte held.
    base: u64,
    /// Place up to which every byte was tried as the start of a chain.
    tried: u64,
    /// Whether a boundary is likely where the search began: writes begin with a frame.
    fresh: bool,
    chains: Vec<Chain>,
    /// Ends of runs of bytes, and when they were seen.
    marks: Vec<(u64, u64)>,
}

impl Hunt {
    /// Begins behind a gap.
    pub(super) fn behind_gap() -> Self {
        Self { fresh: true, ..Self::default() }
    }

    /// Takes bytes, as many as there is room for, off the front of `input`.
    pub(super) fn feed(&mut self, input: &mut &[u8], at_ns: u64) {
        if self.held.len() >= HELD_BYTES_MAX {
            self.shrink();
        }
        let room = HELD_BYTES_MAX.saturating_sub(self.held.len()).min(input.len());
        let Some((taken, rest)) = input.split_at_checked(room) else { return };
        *input = rest;
        self.held.extend_from_slice(taken);
        let end = self.end();
        let full = self.marks.len() >= MARKS_MAX;
        match self.marks.last_mut() {
            Some((last_end, last_ns)) if full || *last_ns == at_ns => *last_end = end,
            _ => self.marks.push((end, at_ns)),
        }
    }

    /// The place of a frame boundary, once there is proof of one.
    pub(super) fn find(&mut self, announced: u32) -> Option<u64> {
        let mut chains = std::mem::take(&mut self.chains);
        let mut found = None;
        chains.retain_mut(|chain| found.is_some() || self.follow(chain, announced, &mut found));
        while found.is_none() && self.octets(self.tried).is_some() {
            let place = self.tried;
            self.tried = place.saturating_add(1);
            let octets = self.octets(place);
            let likely = octets.is_some_and(|octets| Header::new(octets).is_likely(announced));
            if !likely || chains.iter().any(|chain| chain.holds(place)) {
                continue;
            }
            let mut chain = Chain { places: [place; PROOF_HEADERS], headers: 0, next: place };
            if self.follow(&mut chain, announced, &mut found) {
                keep(&mut chains, chain);
            }
        }
        self.chains = chains;
        found
    }

    /// Follows a chain as far as bytes are at hand; false where it breaks.
    fn follow(&self, chain: &mut Chain, announced: u32, found: &mut Option<u64>) -> bool {
        while let Some(octets) = self.octets(chain.next) {
            let header = Header::new(octets);
            // A request and a long body are often one write, and the setting that allows it may have been missed.
            let second = self.fresh && chain.headers == 1 && chain.places.first() == Some(&0);
            let allowed = if second { PAYLOAD_BYTES_UNANNOUNCED_MAX } else { 0 };
            if !header.is_likely(announced.max(allowed)) {
                return false;
            }
            if let Some(place) = chain.places.get_mut(chain.headers) {
                *place = chain.next;
            }
            chain.headers = chain.headers.saturating_add(1);
            let frame_bytes = u64::from(header.length).saturating_add(length(HEADER_BYTES));
            chain.next = chain.next.saturating_add(frame_bytes);
            if self.is_proof(chain) {
                *found = chain
                    .places
                    .iter()
                    .take(chain.headers)
                    .find(|place| **place >= self.base)
                    .copied();
                return true;
            }
        }
        if chain.headers > 0 && self.is_proof(chain) {
            *found =
                chain.places.iter().take(chain.headers).find(|place| **place >= self.base).copied();
        }
        chain.headers > 0
    }

    /// Whether a chain can be no accident. One that ends where the bytes at hand end needs less.
    fn is_proof(&self, chain: &Chain) -> bool {
        let [first, ..] = chain.places;
        let at_start = self.fresh && first == 0;
        let at_end = chain.next == self.end();
        let needed =
            PROOF_HEADERS.saturating_sub(usize::from(at_start)).saturating_sub(usize::from(at_end));
        chain.headers >= needed
    }

    /// The bytes from `place` on that were seen at one time, and that time.
    pub(super) fn run(&self, place: u64) -> Option<(u64, &[u8])> {
        let (end, at_ns) = self.marks.iter().find(|(end, _)| *end > place)?;
        let from = usize::try_from(place.checked_sub(self.base)?).ok()?;
        let to = usize::try_from(end.checked_sub(self.base)?).ok()?;
        Some((*at_ns, self.held.get(from..to)?))
    }

    /// Goes on with the search from `place` on, where the frames turned out to be none.
    pub(super) fn again(mut self, place: u64) -> Self {
        self.chains.clear();
        self.fresh = false;
        self.tried = place;
        self
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn end(&self) -> u64 {
        self.base.saturating_add(length(self.held.len()))
    }

    fn octets(&self, place: u64) -> Option<[u8; HEADER_BYTES]> {
        let from = usize::try_from(place.checked_sub(self.base)?).ok()?;
        self.held.get(from..)?.first_chunk().copied()
    }

    /// Gives up the older half of what is held.
    fn shrink(&mut self) {
        let given_up = self.held.len().saturating_sub(KEPT_BYTES);
        let kept = Zeroizing::new(self.held.get(given_up..).unwrap_or_default().to_vec());
        self.held.zeroize();
        self.held.extend_from_slice(&kept);
        self.base = self.base.saturating_add(length(given_up));
        self.tried = self.tried.max(self.base);
        self.marks.retain(|(end, _)| *end > self.base);
    }
}

/// Keeps a chain. Where there is no room the one whose next header is the farthest gives way: where the peer allows
/// frames of megabytes, chains that are none would keep a true one out for as long.
fn keep(chains: &mut Vec<Chain>, chain: Chain) {
    if chains.len() < CHAINS_MAX {
        chains.push(chain);
    } else if let Some(farthest) = chains.iter_mut().max_by_key(|kept| kept.next)
        && farthest.next > chain.next
    {
        *farthest = chain;
    }
}

/// A length as places count.
fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
