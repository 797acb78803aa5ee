//! Rows of the inventory come in; the shadow-AI report goes out as text, JSON, CSV or one self-contained page.

mod approved;
mod page;
mod sums;
mod text;

pub use approved::approved;
pub use approved::given;
pub use page::html;
pub use text::text;

use std::io::Write;

use serde::Serialize;

use crate::report::Error;
use crate::spend::format_usd;
use crate::store::Entry;

/// One row as JSON and CSV have it; what is not known is left out of the one, and empty in the other.
#[derive(Serialize)]
struct Line<'a> {
    provider: &'a str,
    category: &'a str,
    host: &'a str,
    model: &'a str,
    program: &'a str,
    user: &'a str,
    place: &'a str,
    credential_fingerprint: &'a str,
    credential_hint: &'a str,
    first_seen: String,
    last_seen: String,
    calls: u64,
    errors: u64,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_usd: Option<String>,
    calls_without_price: u64,
    calls_estimated: u64,
    truncated: u64,
    opaque: u64,
    listed: bool,
    approved: &'static str,
    decision: &'a str,
    connections_whole: u64,
    connections_partial: u64,
    missing_bytes: u64,
    opaque_estimated_tokens: Option<u64>,
    opaque_estimated_usd: Option<String>,
}

impl<'a> Line<'a> {
    fn of(entry: &'a Entry) -> Self {
        let (used, figures) = (&entry.used, &entry.figures);
        // Where no call has said how many, both are zero.
        let has_usage = figures.input_tokens != 0 || figures.output_tokens != 0;
        let (is_blind, guessed) = (figures.opaque != 0, figures.opaque_tokens);
        let is_guess_priced = figures.opaque_microdollars != 0 || (!is_blind && guessed == 0);
        Self {
            provider: &used.provider,
            category: &used.category,
            host: &used.host,
            model: &used.model,
            program: &used.program,
            user: &used.user,
            place: &used.place,
            credential_fingerprint: &used.credential,
            credential_hint: &used.credential_hint,
            first_seen: moment(figures.first_seen),
            last_seen: moment(figures.last_seen),
            calls: figures.calls,
            errors: figures.errors,
            input_tokens: has_usage.then_some(figures.input_tokens),
            output_tokens: has_usage.then_some(figures.output_tokens),
            cost_usd: (figures.calls != figures.unpriced).then(|| format_usd(figures.amount())),
            calls_without_price: figures.unpriced,
            calls_estimated: figures.estimated,
            truncated: figures.truncated,
            opaque: figures.opaque,
            listed: is_listed(entry),
            approved: entry.approved.as_str(),
            decision: &figures.decision,
            connections_whole: figures.whole,
            connections_partial: figures.partial,
            missing_bytes: figures.missing_bytes,
            opaque_estimated_tokens: (!is_blind || guessed != 0).then_some(guessed),
            opaque_estimated_usd: is_guess_priced.then(|| format_usd(figures.opaque_amount())),
        }
    }
}

/// Whether the host stands in the catalogue.
fn is_listed(entry: &Entry) -> bool {
    !matches!(entry.used.provider.as_str(), "" | "unlisted")
}

/// A time in RFC 3339.
fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// One JSON object a row.
pub fn json(entries: &[Entry], out: &mut impl Write) -> Result<(), Error> {
    for entry in entries {
        let mut line = serde_json::to_value(Line::of(entry))
            .map_err(|error| Error::Render(error.to_string()))?;
        if let Some(fields) = line.as_object_mut() {
            fields.retain(|_name, value| !value.is_null());
        }
        let line = line.to_string();
        writeln!(out, "{}", crate::report::escape::json(&line))?;
    }
    Ok(())
}

/// A header and one record a row (RFC 4180), with texts that steer neither a terminal nor a spreadsheet.
pub fn csv(entries: &[Entry], out: &mut impl Write) -> Result<(), Error> {
    let mut writer = ::csv::Writer::from_writer(out);
    let failed = |error: ::csv::Error| {
        let text = error.to_string();
        match error.into_kind() {
            ::csv::ErrorKind::Io(error) => Error::Write(error),
            _ => Error::Render(text),
        }
    };
    for entry in entries {
        let mut safe = entry.clone();
        let used = &mut safe.used;
        for text in [
            &mut used.provider,
            &mut used.category,
            &mut used.host,
            &mut used.model,
            &mut used.program,
            &mut used.user,
            &mut used.place,
            &mut used.credential,
            &mut used.credential_hint,
            &mut safe.figures.decision,
        ] {
            *text = cell(text);
        }
        writer.serialize(Line::of(&safe)).map_err(failed)?;
    }
    writer.flush()?;
    Ok(())
}

/// A text that can be seen as it is; one that a spreadsheet would take for a formula gets a quote before it.
fn cell(text: &str) -> String {
    let mut text = crate::report::escape::plain(text).into_owned();
    if text.starts_with(['=', '+', '-', '@']) {
        text.insert(0, '\'');
    }
    text
}

#[cfg(test)]
mod tests;
