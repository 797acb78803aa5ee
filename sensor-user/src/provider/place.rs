//! A request head comes in; the place of its credential, and the credential itself under cover, go out.

use memchr::memmem;

use crate::http::RequestHead;
use crate::provider::CredentialPlace;
use crate::provider::catalogue::AuthPlace;
use crate::provider::catalogue::Provider;
use crate::provider::target::Target;
use crate::redact::Redacted;

/// Longest credential taken, in bytes; JSON web tokens have one or two thousand.
const SECRET_MAX: usize = 16 * 1024;
/// Longest authorization scheme, in bytes (`AWS4-HMAC-SHA256` has 16).
const SCHEME_MAX: usize = 32;

/// Header fields in which providers look for a key.
const HEADERS: &[&str] = &[
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "xi-api-key",
];
/// Query parameters in which providers look for a key.
const PARAMETERS: &[&str] = &["key", "api-key", "api_key", "access_token"];

/// Finds the credential where the provider's row says, else in the places that are usual.
pub(super) fn find(
    provider: Option<&Provider>,
    head: &RequestHead,
    target: &Target,
) -> Option<CredentialPlace> {
    let own = provider.map(|provider| provider.auth.as_slice()).unwrap_or_default();
    let mut own = own.iter();
    own.find_map(|place| match place {
        AuthPlace::Header(name) => header(head, name),
        AuthPlace::Query(name) => parameter(target, name),
        AuthPlace::Cookie(name) => cookie(head, name),
        AuthPlace::Subprotocol(prefix) => subprotocol(head, prefix),
    })
    .or_else(|| HEADERS.iter().find_map(|name| header(head, name)))
    .or_else(|| PARAMETERS.iter().find_map(|name| parameter(target, name)))
}

fn place(
    location: &'static str,
    name: &str,
    scheme: Option<String>,
    secret: &[u8],
) -> Option<CredentialPlace> {
    let fits = (1..=SECRET_MAX).contains(&secret.len());
    fits.then(|| CredentialPlace {
        location,
        name: name.to_owned(),
        scheme,
        secret: Redacted::new(secret),
    })
}

fn header(head: &RequestHead, name: &str) -> Option<CredentialPlace> {
    let value = head.headers.get(name)?.trim_ascii();
    let (scheme, secret) = split_scheme(value);
    // RFC 9110, 11.4: the scheme belongs to authorization fields; a plain key has none.
    let (scheme, secret) =
        if name.ends_with("authorization") { (scheme, secret) } else { (None, value) };
    place("header", name, scheme, secret)
}

/// Splits `Bearer xyz`; for AWS the access key id stands for the key, the signature changes with each request.
fn split_scheme(value: &[u8]) -> (Option<String>, &[u8]) {
    let space = value.iter().position(|byte| *byte == b' ');
    let Some((scheme, rest)) = space.and_then(|at| value.split_at_checked(at)) else {
        return (None, value);
    };
    let fits = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
    if scheme.is_empty() || scheme.len() > SCHEME_MAX || !scheme.iter().all(fits) {
        return (None, value);
    }
    let name = String::from_utf8_lossy(scheme).into_owned();
    let rest = rest.trim_ascii();
    let signed = scheme.ends_with(b"-HMAC-SHA256");
    let secret = if signed { access_key(rest).unwrap_or(rest) } else { rest };
    (Some(name), secret)
}

fn access_key(parameters: &[u8]) -> Option<&[u8]> {
    let at = memmem::find(parameters, b"Credential=")?.checked_add(11)?;
    parameters.get(at..)?.split(|byte| matches!(byte, b'/' | b',' | b' ')).next()
}

fn parameter(target: &Target, name: &str) -> Option<CredentialPlace> {
    place("query", name, None, target.parameter(name)?)
}

fn cookie(head: &RequestHead, name: &str) -> Option<CredentialPlace> {
    let mut cookies = head.headers.all("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    let value = cookies
        .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    place("cookie", name, None, value)
}

fn subprotocol(head: &RequestHead, prefix: &str) -> Option<CredentialPlace> {
    let mut offered = head
        .headers
        .all("sec-websocket-protocol")
        .flat_map(|line| line.split(|byte| *byte == b','));
    let secret = offered.find_map(|word| word.trim_ascii().strip_prefix(prefix.as_bytes()))?;
    place("header", "sec-websocket-protocol", None, secret)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::Header;
    use crate::http::Headers;
    use crate::http::Version;
    use crate::provider::catalogue::Catalogue;

    fn head(name: &str, value: &str) -> RequestHead {
        let name = Some(Bytes::copy_from_slice(name.as_bytes()));
        RequestHead {
            version: Version::Http11,
            method: Bytes::from_static(b"POST"),
            target: Redacted::new("/"),
            authority: Bytes::new(),
            headers: Headers {
                fields: vec![Header { name, value: Redacted::new(value) }],
                incomplete: false,
            },
        }
    }

    /// Host, header, value, target; then place, scheme and secret.
    type Case = (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        Option<(&'static str, &'static str, Option<&'static str>, &'static str)>,
    );

    const CASES: &[Case] = &[
        (
            "api.openai.com",
            "authorization",
            "Bearer fake-key-1",
            "/",
            Some(("header", "authorization", Some("Bearer"), "fake-key-1")),
        ),
        (
            "api.openai.com",
            "sec-websocket-protocol",
            "realtime, openai-insecure-api-key.fake-key-2",
            "/",
            Some(("header", "sec-websocket-protocol", None, "fake-key-2")),
        ),
        (
            "api.anthropic.com",
            "x-api-key",
            "fake-key-3",
            "/",
            Some(("header", "x-api-key", None, "fake-key-3")),
        ),
        (
            "generativelanguage.googleapis.com",
            "accept",
            "x",
            "/v1?alt=sse&key=fake-key-4",
            Some(("query", "key", None, "fake-key-4")),
        ),
        (
            "api.assemblyai.com",
            "authorization",
            "fake-key-5",
            "/",
            Some(("header", "authorization", None, "fake-key-5")),
        ),
        (
            "claude.ai",
            "cookie",
            "a=b; sessionKey=fake-key-6; c=d",
            "/",
            Some(("cookie", "sessionKey", None, "fake-key-6")),
        ),
        (
            "bedrock-runtime.eu-west-1.amazonaws.com",
            "authorization",
            "AWS4-HMAC-SHA256 Credential=FAKEKEYID7/20261123/x, SignedHeaders=host, Signature=0",
            "/",
            Some(("header", "authorization", Some("AWS4-HMAC-SHA256"), "FAKEKEYID7")),
        ),
        (
            "llm.corp.example",
            "api-key",
            "fake-key-8",
            "/",
            Some(("header", "api-key", None, "fake-key-8")),
        ),
        ("llm.corp.example", "authorization", "", "/", None),
        ("llm.corp.example", "accept", "x", "/", None),
    ];

    #[test]
    fn credentials_are_found_in_their_places() {
        let catalogue = Catalogue::bundled().unwrap();
        for (host, name, value, target, expected) in CASES {
            let found =
                find(catalogue.find(host), &head(name, value), &Target::new(target.as_bytes()));
            let found = found.map(|f| (f.location, f.name, f.scheme, f.secret));
            let expected = expected.map(|(place, name, scheme, secret)| {
                (place, name.to_owned(), scheme.map(str::to_owned), Redacted::new(secret))
            });
            assert_eq!(found, expected, "{host}");
        }
    }
}
