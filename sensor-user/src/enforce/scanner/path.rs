//! The states of a head come in; those that find the end of its path, and the model that stands in it, are added.

use sensor_common::scan::{MARK_NAMED, MARK_NAMED_END, MARK_PATH_END};

use super::{PATH, QUERY, SLASH, Scanner, VERSION, arn};

/// Segments of a path behind which a model stands, with what ends its name: elsewhere another thing stands there.
const NAMED: [(&str, u8); 3] = [("models/", b':'), ("model/", b'/'), ("deployments/", b'/')];

/// Adds the states of a path.
pub(super) fn add(scanner: &mut Scanner) {
    for state in [PATH, SLASH] {
        scanner.all(state, PATH);
    }
    scanner.all(QUERY, QUERY);
    let first = scanner.free;
    let behind = NAMED.map(|(word, end)| (scanner.word(SLASH, word.as_bytes(), false, PATH), end));
    for (named, end) in behind {
        let name = scanner.free;
        scanner.free = name.saturating_add(1);
        (0..=u8::MAX).for_each(|byte| scanner.set(named, byte, name, MARK_NAMED));
        scanner.all(name, name);
        scanner.set(name, b'/', SLASH, 0);
        scanner.set(name, end, if end == b'/' { SLASH } else { PATH }, MARK_NAMED_END);
    }
    let is_word = |state: usize| behind.iter().all(|(named, _)| *named != state);
    for state in [PATH, SLASH, QUERY].into_iter().chain(first..scanner.free) {
        scanner.set(state, b' ', VERSION, MARK_PATH_END);
        scanner.set(state, b'?', QUERY, 0);
        // The last `/` of a word is a part of it, and a name's tells where it ends.
        let is_taken = scanner.next(state, b'/') != PATH && is_word(state);
        if state != QUERY && !is_taken {
            scanner.set(state, b'/', SLASH, 0);
        }
    }
    escapes(scanner, first, &behind);
    let [_, (of_bedrock, _), _] = behind;
    let name = scanner.next(of_bedrock, b'a');
    arn::add(scanner, name);
}

/// Has states of a path take an escape for what it stands for (RFC 3986, 2.1).
fn escapes(scanner: &mut Scanner, first: usize, behind: &[(usize, u8)]) {
    let names: Vec<_> = behind.iter().map(|(named, _)| scanner.next(*named, b'a')).collect();
    let is_word =
        |state: &usize| !names.contains(state) && behind.iter().all(|(named, _)| named != state);
    let words: Vec<_> = [PATH, SLASH]
        .into_iter()
        .chain((first..scanner.free).filter(is_word))
        .map(|state| (state, (0..=u8::MAX).map(|byte| scanner.next(state, byte)).collect()))
        .collect::<Vec<(usize, Vec<usize>)>>();
    for (state, row) in words {
        let percent = scanner.percent(state, PATH);
        // States are few: the first digit of each slash that begins a segment leads to the same one.
        let slash = scanner.next(scanner.next(PATH, b'%'), b'2');
        for (byte, next) in (0..=u8::MAX).zip(row) {
            // What ends a path does not where it is escaped.
            if next == SLASH && slash != PATH {
                scanner.set(percent, b'2', slash, 0);
            } else if next != PATH && !matches!(byte, b' ' | b'?') {
                scanner.escape(percent, byte, PATH, (next, 0));
            }
        }
    }
    for (name, (_, end)) in names.into_iter().zip(behind).filter(|(_, (_, end))| *end != b'/') {
        // The colon behind a model's name; the mark is at the last of its three bytes.
        let percent = scanner.percent(name, name);
        scanner.escape(percent, *end, name, (PATH, MARK_NAMED_END));
    }
}
