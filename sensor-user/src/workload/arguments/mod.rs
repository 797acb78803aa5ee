//! The bytes of `/proc/PID/cmdline` come in; a bounded list of arguments without keys, prompts and code goes out.

mod options;
mod prompts;

use std::borrow::Cow;

use crate::redact::is_key;
use crate::workload::arguments::options::PROMPT_OPTIONS;
use crate::workload::arguments::options::TEXT_OPTIONS;
use crate::workload::arguments::options::VALUE_OPTIONS;
use crate::workload::arguments::options::is_number;
use crate::workload::arguments::options::is_password;
use crate::workload::arguments::options::is_port;
use crate::workload::arguments::options::takes_secret;
use crate::workload::arguments::prompts::Expects;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// Arguments kept; what lies beyond is counted in one last `…` entry.
const ARGUMENTS_MAX: usize = 48;
/// Bytes kept of one argument.
const ARGUMENT_BYTES_MAX: usize = 256;

/// Redacts the arguments of a process. What is written as a text (with blanks, quotes, brackets) is taken out as a
/// whole: it may be a prompt; so are words in a row that read like one. What is left may hold control characters; a sink
/// escapes them.
pub(super) fn redact(cmdline: &[u8]) -> Vec<String> {
    let mut arguments = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|byte| *byte == 0);
    let Some(program) = arguments.next().filter(|_| !cmdline.is_empty()) else { return Vec::new() };
    let program = String::from_utf8_lossy(program);
    let mut kept = vec![bounded(title(&program))];
    let mut words = Words::default();
    // Its name says what the others are; how it is shown is the title's.
    let name = without_dash(&program).1.split(' ').next().unwrap_or_default();
    let _shown = words.take(name);
    let shown = arguments.by_ref().take(ARGUMENTS_MAX).map(String::from_utf8_lossy).collect();
    kept.extend(words.take_all(name, shown).into_iter().map(bounded));
    if arguments.next().is_some() {
        kept.push("…".to_owned());
    }
    kept
}

/// The first argument: many programs write a title with blanks over it, some of them their whole command line.
fn title(program: &str) -> String {
    let (dash, rest) = without_dash(program);
    let mut parts = rest.split(' ');
    let mut words = Words::default();
    let name = parts.next().unwrap_or_default();
    let mut kept = vec![words.take(name)];
    if name.ends_with(':') {
        // A daemon says in words of its own what it does: `nginx: worker process is shutting down`.
        kept.extend(parts.map(|part| words.take(part)));
    } else {
        kept.extend(words.take_all(name, parts.map(Cow::Borrowed).collect()));
    }
    format!("{dash}{}", kept.join(" "))
}

/// The name of a login shell begins with `-`.
fn without_dash(program: &str) -> (&str, &str) {
    program.strip_prefix('-').map_or(("", program), |rest| ("-", rest))
}

/// What the words so far say of the next one.
#[derive(Default)]
struct Words {
    /// The word before, where it is an option that may take the next one.
    option: String,
    /// An option said that a prompt follows.
    is_prompt: bool,
    /// What the program does with words.
    expects: Expects,
}

impl Words {
    fn take_all(&mut self, program: &str, words: Vec<Cow<'_, str>>) -> Vec<String> {
        let mut taken: Vec<_> = words
            .into_iter()
            .map(|word| {
                let kept = self.take(&word);
                (word, kept)
            })
            .collect();
        prompts::take_out_sentences(program, &mut taken);
        taken.into_iter().map(|(_, kept)| kept).collect()
    }

    fn take(&mut self, word: &str) -> String {
        let before = std::mem::take(&mut self.option);
        if word.starts_with('-') && word.len() > 1 {
            let name = word.split('=').next().unwrap_or(word);
            self.is_prompt |= PROMPT_OPTIONS.contains(&name);
            if name == word {
                options::last_of(word).clone_into(&mut self.option);
            }
            return one(word);
        }
        // `-p` is also the option for a port.
        if before == "-p" && is_port(word) {
            self.is_prompt = false;
        }
        if !word.is_empty() && takes_secret(&before, word) {
            return REDACTED.to_owned();
        }
        if self.may_be_prompt(word, &before) && !is_number(word) {
            return REDACTED.to_owned();
        }
        one(word)
    }

    fn may_be_prompt(&mut self, word: &str, before: &str) -> bool {
        let is_value = VALUE_OPTIONS.contains(&before);
        // `python3 -m llm` names a program.
        if is_value && self.expects != Expects::Anything {
            return false;
        }
        let is_expected = self.expects.take(word, !before.is_empty());
        is_expected || (self.is_prompt && !is_value)
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

/// An option of one letter with its value behind it: curl's header, body, user and certificate, a password of `mysql`.
fn joined(argument: &str) -> Option<String> {
    let (option, value) = options::joined(argument)?;
    let redacted = || Some(format!("{option}{REDACTED}"));
    match option.chars().next_back()? {
        'H' => {
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let header = value.split_once(':').filter(|(header, _)| header.chars().all(letter));
            let Some((header, _)) = header else { return redacted() };
            Some(format!("{option}{}:{REDACTED}", word(header)))
        }
        'd' if !is_number(value) => redacted(),
        'F' if value.contains('=') => redacted(),
        'u' | 'U' | 'E' if value.contains(':') => redacted(),
        // httpie's; `-agentlib:` is Java's, and behind a `=` stands the value of a longer name: `-addr=:8080`.
        'a' if option == "-a" && is_user(value) && !value.starts_with("gent") => redacted(),
        'p' if option == "-p" && is_password(argument, value) => redacted(),
        _ => None,
    }
}

/// A name with a password behind a colon.
fn is_user(value: &str) -> bool {
    value.split('=').next().is_some_and(|name| name.contains(':'))
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
