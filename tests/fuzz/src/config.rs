//! The text of a configuration file comes in; it is refused in one line, or gives settings within their ranges.

use std::path::Path;

use sensor_user::config::Config;
use sensor_user::provider::Catalogue;
use sensor_user::spend::Prices;

/// Longest refusal, in bytes for each byte of input, beyond a fixed part: it may quote what it refuses.
const QUOTE_MAX: usize = 8;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Config::parse(text, Path::new("tollgate.toml")) {
        Ok(config) => {
            assert!(config.capture.ring_bytes.is_power_of_two(), "a ring is a power of two");
            assert_eq!(
                Config::parse(text, Path::new("again")).ok(),
                Some(config),
                "the same text, the same settings"
            );
        }
        Err(error) => {
            let told = error.to_string();
            assert!(
                told.starts_with("tollgate.toml: ") && told.len() < 1024 + text.len() * QUOTE_MAX
            );
        }
    }
    // The other two files that a user writes: what they refuse has a reason.
    let refused = Catalogue::with_overrides(text).err().map(|error| error.to_string());
    assert!(refused.is_none_or(|reason| !reason.is_empty()));
    if !text.starts_with('#') {
        // The whole table is read again each time, which is slow: only some inputs are worth it.
        return;
    }
    let refused = Prices::bundled().and_then(|prices| prices.with_overrides(text)).err();
    assert!(refused.is_none_or(|error| !error.problem.is_empty()));
}
