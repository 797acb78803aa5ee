//! The first bytes that a socket sends come in; what its ClientHello says goes out.

mod assemble;
mod ja4;

pub use assemble::Assembler;
pub use assemble::Progress;

use super::bytes::Bytes;

/// Longest ClientHello that is put together, in bytes: four times a hello with post-quantum key shares and a resumed session.
pub const HELLO_MAX: usize = 16 * 1024;
/// Extensions, cipher suites and protocols that are looked at; more are passed over.
const ITEMS_MAX: usize = 256;

/// Handshake type of a ClientHello (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
/// `encrypted_client_hello` (RFC 9849).
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// Named groups that hold an ML-KEM or Kyber share.
const POST_QUANTUM_GROUPS: [u16; 5] = [0x11eb, 0x11ec, 0x11ed, 0x6399, 0x639a];

/// Why bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first record is of another type, or its head is malformed.
    #[error("the bytes do not begin with a TLS handshake record")]
    NotTls,
    /// The first handshake message is another one.
    #[error("the first handshake message is not a ClientHello")]
    NotAHello,
    /// It is longer than is put together.
    #[error("the ClientHello is longer than {HELLO_MAX} bytes")]
    TooLong,
    /// A field is longer than what holds it.
    #[error("the ClientHello is malformed")]
    Malformed,
}

/// What a ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Client random (RFC 8446, 4.1.2).
    pub random: [u8; 32],
    /// Name of the server, lowercase, without a final dot; `None` where there is none or it is no host name.
    pub server_name: Option<String>,
    /// Protocols offered, in order.
    pub alpn: Vec<String>,
    /// Whether it carries an encrypted hello, real or for show: the name may be that of a front.
    pub has_encrypted_hello: bool,
    /// Whether it offers a post-quantum key share.
    pub is_post_quantum: bool,
    /// Bytes of the message.
    pub length: usize,
    versions: Vec<u16>,
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    signatures: Vec<u16>,
}

impl ClientHello {
    /// Parses a handshake message; `None` while it is incomplete.
    pub fn parse(message: &[u8]) -> Result<Option<Self>, Error> {
        let mut bytes = Bytes::new(message);
        let Some(kind) = bytes.byte() else { return Ok(None) };
        if kind != CLIENT_HELLO {
            return Err(Error::NotAHello);
        }
        let Some(length) = bytes.number(3).and_then(|length| usize::try_from(length).ok()) else {
            return Ok(None);
        };
        if length > HELLO_MAX {
            return Err(Error::TooLong);
        }
        let Some(body) = bytes.take(length) else { return Ok(None) };
        let mut hello = Self::body(body).ok_or(Error::Malformed)?;
        hello.length = length.saturating_add(4);
        Ok(Some(hello))
    }

    fn body(body: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(body);
        let legacy_version = bytes.half()?;
        let random = <[u8; 32]>::try_from(bytes.take(32)?).ok()?;
        let _session = bytes.prefixed(1)?;
        let ciphers = halves(bytes.prefixed(2)?);
        let _compression = bytes.prefixed(1)?;
        let mut hello = Self { random, ciphers, ..Self::default() };
        if !bytes.is_empty() {
            let mut extensions = Bytes::new(bytes.prefixed(2)?);
            while !extensions.is_empty() && hello.extensions.len() < ITEMS_MAX {
                let kind = extensions.half()?;
                hello.extensions.push(kind);
                hello.extension(kind, extensions.prefixed(2)?)?;
            }
        }
        if hello.versions.is_empty() {
            hello.versions.push(legacy_version);
        }
        Some(hello)
    }

    fn extension(&mut self, kind: u16, data: &[u8]) -> Option<()> {
        let mut bytes = Bytes::new(data);
        match kind {
            SERVER_NAME => {
                let mut names = Bytes::new(bytes.prefixed(2)?);
                // The only type that exists is a host name (RFC 6066, 3).
                if names.byte()? == 0 {
                    self.server_name = host_name(names.prefixed(2)?);
                }
            }
            ALPN => {
                let mut protocols = Bytes::new(bytes.prefixed(2)?);
                while !protocols.is_empty() && self.alpn.len() < ITEMS_MAX {
                    let protocol = protocols.prefixed(1)?;
                    self.alpn.push(String::from_utf8_lossy(protocol).into_owned());
                }
            }
            SIGNATURE_ALGORITHMS => self.signatures = halves(bytes.prefixed(2)?),
            SUPPORTED_VERSIONS => {
                self.versions = halves(bytes.prefixed(1)?);
                self.versions.retain(|version| !is_grease(*version));
            }
            KEY_SHARE => {
                let mut shares = Bytes::new(bytes.prefixed(2)?);
                while !shares.is_empty() {
                    self.is_post_quantum |= POST_QUANTUM_GROUPS.contains(&shares.half()?);
                    let _share = shares.prefixed(2)?;
                }
            }
            ENCRYPTED_CLIENT_HELLO => self.has_encrypted_hello = true,
            _ => {}
        }
        Some(())
    }

    /// JA4 fingerprint of the client that sent it, over TCP or over QUIC.
    pub fn ja4(&self, over_quic: bool) -> String {
        ja4::fingerprint(self, over_quic)
    }
}

/// Reserved values that a client sprinkles in (RFC 8701): `0x?a?a` with equal halves.
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

fn halves(list: &[u8]) -> Vec<u16> {
    let mut bytes = Bytes::new(list);
    let mut values = Vec::new();
    while let Some(value) = bytes.half() {
        if values.len() == ITEMS_MAX {
            break;
        }
        values.push(value);
    }
    values
}

/// A name as it is compared: lowercase, no final dot, and only what a host name may hold.
pub fn host_name(name: &[u8]) -> Option<String> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let plain = name
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'));
    let fits = !name.is_empty() && name.len() <= 253;
    (plain && fits).then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

#[cfg(test)]
pub(super) mod tests;
