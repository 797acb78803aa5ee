//! A request target comes in; path segments, query parameters and a path fit to be shown go out.

use crate::redact::is_key;

/// Longest path kept, in bytes; longer ones are cut (Bedrock's ARNs have about 200).
const PATH_MAX: usize = 1024;
/// Most segments looked at: the longest known path has 13.
const SEGMENTS_MAX: usize = 32;

/// Beginnings of identifiers that providers give out.
const ID_PREFIXES: &[&str] = &[
    "asst_",
    "batch_",
    "call_",
    "chatcmpl-",
    "conv_",
    "file-",
    "file_",
    "ft-",
    "ftjob-",
    "gen-",
    "msg_",
    "msgbatch_",
    "org-",
    "proj_",
    "req_",
    "resp_",
    "run_",
    "step_",
    "thread_",
    "upload_",
    "user-",
    "vs_",
    "wrkspc_",
    "arn:",
];

/// Segments whose successor is a name given by a customer.
const ID_PARENTS: &[&str] =
    &["accounts", "deployments", "organizations", "projects", "serving-endpoints"];

/// A request target, split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// Path without query, percent-decoded except for encoded slashes.
    pub(super) path: String,
    query: Vec<u8>,
}

impl Target {
    /// Splits the target of a request line or `:path`; bytes that are no UTF-8 are replaced.
    pub(super) fn new(target: &[u8]) -> Self {
        let at = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
        let (path, query) = target.split_at_checked(at).unwrap_or((target, &[]));
        let path = path.get(..PATH_MAX).unwrap_or(path);
        Self { path: decode(path), query: query.get(1..).unwrap_or_default().to_vec() }
    }

    /// Whether HPACK state was missing, so that there is no path.
    pub(super) fn is_unknown(&self) -> bool {
        self.path.is_empty()
    }

