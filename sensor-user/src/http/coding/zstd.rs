//! Zstandard frames come in, one after the other; decoded bytes go out (RFC 8878).

use std::fmt;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::http::coding::CodingError;
use crate::http::coding::layer::{Output, STEP_BYTES};

/// RFC 9659, 3: a window of a content-coded body has at most 8 MiB; the base-two logarithm of it.
const WINDOW_LOG_MAX: u32 = 23;

/// The coding `zstd`, with its output buffer.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    buffer: Box<[u8]>,
    /// Whether the bytes so far end with a frame.
    complete: bool,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").field("complete", &self.complete).finish_non_exhaustive()
    }
}

impl Zstd {
    pub(super) fn new() -> Result<Self, CodingError> {
        let mut decoder = Decoder::new().map_err(|_refused| CodingError::Setup)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(|_refused| CodingError::Setup)?;
        Ok(Self { decoder, buffer: vec![0; STEP_BYTES].into_boxed_slice(), complete: false })
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn decode(&mut self, input: &[u8], out: &mut Output<'_>) -> Result<(), CodingError> {
        let mut source = InBuffer::around(input);
        loop {
            if source.pos() == input.len() && self.complete {
                return Ok(());
            }
            let mut target = OutBuffer::around(&mut *self.buffer);
            // A hint of zero says that a frame is complete and all of it has been handed out.
            let hint = self
                .decoder
                .run(&mut source, &mut target)
                .map_err(|_broken| CodingError::Broken)?;
            let written = target.pos();
            self.complete = hint == 0;
            if written > 0 {
                out(self.buffer.get(..written).unwrap_or_default())?;
            }
            if source.pos() == input.len() && written < self.buffer.len() {
                return Ok(());
            }
        }
    }
}
