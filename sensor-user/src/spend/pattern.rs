//! A model name comes in; whether a row of the price table is meant goes out.

/// Longest model name that is looked up, in bytes; a longer one has no price.
pub(super) const MODEL_NAME_BYTES_MAX: usize = 256;

/// Words that make another model of a name, with another price. A version or a date behind a `*` does not.
const KINDS: &[&str] = &[
    "8b",
    "audio",
    "codex",
    "cyber",
    "embedding",
    "fast",
    "image",
    "lite",
    "live",
    "max",
    "mini",
    "nano",
    "pro",
    "realtime",
    "search",
    "transcribe",
    "tts",
    "ultra",
    "video",
];

/// Globs that must all hold, joined by `&`: `*` is any run, `#` one digit, a leading `!` negates; lower case.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "String")]
pub(super) struct Pattern(Box<str>);

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(text.to_lowercase().into_boxed_str())
    }
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self::from(text.to_owned())
    }

    /// A name that is meant.
    #[cfg(test)]
    pub(super) fn sample(&self) -> String {
        self.0.split('&').next().unwrap_or_default().replace('*', "").replace('#', "1")
    }

    /// Whether a name in lower case is meant.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.split('&').all(|term| match term.strip_prefix('!') {
            Some(glob) => !glob_matches(glob.as_bytes(), name.as_bytes()),
            None => glob_matches(term.as_bytes(), name.as_bytes()),
        })
    }

    /// What the closing star of each glob stands for, up to a colon: behind it are words of gateways and of users.
    fn rests<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.split('&').filter(|term| !term.starts_with('!')).filter_map(move |term| {
            let glob = term.strip_suffix('*')?.as_bytes();
            let (begin, _) = name.char_indices().find(|(at, _)| {
                name.get(..*at).is_some_and(|begin| glob_matches(glob, begin.as_bytes()))
            })?;
            name.get(begin..)?.split(':').next()
        })
    }
}

/// Whether any of the patterns means this name.
pub(super) fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Whether any of the patterns of the row with this id means this name, and the name is of no other kind: `x*` does not
/// mean `x-lite`, for which no price is better than that of `x`. A word of the id or of any pattern is the row's own.
pub(super) fn any_of_kind(patterns: &[Pattern], id: &str, name: &str) -> bool {
    let is_own = |kind: &str| {
        words(id).any(|word| word.eq_ignore_ascii_case(kind))
            || patterns.iter().any(|pattern| words(&pattern.0).any(|word| word == kind))
    };
    let is_other = |word: &str| KINDS.contains(&word) && !is_own(word);
    patterns
        .iter()
        .any(|pattern| pattern.matches(name) && !pattern.rests(name).flat_map(words).any(is_other))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
}

fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut glob, mut text) = (glob, text);
    // Where to go on after a mismatch: behind the last star, one byte of text later.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob.split_first(), text.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, text));
                glob = after;
            }
            (Some((want, after)), Some((byte, rest)))
                if want == byte || (*want == b'#' && byte.is_ascii_digit()) =>
            {
                (glob, text) = (after, rest);
            }
            (None, None) => return true,
            _ => {
                let Some((after, from)) = retry else { return false };
                let Some((_, later)) = from.split_first() else { return false };
                retry = Some((after, later));
                (glob, text) = (after, later);
            }
        }
    }
}

/// Writes compact dates out (`-20251211` becomes `-2025-12-11`): gateways shorten them, the table does not.
pub(super) fn with_full_dates(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len().saturating_add(8));
    let mut changed = false;
    let mut parts = name.split('-');
    out.push_str(parts.next()?);
    for part in parts {
        out.push('-');
        let (date, tail) =
            part.split_once(':').map_or((part, None), |(date, tail)| (date, Some(tail)));
        match full_date(date) {
            Some(full) => {
                changed = true;
                out.push_str(&full);
            }
            None => out.push_str(date),
        }
        if let Some(tail) = tail {
            out.push(':');
            out.push_str(tail);
        }
    }
    changed.then_some(out)
}

fn full_date(word: &str) -> Option<String> {
    if word.len() != 8 || !word.starts_with("20") || !word.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let (year, rest) = word.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    let full = format!("{year}-{month}-{day}");
    full.parse::<jiff::civil::Date>().is_ok().then_some(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_the_whole_name() {
        const CASES: &[(&str, &str, bool)] = &[
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5-mini", false),
            ("gpt-5*", "gpt-5-mini", true),
            ("*haiku", "claude-haiku", true),
            ("*o4-mini*", "my-o4-mini-eu", true),
            ("gpt-5-####-##-##", "gpt-5-2025-08-07", true),
            ("gpt-5-####-##-##", "gpt-5-2025-08-0x", false),
            ("gemini-4-argon-#*", "gemini-4-argon-001", true),
            ("gemini-4-argon-#*", "gemini-4-argon-x", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("gemini-2.5-pro*&!*-tts&!*-tts-*", "gemini-2.5-pro-002", true),
            ("gemini-2.5-pro*&!*-tts&!*-tts-*", "gemini-2.5-pro-preview-tts", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ];
        for (pattern, name, expected) in CASES {
            assert_eq!(Pattern::new(pattern).matches(name), *expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_star_stands_for_no_other_kind_of_model() {
        const CASES: &[(&str, &str, &str, bool)] = &[
            ("gemini-9-flash*", "gemini-9-flash", "gemini-9-flash", true),
            ("gemini-9-flash*", "gemini-9-flash", "gemini-9-flash-preview-09-2030", true),
            ("gemini-9-flash*", "gemini-9-flash", "gemini-9-flash-lite", false),
            ("gemini-9-flash*", "gemini-9-flash", "gemini-9-flash-preview-live", false),
            ("*gemini-9-flash*", "gemini-9-flash", "us.gemini-9-flash-8b", false),
            ("gemini-9-flash*&!*-exp", "gemini-9-flash", "gemini-9-flash-lite", false),
            ("gemini-9-flash-lite*", "gemini-9-flash-lite", "gemini-9-flash-lite-001", true),
            ("gemini-9*", "Gemini-9-Lite", "gemini-9-lite", true),
            ("gemini-9* gemini-lite-latest", "gemini-9", "gemini-9-lite", true),
            ("gpt-9*", "gpt-9", "gpt-9-2030-01-01:mini", true),
            ("gpt-9-mini", "gpt-9", "gpt-9-mini", true),
            ("gpt-9*", "gpt-9", "gpt-9-minimal", true),
        ];
        for (patterns, id, name, expected) in CASES {
            let patterns: Vec<_> = patterns.split(' ').map(Pattern::new).collect();
            assert_eq!(any_of_kind(&patterns, id, name), *expected, "{id} {name}");
        }
    }

    #[test]
    fn compact_dates_are_written_out() {
        const CASES: &[(&str, Option<&str>)] = &[
            ("gpt-5.2-20251211", Some("gpt-5.2-2025-12-11")),
            ("model-20251211:free", Some("model-2025-12-11:free")),
            ("model-20250230", None),
            ("model-202512110", None),
            ("model", None),
        ];
        for (name, expected) in CASES {
            assert_eq!(with_full_dates(name).as_deref(), *expected, "{name}");
        }
    }
}
