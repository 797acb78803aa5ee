//! An error of the TOML reader and the text it read come in; where the error is, and what was probably meant, goes out.

/// Likeness, from 0 to 1, from which on another word is suggested.
const LIKE: f64 = 0.75;

/// Line and column (both from one), the problem, and the nearest known key where a key is unknown.
pub(super) fn problem(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let column =
        before.rsplit('\n').next().map_or(0, |last| last.chars().count()).saturating_add(1);
    let message = unknown_key(error.message())
        .unwrap_or_else(|| error.message().trim_end().replace('\n', " "));
    format!("line {line}, column {column}: {message}")
}

/// Reads serde's message about an unknown field, which lists the known ones.
fn unknown_key(message: &str) -> Option<String> {
    let (unknown, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    let advice = match nearest(unknown, &known) {
        Some(key) => format!("did you mean `{key}`?"),
        None => format!("known here: `{}`", known.join("`, `")),
    };
    Some(format!("unknown key `{unknown}`; {advice}"))
}

/// The known word that is most like another, where one is.
pub(super) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|word| (strsim::jaro_winkler(unknown, word), *word))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, word)| word)
}
