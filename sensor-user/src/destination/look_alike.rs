//! A host name and those of AI providers come in; the one that it imitates goes out.

/// Shortest label in which one changed character counts: of shorter ones, too many are one apart.
const LABEL_MIN: usize = 6;
/// Longest name that is compared.
const NAME_MAX: usize = 253;

/// The host that a name looks like and is not: its labels in front of a foreign domain, its domain with characters that look
/// the same, or with one changed, missing, added or exchanged. Hosts with wildcards are no models.
pub fn look_alike<'a>(name: &str, hosts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_MAX || name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let own = domain(name);
    let shape = skeleton(own.0);
    let mut found = None;
    for host in hosts.filter(|host| !host.contains('*')) {
        let (label, end) = domain(host);
        if name == host || own == (label, end) {
            return None;
        }
        if found.is_none()
            && (is_in_front(name, host) || is_close(own.0, label, (shape.as_str(), own.1 == end)))
        {
            found = Some(host);
        }
    }
    found
}

/// The last label but one, and the last.
fn domain(name: &str) -> (&str, &str) {
    let mut labels = name.rsplit('.');
    let end = labels.next().unwrap_or_default();
    (labels.next().unwrap_or_default(), end)
}

/// Whether the whole host stands in front of another domain: `api.openai.com.example.net`.
fn is_in_front(name: &str, host: &str) -> bool {
    name.strip_prefix(host).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a label imitates another: by its looks always, by one change in a long one under the same ending.
fn is_close(own: &str, label: &str, (shape, same_end): (&str, bool)) -> bool {
    if label.len() < LABEL_MIN || own == label {
        return false;
    }
    shape == skeleton(label) || (same_end && is_one_apart(own.as_bytes(), label.as_bytes()))
}

/// A label with the characters that look alike made the same; of an international one, what it shows.
fn skeleton(label: &str) -> String {
    let shown = label.strip_prefix("xn--").and_then(unpack);
    let plain: String = shown.as_deref().unwrap_or(label).chars().filter_map(plain).collect();
    plain.replace("rn", "m").replace("vv", "w")
}

/// The letter that a character looks like; a hyphen is overlooked.
fn plain(character: char) -> Option<char> {
    Some(match character {
        '-' => return None,
        '0' | 'о' | 'ο' | 'օ' => 'o',
        '1' | 'l' | 'і' | 'ι' | 'ı' | 'ӏ' => 'i',
        '3' | 'е' | 'ё' | 'é' | 'è' | 'ē' => 'e',
        '5' | 'ѕ' => 's',
        'а' | 'α' | 'á' | 'à' | 'ä' | 'ạ' => 'a',
        'р' | 'ρ' => 'p',
        'с' | 'ϲ' => 'c',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        'ո' | 'η' => 'n',
        'һ' => 'h',
        'ԛ' => 'q',
        'ԁ' => 'd',
        'ɡ' => 'g',
        'т' => 't',
        'м' => 'm',
        other => other,
    })
}

/// Decodes Punycode (RFC 3492, 6.2); `None` where it is malformed.
fn unpack(packed: &str) -> Option<String> {
    let (basic, rest) = packed.rsplit_once('-').unwrap_or(("", packed));
    let mut shown: Vec<char> = basic.chars().collect();
    let (mut code, mut at, mut bias) = (128_u32, 0_u32, 72_u32);
    let mut digits = rest.bytes().peekable();
    while digits.peek().is_some() {
        let (before, mut weight, mut step) = (at, 1_u32, 36_u32);
        loop {
            let digit = match digits.next()? {
                byte @ b'a'..=b'z' => u32::from(byte.checked_sub(b'a')?),
                byte @ b'0'..=b'9' => u32::from(byte.checked_sub(b'0')?).checked_add(26)?,
                _ => return None,
            };
            at = at.checked_add(digit.checked_mul(weight)?)?;
            let threshold = step.saturating_sub(bias).clamp(1, 26);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(36_u32.checked_sub(threshold)?)?;
            step = step.checked_add(36)?;
        }
        let length = u32::try_from(shown.len()).ok()?.checked_add(1)?;
        bias = adapted(at.checked_sub(before)?, length, before == 0)?;
        code = code.checked_add(at.checked_div(length)?)?;
        at = at.checked_rem(length)?;
        shown.insert(usize::try_from(at).ok()?, char::from_u32(code)?);
        at = at.checked_add(1)?;
    }
    Some(shown.into_iter().collect())
}

/// The bias for the next character (RFC 3492, 6.1).
fn adapted(delta: u32, length: u32, is_first: bool) -> Option<u32> {
    let mut delta = delta.checked_div(if is_first { 700 } else { 2 })?;
    delta = delta.checked_add(delta.checked_div(length)?)?;
    let mut step = 0_u32;
    while delta > 455 {
        delta = delta.checked_div(35)?;
        step = step.checked_add(36)?;
    }
    step.checked_add(delta.checked_mul(36)?.checked_div(delta.checked_add(38)?)?)
}

/// Whether one character changed, missing, added, or exchanged with the next makes one label of the other.
fn is_one_apart(one: &[u8], other: &[u8]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let same = short.iter().zip(long).take_while(|(left, right)| left == right).count();
    let (short, long) =
        (short.get(same..).unwrap_or_default(), long.get(same..).unwrap_or_default());
    match (short, long) {
        ([a, b, rest @ ..], [c, d, end @ ..]) if (a, b) == (d, c) && a != b && rest == end => true,
        ([_, rest @ ..], [_, end @ ..]) if rest == end => true,
        (rest, [_, end @ ..]) => rest == end,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 5] =
        ["api.openai.com", "api.anthropic.com", "api.x.ai", "*.openai.azure.com", "api.groq.com"];

    #[test]
    fn imitations_are_told_and_others_are_not() {
        const CASES: [(&str, Option<&str>); 20] = [
            ("api.openai.com", None),
            ("status.openai.com", None),
            ("api.openai.com.evil.example", Some("api.openai.com")),
            ("api.0penai.com", Some("api.openai.com")),
            ("api.open-ai.com", Some("api.openai.com")),
            ("api.opena1.com", Some("api.openai.com")),
            ("api.openal.net", Some("api.openai.com")),
            ("api.opnai.com", Some("api.openai.com")),
            ("api.openia.com", Some("api.openai.com")),
            ("api.anthropics.com", Some("api.anthropic.com")),
            ("api.anthroplc.com", Some("api.anthropic.com")),
            // Cyrillic о: оpenai.
            ("api.xn--penai-iye.com", Some("api.openai.com")),
            ("api.openai.co", None),
            ("opnai.org", None),
            ("api.y.ai", None),
            ("api.grok.com", None),
            ("www.example.com", None),
            ("192.0.2.7", None),
            ("", None),
            ("xn--", None),
        ];
        for (name, expected) in CASES {
            assert_eq!(look_alike(name, HOSTS.into_iter()), expected, "{name}");
        }
    }

    #[test]
    fn punycode_is_that_of_the_standard() {
        const CASES: [(&str, Option<&str>); 6] = [
            ("bcher-kva", Some("bücher")),
            ("mnchen-3ya", Some("münchen")),
            // RFC 3492, 7.1 (I).
            ("b1abfaaepdrnnbgefbadotcwatmq2g4l", Some("почемужеонинеговорятпорусски")),
            ("", Some("")),
            ("99999999", None),
            ("a-!", None),
        ];
        for (packed, expected) in CASES {
            assert_eq!(unpack(packed).as_deref(), expected, "{packed}");
        }
    }
}
