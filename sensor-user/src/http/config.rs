//! The bounds of this stage come in from the configuration; each names its unit and its reason.

use serde::Deserialize;

/// Bounds on what one connection may cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of one head (start line and header fields), or of one trailer section; servers refuse far shorter ones.
    pub head_bytes_max: usize,
    /// Header fields kept of one head; what lies beyond is left out and the head says so.
    pub header_fields_max: usize,
    /// Requests of one HTTP/1 connection that wait for their response; the oldest gives way.
    pub exchanges_pending_max: usize,
    /// Bytes of each direction of a connection joined after its start that are searched for a protocol before it is
    /// given up; 64 times as many where one side goes on alone.
    pub sniff_bytes_max: usize,
    /// Content codings stacked on one body; nobody needs more than two.
    pub codings_max: usize,
    /// Bytes one coded body may decode to, all stacked codings added; bounds the work a small body can cause.
    pub decoded_bytes_max: u64,
    /// Decoded bytes for one coded byte, judged beyond `decoded_ratio_free_bytes`; deflate cannot exceed 1032,
    /// text stays below 50.
    pub decoded_ratio_max: u64,
    /// Decoded bytes of a body that are free of the ratio: short bodies of blanks compress well and do no harm.
    pub decoded_ratio_free_bytes: u64,
    /// HTTP/2 streams of one connection followed at once; servers allow about 100.
    pub streams_max: usize,
    /// Bytes of the HPACK dynamic table of one direction (RFC 7541, 4.1); larger offers are not followed.
    pub header_table_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            header_fields_max: 256,
            exchanges_pending_max: 64,
            sniff_bytes_max: 256 * 1024,
            codings_max: 3,
            decoded_bytes_max: 256 * 1024 * 1024,
            decoded_ratio_max: 256,
            decoded_ratio_free_bytes: 4 * 1024 * 1024,
            streams_max: 256,
            header_table_bytes_max: 64 * 1024,
        }
    }
}
