//! Datagrams, or the frames inside, come in; whatever they are, the name must be plain and the order must not matter.

use sensor_user::destination::quic::Assembler;

/// Runs one input: its first byte chooses between datagrams as on the wire and frames without protection.
pub(crate) fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let half = rest.len() / 2;
    let (first, second) = rest.split_at(half);
    let mut assembler = Assembler::default();
    for piece in [first, second, rest] {
        let said = if kind & 1 == 0 { assembler.push(piece) } else { assembler.push_frames(piece) };
        if let Ok(Some(hello)) = said {
            let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
            assert!(
                hello.server_name.iter().all(|name| name.bytes().all(plain)),
                "a name is plain"
            );
            assert!(hello.length <= 16 * 1024 + 4, "a hello is bounded");
        }
    }
}
