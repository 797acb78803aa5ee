//! The kernel/user ABI comes in one place: records, map keys and values, names, limits; both halves compile it.
#![no_std]
#![forbid(unsafe_code)]

pub mod forms;
pub mod gate;
pub mod kinds;
pub mod limits;
pub mod names;
pub mod record;
pub mod scan;
pub mod sha256;
pub mod state;

/// Version of everything in this crate; the agent refuses a kernel half that carries another.
pub const ABI_VERSION: u32 = 11;
