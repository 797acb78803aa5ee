//! A protected Initial packet comes in; its frames go out. The keys come from the packet itself (RFC 9001, 5.2).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{Block, BlockCipherEncrypt};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;

use super::packet::{Initial, Version};

/// Bytes of the sample from which the header's mask comes (RFC 9001, 5.4.2), counted four bytes into the packet number.
const SAMPLE_AT: usize = 4;

impl Version {
    fn salt(self) -> [u8; 20] {
        match self {
            // RFC 9001, 5.2.
            Self::One => [
                0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
                0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
            ],
            // RFC 9369, 3.3.1.
            Self::Two => [
                0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
                0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9,
            ],
        }
    }

    fn label(self, name: &str) -> String {
        match self {
            Self::One => format!("quic {name}"),
            Self::Two => format!("quicv2 {name}"),
        }
    }
}

/// The frames of a client's Initial packet; `None` where it cannot be decrypted.
pub(super) fn open(packet: &Initial<'_>) -> Option<Vec<u8>> {
    let version = packet.version;
    let (_secret, initial) = Hkdf::<Sha256>::extract(Some(&version.salt()), packet.destination);
    let mut client = [0u8; 32];
    expand(&initial, "client in", &mut client)?;
    let client = Hkdf::<Sha256>::from_prk(&client).ok()?;
    let (mut key, mut iv, mut header_key) = ([0u8; 16], [0u8; 12], [0u8; 16]);
    expand(&client, &version.label("key"), &mut key)?;
    expand(&client, &version.label("iv"), &mut iv)?;
    expand(&client, &version.label("hp"), &mut header_key)?;

    let sample_at = packet.number_at.checked_add(SAMPLE_AT)?;
    let sample = packet.bytes.get(sample_at..sample_at.checked_add(16)?)?;
    let mut mask = Block::<Aes128>::try_from(sample).ok()?;
    Aes128::new_from_slice(&header_key).ok()?.encrypt_block(&mut mask);

    let mut header = packet.bytes.get(..packet.number_at)?.to_vec();
    let first = header.first_mut()?;
    *first ^= mask.first()? & 0x0f;
    let number_len = usize::from(*first & 3).saturating_add(1);
    let sealed_at = packet.number_at.checked_add(number_len)?;
    let number = packet.bytes.get(packet.number_at..sealed_at)?;
    let number = number.iter().zip(mask.iter().skip(1)).map(|(byte, mask)| byte ^ mask);
    header.extend(number.clone());
    // A client's first packet numbers are small: what is on the wire is the whole number (RFC 9000, A.3).
    for (target, byte) in iv.iter_mut().skip(12_usize.saturating_sub(number_len)).zip(number) {
        *target ^= byte;
    }
    let sealed = Payload { msg: packet.bytes.get(sealed_at..)?, aad: &header };
    Aes128Gcm::new_from_slice(&key).ok()?.decrypt(&Nonce::from(iv), sealed).ok()
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1).
fn expand(secret: &Hkdf<Sha256>, label: &str, out: &mut [u8]) -> Option<()> {
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_len = u8::try_from(label.len().saturating_add(6)).ok()?;
    let info = [&length[..], &[label_len], b"tls13 ", label.as_bytes(), &[0]].concat();
    secret.expand(&info, out).ok()
}
