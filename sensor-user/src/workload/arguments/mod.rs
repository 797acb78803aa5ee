//! The bytes of `/proc/PID/cmdline` come in; a bounded list of arguments without keys, prompts and code goes out.

use crate::redact::is_key;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// Arguments kept; what lies beyond is counted in one last `…` entry.
const ARGUMENTS_MAX: usize = 48;
/// Bytes kept of one argument.
const ARGUMENT_BYTES_MAX: usize = 256;

/// Parts of a name behind which a secret stands.
const SECRET_NAMES: [&str; 22] = [
    "key",
    "apikey",
    "keys",
    "token",
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "cookies",
    "session",
    "signature",
    "sig",
    "jwt",
];

/// Options whose value is text for a model or a server: a prompt, a body, a header, code.
const TEXT_OPTIONS: [&str; 26] = [
    "-d",
    "-F",
    "-H",
    "-p",
    "-b",
    "-e",
    "--data",
    "--data-raw",
    "--data-binary",
    "--data-urlencode",
    "--data-ascii",
    "--json",
    "--form",
    "--header",
    "--prompt",
    "--print",
    "--message",
    "--messages",
    "--system",
    "--system-prompt",
    "--append-system-prompt",
    "--input",
    "--text",
    "--query",
    "--eval",
    "--instructions",
];

/// Redacts the arguments of a process. What is written as a text (with blanks, quotes, brackets) is taken out as a
/// whole: it may be a prompt. What is left may hold control characters; a sink escapes them.
pub(super) fn redact(cmdline: &[u8]) -> Vec<String> {
    let mut arguments = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|byte| *byte == 0);
    let Some(program) = arguments.next().filter(|_| !cmdline.is_empty()) else { return Vec::new() };
    let mut kept = vec![bounded(title(&String::from_utf8_lossy(program)))];
    let mut is_value_secret = false;
    for argument in arguments.by_ref().take(ARGUMENTS_MAX) {
        let argument = String::from_utf8_lossy(argument);
        let is_option = argument.starts_with('-') && argument.len() > 1;
        let is_secret = is_value_secret && !is_option && !is_number(&argument);
        is_value_secret = is_option && !argument.contains('=') && takes_secret(&argument);
        kept.push(if is_secret { REDACTED.to_owned() } else { bounded(one(&argument)) });
    }
    if arguments.next().is_some() {
        kept.push("…".to_owned());
    }
    kept
}

/// The first argument: many programs write a title with blanks over it.
fn title(program: &str) -> String {
    let words: Vec<_> = program.split(' ').map(one).collect();
    words.join(" ")
}

fn one(argument: &str) -> String {
    if is_text(argument) {
        return REDACTED.to_owned();
    }
    if let Some((scheme, rest)) = argument.split_once("://") {
        return url(scheme, rest);
    }
    for separator in ['=', ':'] {
        if let Some((name, value)) = argument.split_once(separator)
            && !value.is_empty()
            && (is_secret_name(name) || TEXT_OPTIONS.contains(&name))
        {
            return format!("{name}{separator}{REDACTED}");
        }
    }
    if let Some((name, value)) = argument.split_once('=') {
        return format!("{}={}", word(name), one(value));
    }
    word(argument)
}

/// Scheme, host and path of a URL; user information, query and fragment are taken out.
fn url(scheme: &str, rest: &str) -> String {
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (place, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (authority, path) =
        place.find('/').and_then(|slash| place.split_at_checked(slash)).unwrap_or((place, ""));
    let user = if authority.contains('@') { "[redacted]@" } else { "" };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let query = if behind.is_empty() { String::new() } else { format!("?{REDACTED}") };
    // `--base-url=https://…` and `HTTP_PROXY=http://…` keep their name.
    let scheme = scheme
        .split_once('=')
        .map_or_else(|| word(scheme), |(name, scheme)| format!("{}={scheme}", word(name)));
    format!("{scheme}://{user}{}{}{query}", word(host), word(path))
}

/// Each part of a path, or the whole word, is replaced where it looks like a key.
fn word(text: &str) -> String {
    let parts: Vec<_> =
        text.split('/').map(|part| if is_key(part) { REDACTED } else { part }).collect();
    parts.join("/")
}

/// Blanks, quotes, brackets: prose, JSON, a header, code. So are letters beyond ASCII outside a path.
fn is_text(argument: &str) -> bool {
    let sign = |c: char| {
        c.is_whitespace()
            || matches!(c, '{' | '}' | '"' | '\'' | '`' | '<' | '>' | '(' | ')' | ';' | '$')
    };
    argument.contains(sign) || (!argument.is_ascii() && !argument.contains('/'))
}

fn takes_secret(option: &str) -> bool {
    TEXT_OPTIONS.contains(&option) || is_secret_name(option) || option == "-u"
}

/// `--api-key`, `OPENAI_API_KEY`, `apiKey`, `x-api-key`; but not `--max-tokens`, `--keyboard`, `--author`.
fn is_secret_name(name: &str) -> bool {
    let mut spaced = String::with_capacity(name.len());
    let mut before_is_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && before_is_lower {
            spaced.push('-');
        }
        before_is_lower = c.is_ascii_lowercase();
        spaced.push(c.to_ascii_lowercase());
    }
    spaced
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| SECRET_NAMES.contains(&part) || part.ends_with("apikey"))
}

fn is_number(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn bounded(mut text: String) -> String {
    if text.len() > ARGUMENT_BYTES_MAX {
        let end = text.floor_char_boundary(ARGUMENT_BYTES_MAX);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
