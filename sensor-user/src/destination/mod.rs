//! DNS messages seen on the wire come in; the addresses behind a name go out.

pub mod dns;
