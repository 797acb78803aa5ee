//! Names of options and settings come in; whether a secret or a text stands behind them goes out.

/// Parts of a name behind which a secret stands.
const SECRET_NAMES: [&str; 23] = [
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
    "pat",
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

/// Ends of such parts where words are run together: `PGPASSWORD`, `--authtoken`; not `--max-tokens`.
const SECRET_ENDS: [&str; 6] = ["apikey", "password", "passwd", "passphrase", "token", "secret"];

/// Options whose value is text for a model or a server: a prompt, a body, a header, code.
pub(super) const TEXT_OPTIONS: [&str; 28] = [
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
pub(super) const PROMPT_OPTIONS: [&str; 7] =
    ["-p", "--prompt", "--print", "--message", "--query", "--text", "--instructions"];

/// Options whose value is no part of a prompt.
pub(super) const VALUE_OPTIONS: [&str; 6] =
    ["-m", "--model", "--output-format", "--max-tokens", "--temperature", "--host"];

/// Options whose value is a user or a certificate, with a password behind a colon.
const USER_OPTIONS: [&str; 7] =
    ["--user", "--proxy-user", "-U", "-a", "--cert", "--proxy-cert", "-E"];

/// Options of one letter that may end a group of them and take what follows: `-sSu` is `-s -S -u`.
const GROUPED: [&str; 6] = ["-u", "-U", "-d", "-H", "-F", "-E"];

/// Letters of curl that take no value and may stand before one that does.
const FLAGS: [char; 20] = [
    's', 'S', 'f', 'L', 'k', 'v', 'g', 'G', 'i', 'I', 'j', 'n', 'N', 'q', 'O', 'R', 'l', 'J', '4',
    '6',
];

/// Words that begin like `-p` with a password behind it.
const WORDS_OF_P: [&str; 29] = [
    "parallel",
    "pass",
    "passin",
    "passphrase",
    "passwd",
    "password",
    "path",
    "pedantic",
    "perm",
    "pid",
    "pidfile",
    "pipe",
    "pix_fmt",
    "platform",
    "plugin",
    "port",
    "prefix",
    "preset",
    "print",
    "print0",
    "printf",
    "process",
    "profile",
    "progress",
    "project",
    "properties",
    "proxy",
    "prune",
    "pthread",
];
/// Bytes behind `-p` that are flags, as in `mkdir -pv`, or too few for a password.
const FLAGS_OF_P_MAX: usize = 2;

/// Whether what stands behind an option, or the name of a setting, is taken out.
pub(super) fn takes_secret(option: &str, value: &str) -> bool {
    let is_text = TEXT_OPTIONS.contains(&option) || option == "-u";
    (is_text && !is_number(value))
        || is_secret_name(option)
        || (USER_OPTIONS.contains(&option) && value.contains(':'))
}

/// The option that takes what follows: the last of a group, or the option itself. Other programs have options of one dash
/// that end alike: `-itd`, `-bind`, `-cpu`, `-avzH`.
pub(super) fn last_of(option: &str) -> &str {
    let ends_group = |one: &&str| {
        let letters = option.strip_prefix('-');
        let flags = letters.and_then(|letters| letters.strip_suffix(one.trim_start_matches('-')));
        flags.is_some_and(|flags| !flags.is_empty() && flags.chars().all(|c| FLAGS.contains(&c)))
    };
    GROUPED.into_iter().find(ends_group).unwrap_or(option)
}

/// An option of one letter, perhaps behind others, and the value that stands right behind it.
pub(super) fn joined(argument: &str) -> Option<(&str, &str)> {
    let letters = argument.strip_prefix('-')?;
    let rest = letters.trim_start_matches(FLAGS);
    let flags = letters.len().saturating_sub(rest.len());
    argument.split_at_checked(flags.saturating_add(2)).filter(|(_, value)| !value.is_empty())
}

/// Whether what stands right behind `-p` is a password: no port, and none of the words that begin so.
pub(super) fn is_password(argument: &str, value: &str) -> bool {
    let name = argument.trim_start_matches('-').split('=').next().unwrap_or_default();
    value.len() > FLAGS_OF_P_MAX && !is_port(value) && !WORDS_OF_P.contains(&name)
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
    spaced.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| {
        SECRET_NAMES.contains(&part) || SECRET_ENDS.iter().any(|end| part.ends_with(end))
    })
}

pub(super) fn is_number(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A port, or several: `8080`, `127.0.0.1:8080:80`, `8000-8010`.
pub(super) fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || b":.-".contains(&byte))
}
