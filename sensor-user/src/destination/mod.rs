//! Names and addresses seen on the wire come in; which AI provider stands behind a connection goes out.

pub mod dns;
