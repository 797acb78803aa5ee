//! Addresses of code come in; the functions around them go out, told apart by the calls that lead to their first bytes.
//!
//! Compilers that save room put functions at any address, with nothing between them, and a program that is never unwound
//! may be linked without the index of unwind entries. What is left is that a function which others call is called by its
//! address. Bytes that only look like a call lead to the neighbourhood of a place by chance in one file of thousands, and
//! then hardly to a byte behind which one function has ended, which is checked.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use super::bounds::{self, FUNCTION_MAX};
use super::segments::Segments;

/// `call rel32`.
const CALL: u8 = 0xe8;
/// Bytes of such a call.
const CALL_LENGTH: usize = 5;
/// Begins of functions that are remembered of a file: real ones have some thousands near the places that are asked about.
const STARTS_MAX: usize = 1 << 18;

/// What is called near some places of a file for x86-64.
#[derive(Debug)]
pub(super) struct Called<'i, 'f> {
    image: &'i Segments<'f>,
    starts: BTreeSet<u64>,
}

impl<'i, 'f> Called<'i, 'f> {
    /// Reads all code once for calls to addresses that are no further from one of the places than a function is long. Of a
    /// file with more than any real one has, nothing is certain.
    pub(super) fn near(image: &'i Segments<'f>, places: &BTreeSet<u64>) -> Self {
        Self::at_most(image, places, STARTS_MAX)
    }

    fn at_most(image: &'i Segments<'f>, places: &BTreeSet<u64>, most: usize) -> Self {
        let mut starts = BTreeSet::new();
        let is_near = |target: u64| {
            let reach = target.saturating_sub(FUNCTION_MAX)..=target.saturating_add(FUNCTION_MAX);
            places.range(reach).next().is_some()
        };
        let mut note = |address, piece: &[u8]| {
            let targets = memchr::memchr_iter(CALL, piece)
                .filter_map(|at| target_of(address, piece, at))
                .filter(|target| is_near(*target) && image.is_code(*target));
            starts.extend(targets);
            if starts.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        for segment in image.code() {
            image.each_piece(segment, CALL_LENGTH, &mut note);
        }
        if starts.len() > most {
            starts.clear();
        }
        Self { image, starts }
    }

    /// The function that holds an address; none where it is not called, or where it is not certain where it begins.
    pub(super) fn around(&self, site: u64) -> Option<Range<u64>> {
        let start = *self.starts.range(..=site).next_back()?;
        let before = *self.starts.range(..start).next_back()?;
        // The function before ends where this one begins: with its last byte, or with nothing but padding behind it.
        let last = start.checked_sub(1)?;
        let ended = self.between(before, start, last).is_some_and(|range| range.end == start)
            || self.image.array::<1>(last) == Some([bounds::PADDING]);
        let next = self.starts.range(site.checked_add(1)?..).next();
        let end = next.copied().unwrap_or(u64::MAX).min(start.saturating_add(FUNCTION_MAX));
        self.between(start, end, site).filter(|range| ended && range.start == start)
    }

    /// The function that holds an address, where one begins at `start` and none goes on at `end`.
    fn between(&self, start: u64, end: u64, site: u64) -> Option<Range<u64>> {
        let length = usize::try_from(end.checked_sub(start)?).ok()?;
        bounds::walk(&self.image.bytes(start, length), start, site)
    }
}

/// Where a call leads that may stand in a piece of code.
fn target_of(address: u64, piece: &[u8], at: usize) -> Option<u64> {
    let distance = piece.get(at.checked_add(1)?..)?.first_chunk::<4>()?;
    let next = u64::try_from(at.checked_add(CALL_LENGTH)?).ok()?;
    let next = address.wrapping_add(next);
    Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::segments::{Machine, made};

    const AT: u64 = made::CODE_AT;

    /// A call from one offset of the code to another.
    fn call(from: usize, to: usize) -> Vec<u8> {
        let next = i32::try_from(from.wrapping_add(CALL_LENGTH)).unwrap();
        let distance = i32::try_from(to).unwrap().wrapping_sub(next);
        [vec![CALL], distance.to_le_bytes().to_vec()].concat()
    }

    /// Functions at 0, 3, 12 and 14, with nothing between them; the second ends with a call that never returns.
    fn code() -> Vec<u8> {
        let mut code = vec![0x55, 0x5d, 0xc3];
        // push rbp; je +1; push rbx; call the third
        code.extend([0x55, 0x74, 0x01, 0x53]);
        code.extend(call(7, 12));
        // nop; ret; the last calls the second and the first
        code.extend([0x90, 0xc3]);
        code.extend(call(14, 3));
        code.extend(call(19, 0));
        code.push(0xc3);
        code
    }

    fn around(code: &[u8], at: u64) -> Option<Range<u64>> {
        let file = made::file(Machine::X86, code, b"");
        let image = Segments::open(&file).unwrap();
        let site = AT.wrapping_add(at);
        let range = Called::near(&image, &BTreeSet::from([site])).around(site);
        range.map(|range| range.start.wrapping_sub(AT)..range.end.wrapping_sub(AT))
    }

    #[test]
    fn function_is_told_from_its_neighbours_by_the_calls_to_them() {
        for at in 3..12 {
            assert_eq!(around(&code(), at), Some(3..12), "{at}");
        }
        for at in 12..14 {
            assert_eq!(around(&code(), at), Some(12..14), "{at}");
        }
        // Nothing calls the last one, and nothing before the first says that it begins there.
        assert_eq!((around(&code(), 15), around(&code(), 1)), (None, None));
    }

    #[test]
    fn file_with_more_calls_than_any_is_left_alone() {
        let file = made::file(Machine::X86, &code(), b"");
        let image = Segments::open(&file).unwrap();
        let site = AT.wrapping_add(8);
        let around = |most| Called::at_most(&image, &BTreeSet::from([site]), most).around(site);
        assert!(around(3).is_some());
        assert_eq!(around(2), None);
    }

    #[test]
    fn place_within_a_function_is_not_taken_for_its_begin() {
        let mut code = code();
        let at = code.len();
        // As if the second began after its first instruction, and as if it began within another one.
        for within in [4, 5] {
            code.truncate(at);
            code.extend(call(at, within));
            assert_eq!(around(&code, 8), None, "{within}");
        }
    }
}
