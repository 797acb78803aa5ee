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
const TEXT_OPTIONS: [&str; 28] = [
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
    "--form-string",
    "--header",
    "--proxy-header",
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

/// Options behind which a prompt may go on without quotes, word by word.
const PROMPT_OPTIONS: [&str; 7] =
    ["-p", "--prompt", "--print", "--message", "--query", "--text", "--instructions"];

/// Options whose value is no part of a prompt.
const VALUE_OPTIONS: [&str; 6] =
    ["-m", "--model", "--output-format", "--max-tokens", "--temperature", "--host"];

/// Options whose value is a user, with a password behind a colon.
const USER_OPTIONS: [&str; 3] = ["--user", "--proxy-user", "-U"];

/// Redacts the arguments of a process. What is written as a text (with blanks, quotes, brackets) is taken out as a
/// whole: it may be a prompt. What is left may hold control characters; a sink escapes them.
pub(super) fn redact(cmdline: &[u8]) -> Vec<String> {
    let mut arguments = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|byte| *byte == 0);
    let Some(program) = arguments.next().filter(|_| !cmdline.is_empty()) else { return Vec::new() };
    let mut kept = vec![bounded(title(&String::from_utf8_lossy(program)))];
    let mut words = Words::default();
    let shown = arguments.by_ref().take(ARGUMENTS_MAX);
    kept.extend(shown.map(|argument| bounded(words.take(&String::from_utf8_lossy(argument)))));
    if arguments.next().is_some() {
        kept.push("…".to_owned());
    }
    kept
}

/// The first argument: many programs write a title with blanks over it, some of them their whole command line.
fn title(program: &str) -> String {
    let mut words = Words::default();
    // The name of a login shell begins with `-`.
    let (dash, rest) = program.strip_prefix('-').map_or(("", program), |rest| ("-", rest));
    let kept: Vec<_> = rest.split(' ').map(|word| words.take(word)).collect();
    format!("{dash}{}", kept.join(" "))
}

/// What the words so far say of the next one.
#[derive(Default)]
struct Words {
    /// The word before, where it is an option that may take the next one.
    option: String,
    /// An option said that a prompt follows.
    is_prompt: bool,
}

impl Words {
    fn take(&mut self, word: &str) -> String {
        let before = std::mem::take(&mut self.option);
        if word.starts_with('-') && word.len() > 1 {
            let name = word.split('=').next().unwrap_or(word);
            self.is_prompt |= PROMPT_OPTIONS.contains(&name);
            if name == word {
                word.clone_into(&mut self.option);
            }
            return one(word);
        }
        // `-p` is also the option for a port.
        if before == "-p" && is_port(word) {
            self.is_prompt = false;
        }
        let is_value = takes_secret(&before, word);
        let is_prompt = self.is_prompt && !VALUE_OPTIONS.contains(&before.as_str());
        let is_secret = (is_value || is_prompt) && !is_number(word);
        if is_secret && !word.is_empty() { REDACTED.to_owned() } else { one(word) }
    }
}

fn one(argument: &str) -> String {
    if is_text(argument) {
        return REDACTED.to_owned();
    }
    if let Some(kept) = joined(argument) {
        return kept;
    }
    if argument.contains("://") { links(argument) } else { pairs(argument) }
}

/// An option of one letter with its value behind it: curl's header, body and user.
fn joined(argument: &str) -> Option<String> {
    let (option, value) = argument.split_at_checked(2).filter(|(_, value)| !value.is_empty())?;
    match option {
        "-H" => {
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let header = value.split_once(':').filter(|(header, _)| header.chars().all(letter));
            Some(header.map_or_else(
                || format!("{option}{REDACTED}"),
                |(header, _)| format!("{option}{}:{REDACTED}", word(header)),
            ))
        }
        "-d" if !is_number(value) => Some(format!("{option}{REDACTED}")),
        "-u" | "-U" if value.contains(':') => Some(format!("{option}{REDACTED}")),
        _ => None,
    }
}

