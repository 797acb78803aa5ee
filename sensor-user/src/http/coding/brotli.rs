//! A brotli stream comes in; decoded bytes go out (RFC 7932).

use std::fmt;

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};

use crate::http::coding::CodingError;
use crate::http::coding::layer::{Output, STEP_BYTES};

/// The coding `br`, with its output buffer.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    buffer: Box<[u8]>,
    complete: bool,
}

impl Default for Brotli {
    fn default() -> Self {
        let alloc = StandardAlloc::default;
        Self {
            // "Strict" keeps to the windows of RFC 7932 (16 MiB); a "large window" may ask for a gibibyte.
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            buffer: vec![0; STEP_BYTES].into_boxed_slice(),
            complete: false,
        }
    }
}

impl fmt::Debug for Brotli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brotli").field("complete", &self.complete).finish_non_exhaustive()
    }
}

impl Brotli {
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn decode(&mut self, input: &[u8], out: &mut Output<'_>) -> Result<(), CodingError> {
        let (mut input_left, mut input_at) = (input.len(), 0);
        while !self.complete {
            let (mut room, mut written, mut total) = (self.buffer.len(), 0, 0);
            let result = BrotliDecompressStream(
                &mut input_left,
                &mut input_at,
                input,
                &mut room,
                &mut written,
                &mut self.buffer,
                &mut total,
                &mut self.state,
            );
            if written > 0 {
                out(self.buffer.get(..written).unwrap_or_default())?;
            }
            match result {
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::NeedsMoreInput => break,
                BrotliResult::ResultSuccess => self.complete = true,
                BrotliResult::ResultFailure => return Err(CodingError::Broken),
            }
        }
        Ok(())
    }
}
