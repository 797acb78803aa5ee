//! A DNS message comes in; the name that was asked for and the addresses of the answer go out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Records of one answer that are looked at; RFC 1035 sets no bound.
const RECORDS_MAX: u16 = 64;
/// Longest name in text (RFC 1035, 2.3.4).
const NAME_MAX: usize = 253;

const HEADER_LEN: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// Why a message was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends before it is complete; the kernel half hands on only the first kilobyte.
    #[error("the message is cut short")]
    Short,
    /// It is a question, not an answer.
    #[error("the message is not an answer")]
    NotAnAnswer,
    /// A name is not a plain host name.
    #[error("the message holds a malformed name")]
    Name,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Name that was asked for, lowercase, without the final dot.
    pub name: String,
    /// Addresses, at the end of whatever CNAME chain, each with its time to live in seconds.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// Parses an answer (RFC 1035, 4). Of a message cut short, the records that are there count.
pub fn parse(message: &[u8]) -> Result<Answer, Error> {
    let flags = half(message, 2)?;
    if flags & 0x8000 == 0 {
        return Err(Error::NotAnAnswer);
    }
    let (questions, records) = (half(message, 4)?, half(message, 6)?);
    let (name, mut at) = plain_name(message, HEADER_LEN)?;
    at = at.saturating_add(4);
    for _ in 1..questions.max(1) {
        at = skip_name(message, at)?.saturating_add(4);
    }
    let mut addresses = Vec::new();
    for _ in 0..records.min(RECORDS_MAX) {
        let Ok((next, found)) = record(message, at) else { break };
        addresses.extend(found);
        at = next;
    }
    Ok(Answer { name, addresses })
}

fn half(message: &[u8], at: usize) -> Result<u16, Error> {
    let bytes = message.get(at..at.saturating_add(2)).ok_or(Error::Short)?;
    <[u8; 2]>::try_from(bytes).ok().map(u16::from_be_bytes).ok_or(Error::Short)
}

/// Reads an uncompressed name, as a question has it; gives the offset behind it.
fn plain_name(message: &[u8], mut at: usize) -> Result<(String, usize), Error> {
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at).ok_or(Error::Short)?);
        at = at.saturating_add(1);
        if length == 0 {
            return Ok((name, at));
        }
        let label = message.get(at..at.saturating_add(length)).ok_or(Error::Short)?;
        let plain =
            label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if length > 63 || !plain || name.len().saturating_add(length) >= NAME_MAX {
            return Err(Error::Name);
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at = at.saturating_add(length);
    }
}

/// Steps over a name, compressed or not (RFC 1035, 4.1.4); never follows a pointer, so it always ends.
fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Error> {
    loop {
        let length = usize::from(*message.get(at).ok_or(Error::Short)?);
        match length {
            0 => return Ok(at.saturating_add(1)),
            1..=63 => at = at.saturating_add(length).saturating_add(1),
            192.. => return Ok(at.saturating_add(2)),
            _ => return Err(Error::Name),
        }
    }
}

/// Reads one record; gives the offset behind it and its address, if it has one.
fn record(message: &[u8], at: usize) -> Result<(usize, Option<(IpAddr, u32)>), Error> {
    let at = skip_name(message, at)?;
    let (kind, class) = (half(message, at)?, half(message, at.saturating_add(2))?);
    let ttl = message.get(at.saturating_add(4)..at.saturating_add(8)).ok_or(Error::Short)?;
    let ttl = <[u8; 4]>::try_from(ttl).ok().map(u32::from_be_bytes).ok_or(Error::Short)?;
    let length = usize::from(half(message, at.saturating_add(8))?);
    let data_at = at.saturating_add(10);
    let end = data_at.saturating_add(length);
    let data = message.get(data_at..end).ok_or(Error::Short)?;
    let address = match (kind, class) {
        (TYPE_A, CLASS_IN) => {
            <[u8; 4]>::try_from(data).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
        }
        (TYPE_AAAA, CLASS_IN) => {
            <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    };
    Ok((end, address.map(|address| (address, ttl))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `API.example.` with a CNAME, an A and an AAAA record.
    fn answer() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
        message.extend(b"\x03API\x07example\x00\x00\x01\x00\x01");
        message.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x06\x03cdn\xc0\x10");
        message.extend(b"\xc0\x29\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x02\x03");
        message.extend(b"\xc0\x29\x00\x1c\x00\x01\x00\x00\x00\x1e\x00\x10");
        message.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        message
    }

    #[test]
    fn addresses_behind_a_cname_belong_to_the_name_asked_for() {
        let found = parse(&answer()).unwrap();
        assert_eq!(found.name, "api.example");
        let expected = [("10.1.2.3", 60), ("2001:db8::1", 30)];
        assert_eq!(found.addresses, expected.map(|(address, ttl)| (address.parse().unwrap(), ttl)));
    }

    #[test]
    fn cut_answer_keeps_the_records_that_are_there() {
        let whole = answer();
        for end in 0..whole.len() {
            if let Ok(found) = parse(&whole[..end]) {
                assert!(found.addresses.len() < 2, "{end}");
            }
        }
    }

    #[test]
    fn question_and_malformed_names_are_refused() {
        let mut question = answer();
        question[2] = 0x01;
        assert_eq!(parse(&question), Err(Error::NotAnAnswer));
        let mut odd = answer();
        odd[13] = b'\x1b';
        assert_eq!(parse(&odd), Err(Error::Name));
        assert_eq!(parse(&[]), Err(Error::Short));
    }
}
