//! Values of earlier stages come in; the words that events and metrics carry go out.

use crate::provider::UsageQuality;

/// `tollgate.usage.quality`.
pub(super) fn quality(quality: UsageQuality) -> &'static str {
    match quality {
        UsageQuality::Reported => "reported",
        UsageQuality::Partial => "partial",
        UsageQuality::Missing => "missing",
    }
}

/// `tollgate.coverage` of a call.
pub(super) fn coverage(is_complete: bool) -> &'static str {
    if is_complete { "complete" } else { "truncated" }
}

/// Class of an HTTP status, `none` where no response was seen.
pub(super) fn status_class(status: Option<u16>) -> &'static str {
    match status {
        Some(100..=199) => "1xx",
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(500..=599) => "5xx",
        Some(_) => "other",
        None => "none",
    }
}

/// File name of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}
