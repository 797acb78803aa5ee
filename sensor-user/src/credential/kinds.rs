//! A key and the provider it was sent to come in; the row that says what it is goes out.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The rows; a test reads them, so at run time they are never malformed.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| parse(ROWS).unwrap_or_default());

/// A key that no row finds, and what is no key: a signed token, a name with a password.
pub(super) const UNKNOWN: &str = "unknown";
pub(super) const JWT: &str = "jwt";
pub(super) const BASIC: &str = "basic";
const NAMELESS: [&str; 3] = [UNKNOWN, JWT, BASIC];

const ROWS: &str = include_str!("../../data/credential_kinds.toml");

/// A form that keys have.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kind {
    pub(super) name: String,
    #[serde(default)]
    pub(super) prefix: String,
    contains: Option<String>,
    length: Option<(usize, usize)>,
    #[serde(default)]
    body: Body,
    /// Names of the providers that the row speaks of; none means all.
    #[serde(default)]
    providers: Vec<String>,
    /// For the test that proves the row.
    #[serde(rename = "example")]
    _example: String,
    #[serde(rename = "negative")]
    _negative: String,
    #[serde(rename = "source")]
    _source: String,
}

/// Characters that may follow the prefix.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    #[default]
    Any,
    Hex,
    Alnum,
    Url,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: Vec<Kind>,
}

fn parse(text: &str) -> Result<Vec<Kind>, toml::de::Error> {
    toml::from_str(text).map(|document: Document| document.kind)
}

/// Finds the row of a key: the longest prefix, then the first in the file.
pub(super) fn find(key: &[u8], provider: &str) -> Option<&'static Kind> {
    let rows = KINDS.iter().filter(|kind| kind.is_form_of(key, provider));
    rows.reduce(|best, next| if next.prefix.len() > best.prefix.len() { next } else { best })
}

/// All kinds there are, some of them more than once.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| &*kind.name).chain(NAMELESS)
}

/// The kinds that keys of a provider may be of, by what such keys begin with; those that no begin tells stand at the empty
/// one. The other conditions of a row are left out.
pub(super) fn by_prefix(provider: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::from([("", NAMELESS.to_vec())]);
    for kind in KINDS.iter().filter(|kind| kind.is_of(provider)) {
        found.entry(&*kind.prefix).or_default().push(&*kind.name);
    }
    found
}

impl Kind {
    /// Whether the row speaks of keys of a provider.
    fn is_of(&self, provider: &str) -> bool {
        self.providers.is_empty() || self.providers.iter().any(|known| known == provider)
    }

    fn is_form_of(&self, key: &[u8], provider: &str) -> bool {
        let Some(body) = key.strip_prefix(self.prefix.as_bytes()) else { return false };
        self.length.is_none_or(|(least, most)| (least..=most).contains(&key.len()))
            && self.is_of(provider)
            && body.iter().all(|byte| self.body.admits(*byte))
            && self
                .contains
                .as_ref()
                .is_none_or(|part| memchr::memmem::find(key, part.as_bytes()).is_some())
    }
}

impl Body {
    fn admits(self, byte: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::limits::KEY_PREFIX_MAX;

    /// Writes out `{n}`, `{nh}` and `{nl}` with letters that no one takes for a key.
    fn expand(form: &str) -> String {
        let mut out = String::new();
        for (index, part) in form.split(['{', '}']).enumerate() {
            if index.is_multiple_of(2) {
                out.push_str(part);
                continue;
            }
            let filler = match part.chars().last() {
                Some('h') => "decafbad",
                Some('l') => "fakekeyz",
                _ => "FAKE0key",
            };
            let count = part.trim_end_matches(['h', 'l']).parse().unwrap();
            out.extend(filler.chars().cycle().take(count));
        }
        out
    }

    #[test]
    fn every_row_finds_its_example_and_not_its_negative() {
        let document: toml::Table = ROWS.parse().unwrap();
        let rows = document["kind"].as_array().unwrap();
        assert!(rows.len() > 50);
        assert_eq!(rows.len(), KINDS.len());
        for (row, kind) in rows.iter().zip(KINDS.iter()) {
            let text = |key: &str| row[key].as_str().unwrap();
            let provider = kind.providers.first().map_or("elsewhere", String::as_str);
            let name = |form: &str| {
                find(expand(form).as_bytes(), provider).map(|found| found.name.as_str())
            };
            assert_eq!(name(text("example")), Some(text("name")), "{row}");
            assert_ne!(name(text("negative")), Some(text("name")), "{row}");
            assert!(!text("source").is_empty() && !text("name").is_empty());
            // A row that would speak of any string must at least know whose key it is.
            assert!(!kind.prefix.is_empty() || !kind.providers.is_empty(), "{row}");
        }
    }

    #[test]
    fn kinds_of_a_provider_stand_by_what_keys_begin_with() {
        let kinds = by_prefix("deepseek");
        assert_eq!(kinds["sk-"], ["openai.legacy_key", "deepseek.api_key", "generic.sk_key"]);
        assert!(!kinds.contains_key("sess-") && by_prefix("openai").contains_key("sess-"));
        assert!(by_prefix("cohere")[""].contains(&"cohere.api_key"));
        let most = usize::try_from(KEY_PREFIX_MAX).unwrap();
        assert!(KINDS.iter().all(|kind| kind.prefix.len() <= most));
    }

    #[test]
    fn names_stand_once() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| &kind.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_provider_decides_between_equal_forms() {
        const CASES: &[(&str, &str)] = &[
            ("deepseek", "deepseek.api_key"),
            ("dashscope", "dashscope.api_key"),
            ("unlisted", "generic.sk_key"),
        ];
        let key = expand("sk-{32h}");
        for (provider, name) in CASES {
            assert_eq!(find(key.as_bytes(), provider).unwrap().name, *name);
        }
        assert!(find(expand("{32h}").as_bytes(), "openai").is_none());
        assert!(find(b"", "openai").is_none());
    }
}