/// Names and values, parted by `=` or `:`; what stands behind the name of a secret, and before an `@`, is taken out.
fn pairs(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let at = text.rfind('@');
    let mut rest = text;
    while let Some((name, separator, value)) = pair(rest) {
        if !value.is_empty() && takes_secret(name, value) {
            kept.extend([word(name).as_str(), separator, REDACTED]);
            return kept;
        }
        // What is left is always an end of the text.
        let begin = text.len().saturating_sub(value.len());
        let place = at
            .filter(|at| separator == ":" && *at > begin)
            .and_then(|at| text.get(at.saturating_add(1)..));
        if let Some(place) = place {
            kept.extend([REDACTED, "@"]);
            rest = place;
        } else {
            kept.extend([word(name).as_str(), separator]);
            rest = value;
        }
    }
    kept + &word(rest)
}

/// Parts at the first `=` or `:`, whichever it is: a value may hold the other.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let (name, behind) = text.split_at_checked(text.find(['=', ':'])?)?;
    let (separator, value) = behind.split_at_checked(1)?;
    Some((name, separator, value))
}

/// One URL or several in an argument, with what stands before them: `--base-url=https://…`, `HTTP_PROXY=http://…`.
fn links(argument: &str) -> String {
    let mut parts = argument.split("://").peekable();
    let (before, scheme) = scheme_of(parts.next().unwrap_or_default());
    let name = before.trim_end_matches(['=', ':']);
    let is_url = scheme.starts_with("http") && !TEXT_OPTIONS.contains(&name);
    if name.len() < before.len() && takes_secret(name, scheme) && !is_url {
        return format!("{}{REDACTED}", pairs(before));
    }
    let mut kept = pairs(before) + &word(scheme);
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let (place, scheme) = if is_last { (part, "") } else { scheme_of(part) };
        kept.push_str("://");
        let (shown, behind) = place.split_at_checked(query_at(place)).unwrap_or((place, ""));
        kept.push_str(&url(shown));
        if !behind.is_empty() {
            // Whatever follows may be a part of the query.
            kept.extend(["?", REDACTED]);
            return kept;
        }
        // A password may hold `://` too.
        let scheme = if place.ends_with(':') { REDACTED.to_owned() } else { word(scheme) };
        kept.push_str(&scheme);
    }
    kept
}

fn query_at(place: &str) -> usize {
    place.find(['?', '#']).unwrap_or(place.len())
}

/// What stands before a scheme at the end of a text, and the scheme.
fn scheme_of(text: &str) -> (&str, &str) {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let before = text.trim_end_matches(letter);
    (before, text.get(before.len()..).unwrap_or_default())
}

/// Host and path of a URL; the user's name and password are taken out.
fn url(place: &str) -> String {
    let (authority, path) =
        place.find('/').and_then(|slash| place.split_at_checked(slash)).unwrap_or((place, ""));
    let user = if authority.contains('@') { "[redacted]@" } else { "" };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{user}{}{}", word(host), pairs(path))
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
    argument.contains(sign) || (!argument.is_ascii() && !is_path(argument))
}

/// A path, or the name of a setting with a path: a `/` alone stands in texts too.
fn is_path(argument: &str) -> bool {
    let begins = |text: &str| ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
    let set = argument.split_once('=').filter(|(name, _)| name.is_ascii());
    begins(argument) || set.is_some_and(|(_, value)| begins(value))
}

fn takes_secret(option: &str, value: &str) -> bool {
    TEXT_OPTIONS.contains(&option)
        || is_secret_name(option)
        || option == "-u"
        || (USER_OPTIONS.contains(&option) && value.contains(':'))
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

/// A port, or several: `8080`, `127.0.0.1:8080:80`, `8000-8010`.
fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || b":.-".contains(&byte))
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
