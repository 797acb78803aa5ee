//! The first bytes of a connection come in; however they are cut, the same ClientHello must come out.

use sensor_user::destination::client_hello::{Assembler, Error, Progress};

fn outcome(pieces: &[&[u8]]) -> Result<Progress, Error> {
    let mut assembler = Assembler::default();
    for piece in pieces {
        match assembler.push(piece) {
            Ok(Progress::Incomplete) => {}
            done => return done,
        }
    }
    Ok(Progress::Incomplete)
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let whole = outcome(&[data]);
    if let Ok(Progress::Hello(hello)) = &whole {
        let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        assert!(hello.server_name.iter().all(|name| name.bytes().all(plain)), "a name is plain");
        assert_eq!(hello.ja4(false).len(), 36, "a fingerprint has one form");
        assert_eq!(hello.ja4(true).get(1..), hello.ja4(false).get(1..));
    }
    let half = data.len() / 2;
    let (first, second) = data.split_at(half);
    assert_eq!(outcome(&[first, second]), whole, "cut at {half}");
    let bytes: Vec<_> = data.chunks(1).collect();
    assert_eq!(outcome(&bytes), whole, "byte by byte");
}
