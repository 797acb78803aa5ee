//! Bytes of a kernel ring come in; a record must be what its header says, or be refused.

use sensor_user::capture::{self, Body};

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(record) = capture::decode(data) else { return };
    let captured = usize::try_from(record.header.captured).unwrap_or(usize::MAX);
    match &record.body {
        Body::Data(payload) | Body::Name(payload) | Body::Answer(payload) => {
            assert_eq!(payload.len(), captured, "the payload is what the header says");
            assert_plain(capture::host_name(payload));
        }
        Body::Opening(socket, bytes) => {
            let rest = captured.saturating_sub(size_of_val(socket));
            assert_eq!(bytes.len(), rest, "the bytes are what the header says");
            let _ends = (capture::remote_of(socket), capture::local_of(socket));
        }
        Body::Hello(hello) | Body::Question(hello) => {
            assert_plain(capture::name_of(hello));
            let _ends = (capture::remote_of(&hello.socket), capture::local_of(&hello.socket));
        }
        Body::Bound(socket) | Body::Closed(socket) | Body::Connect(socket) => {
            let port = capture::remote_of(socket).map(|remote| u32::from(remote.port()));
            assert!(port.is_none_or(|port| port == socket.remote_port), "a port is not changed");
            let _local = capture::local_of(socket);
        }
        Body::Commit | Body::Free | Body::Descriptor | Body::Exec | Body::Fork | Body::Exit => {}
    }
    // Padding behind the payload says nothing.
    let end = sensor_common::record::HEADER_LEN.saturating_add(captured);
    let exact = data.get(..end).map(|exact| format!("{:?}", capture::decode(exact)));
    assert_eq!(exact, Some(format!("{:?}", Ok::<_, capture::Error>(record))), "padding counts");
}

/// A name can stand in a terminal and in a log.
fn assert_plain(name: Option<String>) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    assert!(name.is_none_or(|name| !name.is_empty() && name.bytes().all(plain)), "a name is plain");
}
