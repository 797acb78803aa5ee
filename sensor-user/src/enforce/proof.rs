//! Plaintext comes in and passes functions that stand for those of a TLS library; the record that they would send goes out.
//!
//! The gate's probes are set on these functions of the agent itself, so that judging by content is proven from the entry of a
//! write to the refusal of its record.

use std::hint::black_box;
use std::io;
use std::path::PathBuf;

/// What the proofs write stands in one record.
const RECORD_BYTES: usize = 64;
/// Head of a record of application data (RFC 8446, 5.1).
const RECORD_HEAD: [u8; 3] = [0x17, 3, 3];

/// Where the gate's probes for the proofs stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// File that holds them.
    pub file: PathBuf,
    /// Observing program whose place each takes, with the offset in the file.
    pub offsets: Vec<(&'static str, u64)>,
}

/// Stands for `SSL_write`: hands the record on while the caller is inside of it.
#[inline(never)]
extern "C" fn write_plaintext(object: u64, plaintext: u64, length: u64, record: u64) -> u64 {
    // An argument that is never used would not be handed over at all.
    let used = black_box(plaintext) ^ black_box(length);
    black_box(send_record(black_box(object), black_box(record), RECORD_BYTES as u64) ^ used)
}

/// Stands for `BIO_write`.
#[inline(never)]
extern "C" fn send_record(object: u64, record: u64, length: u64) -> u64 {
    black_box(object ^ record ^ length)
}

/// Writes plaintext through the functions that stand for a TLS library's; gives the record. `number` tells records apart.
pub(super) fn write(plaintext: &[u8], number: u8) -> Vec<u8> {
    let content = u16::try_from(RECORD_BYTES.saturating_sub(5)).unwrap_or(0).to_be_bytes();
    // Of two agents that prove at the same time, neither takes the other's records for its own.
    let unique = std::process::id().to_ne_bytes();
    let mut record = [RECORD_HEAD.as_slice(), content.as_slice(), unique.as_slice()].concat();
    record.resize(RECORD_BYTES, number);
    let address = |bytes: &[u8]| u64::try_from(bytes.as_ptr().addr()).unwrap_or(0);
    let (from, to) = (address(black_box(plaintext)), address(black_box(&record)));
    let length = u64::try_from(plaintext.len()).unwrap_or(0);
    black_box(write_plaintext(u64::from(number), from, length, to));
    record
}

/// Finds the functions in this program's own file.
pub fn places() -> io::Result<Places> {
    let file = std::fs::canonicalize("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let write: extern "C" fn(u64, u64, u64, u64) -> u64 = write_plaintext;
    let send: extern "C" fn(u64, u64, u64) -> u64 = send_record;
    let (write, send) = (write as usize, send as usize);
    let offset = |address: usize| {
        let address = u64::try_from(address).ok()?;
        maps.lines().find_map(|line| file_offset(line, address))
    };
    let found = [("tls_write", write), ("tls_write_done", write), ("bio_write", send)]
        .into_iter()
        .map(|(program, address)| Some((program, offset(address)?)))
        .collect::<Option<Vec<_>>>();
    let offsets = found.ok_or_else(|| io::Error::other("the agent's own code is not mapped"))?;
    Ok(Places { file, offsets })
}

/// Offset in its file of an address, if it is in this line's mapping (proc(5), /proc/PID/maps).
fn file_offset(line: &str, address: u64) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end, offset) = (number(start)?, number(end)?, number(fields.nth(1)?)?);
    (start..end).contains(&address).then(|| address.wrapping_sub(start).wrapping_add(offset))
}

/// A ClientHello that carries nothing but a name (RFC 8446, 4.1.2; RFC 6066, 3).
pub(super) fn hello(name: &str) -> Vec<u8> {
    let sized = |bytes: Vec<u8>| {
        let length = u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        [length.to_vec(), bytes].concat()
    };
    let entry = [vec![0], sized(name.as_bytes().to_vec())].concat();
    let extension = [vec![0, 0], sized(sized(entry))].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(sized(extension));
    let message = [vec![1, 0], sized(body)].concat();
    [vec![0x16, 3, 1], sized(message)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_proofs_are_found_in_the_own_file() {
        let found = places().unwrap();
        assert_eq!(found.offsets.len(), 3);
        assert_ne!(found.offsets[0].1, found.offsets[2].1);
        let length = std::fs::metadata(&found.file).unwrap().len();
        assert!(found.offsets.iter().all(|(_, offset)| *offset < length));
    }

    #[test]
    fn offset_is_counted_from_the_begin_of_the_file() {
        let line = "5500a000-5500f000 r-xp 00002000 fe:01 42 /usr/bin/x";
        assert_eq!(file_offset(line, 0x5500_a010), Some(0x2010));
        assert_eq!(file_offset(line, 0x5500_f000), None);
    }
}
