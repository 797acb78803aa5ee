//! The payload of a `SETTINGS` frame comes in, split anywhere; the settings that matter here go out (RFC 9113, 6.5).

/// RFC 9113, 6.5.1: identifier (2) and value (4).
const SETTING_BYTES: usize = 6;
/// RFC 9113, 6.5.2.
const HEADER_TABLE_SIZE: u16 = 1;
const MAX_FRAME_SIZE: u16 = 5;
/// RFC 9113, 6.5.2: the greatest that `MAX_FRAME_SIZE` may say.
const PAYLOAD_BYTES_MAX: u32 = (1 << 24) - 1;

/// What one side allows the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Greatest size of the HPACK dynamic table, in bytes; `None` where nothing was said.
    pub(super) table_bytes: Option<usize>,
    /// Longest frame payload, in bytes; `None` where nothing was said.
    pub(super) payload_bytes: Option<u32>,
}

/// Reader of one payload.
#[derive(Default)]
pub(super) struct SettingsReader {
    octets: [u8; SETTING_BYTES],
    filled: usize,
    settings: Settings,
}

impl SettingsReader {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for octet in bytes {
            if let Some(place) = self.octets.get_mut(self.filled) {
                *place = *octet;
            }
            self.filled = self.filled.saturating_add(1);
            if self.filled >= SETTING_BYTES {
                self.filled = 0;
                self.setting();
            }
        }
    }

    fn setting(&mut self) {
        let [id_high, id_low, value @ ..] = self.octets;
        let value = u32::from_be_bytes(value);
        match u16::from_be_bytes([id_high, id_low]) {
            HEADER_TABLE_SIZE => self.settings.table_bytes = usize::try_from(value).ok(),
            MAX_FRAME_SIZE => self.settings.payload_bytes = Some(value.min(PAYLOAD_BYTES_MAX)),
            _ => {}
        }
    }

    /// What was said; nothing where parts of it are missing.
    pub(super) fn finish(&self, spoilt: bool) -> Settings {
        if spoilt { Settings::default() } else { self.settings }
    }
}
