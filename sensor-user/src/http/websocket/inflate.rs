//! Payloads of compressed messages come in; the messages as they were before go out, within bounds (RFC 7692, 7.2).

use crate::http::Config;
use crate::http::coding::Bounds;
use crate::http::coding::CodingError;
use crate::http::coding::Inflate;

/// RFC 7692, 7.2.2: what each sender takes off the end of a message.
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// Undoes the compression of one side.
#[derive(Debug)]
pub(super) struct Inflater {
    inflate: Inflate,
    config: Config,
    bounds: Bounds,
    /// Every message begins with an empty window.
    forgets: bool,
    /// Bytes of the window are unknown: nothing that follows can be known, unless the window is emptied.
    lost: bool,
}

impl Inflater {
    pub(super) fn new(config: &Config, forgets: bool) -> Self {
        let inflate = Inflate::new(false);
        let bounds = Bounds::new(config);
        Self { inflate, config: config.clone(), bounds, forgets, lost: false }
    }

    /// Begins a message; `false` where it cannot be known.
    pub(super) fn begin(&mut self) -> bool {
        self.bounds = Bounds::new(&self.config);
        if self.forgets {
            self.inflate.restart();
            self.lost = false;
        }
        !self.lost
    }

    /// Takes bytes of a message.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CodingError> {
        self.bounds.take(input);
        let outcome = self.run(input, out);
        self.lost |= outcome.is_err();
        outcome
    }

    /// Ends a message of which all bytes were pushed.
    pub(super) fn end(&mut self, out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        let outcome = self.run(TAIL, out);
        self.lost |= outcome.is_err();
        // RFC 7692, 7.2.3.4: a last block ends the stream, and with it the window.
        if self.inflate.is_complete() {
            self.inflate.restart();
        }
        outcome
    }

    /// Bytes of a compressed message are missing.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    fn run(&mut self, input: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        let bounds = &mut self.bounds;
        let mut spend = |decoded: &[u8]| {
            bounds.spend(decoded)?;
            out(decoded);
            Ok(())
        };
        self.inflate.decode(input, &mut spend).map(|_behind_the_end| ())
    }
}
