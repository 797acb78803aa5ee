//! UDP datagrams that a client sends first come in; the ClientHello inside their QUIC Initial packets goes out (RFC 9001, 5).
//!
//! ```text
//! datagram -> long header packets -> header protection off -> AEAD off -> CRYPTO frames -> ClientHello
//! ```

mod frames;
mod keys;
mod packet;

use super::client_hello;
use super::client_hello::ClientHello;

use self::frames::Crypto;
use self::packet::Initial;

/// Coalesced packets of one datagram that are looked at.
const PACKETS_MAX: usize = 4;

/// Why a datagram is not a client's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a QUIC packet with a long header, or cut short.
    #[error("the datagram does not begin with a QUIC long header packet")]
    NotQuic,
    /// A version whose keys are not known.
    #[error("the QUIC version {0:#010x} is not known")]
    Version(u32),
    /// The packet cannot be decrypted: it is damaged, or not the client's.
    #[error("the QUIC Initial packet cannot be decrypted")]
    Sealed,
    /// A frame that no client puts into an Initial packet, or a malformed one.
    #[error("the QUIC Initial packet holds a malformed frame")]
    Frame,
    /// The CRYPTO stream is no ClientHello.
    #[error("the QUIC handshake does not begin with a ClientHello")]
    Hello(#[source] client_hello::Error),
}

/// Puts the ClientHello of one QUIC connection together, whatever the order of its packets.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    crypto: Crypto,
}

impl Assembler {
    /// Takes the next datagram; `None` while the ClientHello is incomplete.
    pub fn push(&mut self, datagram: &[u8]) -> Result<Option<Box<ClientHello>>, Error> {
        let mut rest = datagram;
        for round in 0..PACKETS_MAX {
            let (initial, behind) = match packet::next(rest) {
                Ok(found) => found,
                // Padding behind the first packet is no packet.
                Err(_) if round > 0 => break,
                Err(error) => return Err(error),
            };
            rest = behind;
            if let Some(initial) = initial {
                self.initial(&initial)?;
            }
            if rest.is_empty() {
                break;
            }
        }
        self.hello()
    }

    /// Takes the frames of a packet whose protection is off already.
    pub fn push_frames(&mut self, frames: &[u8]) -> Result<Option<Box<ClientHello>>, Error> {
        self.crypto.take(frames)?;
        self.hello()
    }

    /// Whether anything of a hello has come.
    pub fn is_begun(&self) -> bool {
        self.crypto.is_begun()
    }

    fn initial(&mut self, initial: &Initial<'_>) -> Result<(), Error> {
        let plain = keys::open(initial).ok_or(Error::Sealed)?;
        self.crypto.take(&plain)
    }

    fn hello(&self) -> Result<Option<Box<ClientHello>>, Error> {
        let hello = ClientHello::parse(self.crypto.contiguous()).map_err(Error::Hello)?;
        Ok(hello.map(Box::new))
    }
}

#[cfg(test)]
mod tests;