    /// The path's segments, empty ones left out.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|segment| !segment.is_empty()).take(SEGMENTS_MAX).collect()
    }

    /// The same path with segments where its slashes are encoded, as some servers read it.
    pub(super) fn parted(&self) -> Self {
        let path = self.path.replace("%2F", "/").replace("%2f", "/");
        Self { path, query: Vec::new() }
    }

    /// Value of a query parameter, as written.
    pub(super) fn parameter(&self, name: &str) -> Option<&[u8]> {
        let mut pairs = self.query.split(|byte| *byte == b'&');
        pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// The path with `{id}` for whatever names one object, customer or person, and `{…}` for what may be a key or a text:
    /// some services take a query or another URL as a segment.
    pub(super) fn shown(&self) -> String {
        let mut shown = String::new();
        let mut parent = "";
        for segment in self.segments() {
            shown.push('/');
            let id = ID_PARENTS.contains(&parent) || is_id(segment);
            // A verb may hang on the name: `/batches/123:cancel`.
            let verb = segment.rsplit_once(':').map(|(_, verb)| verb).filter(|verb| is_word(verb));
            match (id, verb) {
                (true, Some(verb)) => shown.extend(["{id}:", verb]),
                (true, None) => shown.push_str("{id}"),
                (false, _) => shown.push_str(if is_plain(segment) { segment } else { "{…}" }),
            }
            parent = segment;
        }
        if shown.is_empty() && !self.is_unknown() {
            shown.push('/');
        }
        shown
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // A key can stand in the query.
        zeroize::Zeroize::zeroize(&mut self.query);
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Whether a segment looks like an identifier rather than a word of an API or a model's name.
fn is_id(segment: &str) -> bool {
    let name = segment.split(':').next().unwrap_or(segment);
    let prefixed = |prefix: &&str| {
        segment.len() > prefix.len().saturating_add(3) && segment.starts_with(*prefix)
    };
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let hex = name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    ID_PREFIXES.iter().any(prefixed)
        || (digits >= 4 && digits == name.len())
        || (hex && digits > 0 && name.len() >= 16)
        || (plain && digits > 1 && name.len() >= 20)
        || segment.len() > 128
        || segment.contains('@') && segment.contains('.') && !segment.starts_with('@')
}

/// Whether a segment can be a word of an API or a model's name: of their letters, and no key.
fn is_plain(segment: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    segment.bytes().all(letter) && !is_key(segment)
}

/// Resolves percent escapes, except `%2F`, which would make new segments.
fn decode(path: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| after.split_at_checked(2)).flatten();
        let value = escaped.and_then(|(hex, _)| {
            u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok().filter(|v| *v != b'/')
        });
        bytes.push(value.unwrap_or(*byte));
        rest = escaped.filter(|_| value.is_some()).map_or(after, |(_, behind)| behind);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_replaced_and_words_and_models_stay() {
        const CASES: &[(&str, &str)] = &[
            ("/v1/chat/completions?x=1", "/v1/chat/completions"),
            ("/v1/responses/resp_68af00/cancel", "/v1/responses/{id}/cancel"),
            ("/v1/threads/thread_abc123/messages", "/v1/threads/{id}/messages"),
            ("/v1/files/file-abc123/content", "/v1/files/{id}/content"),
            ("/x/6b8f7a0e-1111-2222-3333-444455556666", "/x/{id}"),
            (
                "/openai/deployments/prod-gpt/chat/completions",
                "/openai/deployments/{id}/chat/completions",
            ),
            ("/v1/models/claude-sonnet-4-5-20250929", "/v1/models/claude-sonnet-4-5-20250929"),
            (
                "/v1beta/models/gemini-2.5-pro:generateContent",
                "/v1beta/models/gemini-2.5-pro:generateContent",
            ),
            ("/v1/projects/my-project/locations/eu/x", "/v1/projects/{id}/locations/eu/x"),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ax%2Fy/converse",
                "/model/{id}/converse",
            ),
            (
                "/model/global.anthropic.claude-v1%3A0/converse",
                "/model/global.anthropic.claude-v1:0/converse",
            ),
            ("/batches/12345678:cancel", "/batches/{id}:cancel"),
            ("/", "/"),
            ("", ""),
        ];
        for (target, shown) in CASES {
            assert_eq!(Target::new(target.as_bytes()).shown(), *shown);
        }
    }

    #[test]
    fn texts_and_keys_in_the_path_are_not_shown() {
        const CASES: &[(&str, &str)] = &[
            ("/our%20secret%20merger", "/{…}"),
            ("/our+secret+merger", "/{…}"),
            ("/https%3A%2F%2Fa.example%2Fx%3Ftoken%3Dabc", "/{…}"),
            ("/https://a.example/x%3Ftoken=abc/y", "/https:/a.example/{…}/y"),
            ("/sk-ant-api03-not-a-real-key/v1/messages", "/{…}/v1/messages"),
            ("/v1/%E8%B3%AA%E5%95%8F", "/v1/{…}"),
            ("/v1/a%0Ab", "/v1/{…}"),
            ("/v1/a%ff", "/v1/{…}"),
            ("/@cf/meta/llama-3.3-70b_x:free", "/@cf/meta/llama-3.3-70b_x:free"),
            ("/xai_api.Chat/GetCompletion", "/xai_api.Chat/GetCompletion"),
        ];
        for (target, shown) in CASES {
            assert_eq!(Target::new(target.as_bytes()).shown(), *shown);
        }
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let target = Target::new(b"/v1?monkey=0&key=not-a-real-key&alt=sse");
        assert_eq!(target.parameter("key"), Some(&b"not-a-real-key"[..]));
        assert_eq!(target.parameter("alt"), Some(&b"sse"[..]));
        assert_eq!(target.parameter("ke"), None);
    }

    #[test]
    fn encoded_slashes_make_segments_for_those_who_ask() {
        let target = Target::new(b"/v1%2Fchat%2fcompletions");
        assert_eq!(target.segments(), ["v1%2Fchat%2fcompletions"]);
        assert_eq!(target.parted().segments(), ["v1", "chat", "completions"]);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(Target::new(b"/a%2/%zz/%").path, "/a%2/%zz/%");
        assert_eq!(Target::new(b"/a%2Fb/%41").path, "/a%2Fb/A");
    }
}
