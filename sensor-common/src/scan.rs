//! The agreement about the scanner of requests comes in one place: its table, its marks, the bytes it runs over.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::{HEAD_BYTES_MAX, KEY_BLOCKS_MAX};

/// Marks that the scanner leaves in a request: where a part begins (its first byte) or ends (one behind its last).
/// Mark 0 means nothing.
pub const MARKS_MAX: usize = 16;
/// The blank before the path.
pub const MARK_PATH: usize = 1;
/// The blank behind the path.
pub const MARK_PATH_END: usize = 2;
/// First byte of `Host`.
pub const MARK_HOST: usize = 3;
/// End of `Host`.
pub const MARK_HOST_END: usize = 4;
/// First byte of the credential, without its scheme.
pub const MARK_KEY: usize = 5;
/// End of the credential.
pub const MARK_KEY_END: usize = 6;
/// End of the head.
pub const MARK_HEAD_END: usize = 7;
/// First byte of the model's name in the body.
pub const MARK_MODEL: usize = 8;
/// End of the model's name.
pub const MARK_MODEL_END: usize = 9;
/// First byte of the model's name in the path.
pub const MARK_NAMED: usize = 10;
/// End of the model's name in the path.
pub const MARK_NAMED_END: usize = 11;
/// Something that may name a model cannot be read.
pub const MARK_UNCLEAR: usize = 12;
/// The connection is asked to become a WebSocket.
pub const MARK_UPGRADE: usize = 13;
/// First byte of a model's name that is found where nothing tells whether it is the request's own.
pub const MARK_LOOSE: usize = 14;
/// End of that name.
pub const MARK_LOOSE_END: usize = 15;
/// States of the scanner at most: its table is indexed by state and byte.
pub const SCANNER_STATES_MAX: usize = 256;
/// Entries of the scanner's table: the next state, and the mark in the upper byte.
pub const SCANNER_TABLE_LEN: usize = SCANNER_STATES_MAX * 256;
/// State at the begin of a head.
pub const SCANNER_HEAD: u32 = 0;
/// State at the begin of a body.
pub const SCANNER_BODY: u32 = 1;
/// State within something of which the begin was not seen.
pub const SCANNER_FLAT: u32 = 2;

/// The begin of a request while it is judged.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// The bytes.
    pub bytes: [u8; HEAD_BYTES_MAX],
    /// The credential in whole blocks of the hash, padded.
    pub blocks: [u8; KEY_BLOCKS_MAX * 64],
    /// Words of the block that is being hashed.
    pub words: [u32; 16],
    /// Where the marks were set last.
    pub marks: [u32; MARKS_MAX],
    /// How often each was set.
    pub counts: [u32; MARKS_MAX],
    /// Bytes that are valid.
    pub length: u32,
    /// State of the scanner.
    pub state: u32,
    /// Begin and length of the part that is being looked at.
    pub span: [u32; 2],
    /// Where the bytes behind those held stand in the process.
    pub buffer: u64,
    /// How many these are.
    pub rest: u64,
    /// Looks at the write after the first.
    pub looks: u32,
    /// State of the scanner where the next look begins.
    pub resumed: u32,
}
