//! Bytes seen on the wire come in; the name behind a connection, and how it was said, go out.

pub mod agreement;
pub mod bytes;
pub mod client_hello;
pub mod dns;
pub mod dns_stream;
pub mod look_alike;
pub mod quic;
pub mod resolved;

pub use agreement::Agreement;
pub use agreement::Names;
pub use client_hello::ClientHello;
pub use look_alike::look_alike;
pub use resolved::Resolved;
