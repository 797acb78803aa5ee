//! A `multipart/form-data` body comes in, split anywhere; the values of the short fields of interest go out.

use memchr::memmem;

/// Longest head of a part, in bytes; a content disposition with a file name has about 150.
const HEAD_MAX: usize = 1024;
/// Longest value kept, in bytes.
const VALUE_MAX: usize = 256;
/// Longest boundary (RFC 2046, 5.1.1), in bytes.
const BOUNDARY_MAX: usize = 70;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Body,
    Head,
    Done,
}

/// Finds fields in a form; files pass through without being kept.
#[derive(Debug)]
pub(super) struct Form {
    /// CR LF `--` and the boundary.
    delimiter: Vec<u8>,
    state: State,
    /// End of the input so far that could begin a delimiter.
    carry: Vec<u8>,
    head: Vec<u8>,
    names: &'static [&'static str],
    values: Vec<Option<Vec<u8>>>,
    current: Option<usize>,
}

impl Form {
    /// Begins a form; `None` where the content type names no boundary.
    pub(super) fn new(content_type: &[u8], names: &'static [&'static str]) -> Option<Self> {
        let boundary = boundary(content_type)?;
        let delimiter = [b"\r\n--", boundary].concat();
        Some(Self {
            delimiter,
            state: State::Body,
            // The first delimiter has no line end in front of it.
            carry: b"\r\n".to_vec(),
            head: Vec::new(),
            names,
            values: vec![None; names.len()],
            current: None,
        })
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Body => self.body(bytes),
                State::Head => self.part_head(bytes),
                State::Done => return,
            };
        }
    }

    /// Value of a field that has ended.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let at = self.names.iter().position(|known| *known == name)?;
        if self.current == Some(at) {
            return None;
        }
        std::str::from_utf8(self.values.get(at)?.as_deref()?).ok()
    }

    fn body<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.carry.is_empty() {
            return self.border(bytes);
        }
        if let Some(at) = memmem::find(bytes, &self.delimiter) {
            self.keep(bytes.get(..at).unwrap_or_default());
            self.begin_head();
            return bytes.get(at.saturating_add(self.delimiter.len())..).unwrap_or_default();
        }
        let tail = bytes.len().saturating_sub(self.delimiter.len().saturating_sub(1));
        let (whole, carry) = bytes.split_at_checked(tail).unwrap_or((bytes, &[]));
        self.keep(whole);
        self.carry.extend_from_slice(carry);
        &[]
    }

    /// Looks for a delimiter that began in the bytes before.
    fn border<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut joined = std::mem::take(&mut self.carry);
        let before = joined.len();
        let (near, _) = bytes.split_at_checked(self.delimiter.len()).unwrap_or((bytes, &[]));
        joined.extend_from_slice(near);
        if let Some(at) = memmem::find(&joined, &self.delimiter) {
            self.keep(joined.get(..at).unwrap_or_default());
            self.begin_head();
            let end = at.saturating_add(self.delimiter.len()).saturating_sub(before);
            return bytes.get(end..).unwrap_or_default();
        }
        if near.len() == self.delimiter.len() {
            // No delimiter can begin before these bytes any more.
            self.keep(joined.get(..before).unwrap_or_default());
            return bytes;
        }
        let tail = joined.len().saturating_sub(self.delimiter.len().saturating_sub(1));
        let (whole, carry) = joined.split_at_checked(tail).unwrap_or((&joined, &[]));
        self.keep(whole);
        self.carry = carry.to_vec();
        &[]
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(at) = self.current else { return };
        let Some(value) = self.values.get_mut(at).and_then(Option::as_mut) else { return };
        let room = VALUE_MAX.saturating_sub(value.len());
        value.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn begin_head(&mut self) {
        self.state = State::Head;
        self.current = None;
        self.head.clear();
    }

    fn part_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.head.len();
        let room = HEAD_MAX.saturating_sub(before);
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if self.head.starts_with(b"--") {
            self.state = State::Done;
            return &[];
        }
        let end = memmem::find(&self.head, b"\r\n\r\n").map(|at| at.saturating_add(4));
        if let Some(end) = end {
            self.current = field_name(self.head.get(..end).unwrap_or_default())
                .and_then(|name| self.names.iter().position(|known| known.as_bytes() == name));
            if let Some(value) = self.current.and_then(|at| self.values.get_mut(at)) {
                *value = Some(Vec::new());
            }
        } else if self.head.len() < HEAD_MAX {
            return &[];
        }
        self.state = State::Body;
        let consumed = end.unwrap_or(self.head.len()).saturating_sub(before);
        bytes.get(consumed..).unwrap_or_default()
    }
}

fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let at = memmem::find(content_type, b"boundary=")?.checked_add(9)?;
    let value = content_type.get(at..)?;
    let value = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let value = value.strip_prefix(b"\"").map_or(value, |v| v.strip_suffix(b"\"").unwrap_or(v));
    (1..=BOUNDARY_MAX).contains(&value.len()).then_some(value)
}

fn field_name(head: &[u8]) -> Option<&[u8]> {
    // `filename="` must not match.
    let at = memmem::find(head, b" name=\"").or_else(|| memmem::find(head, b";name=\""))?;
    head.get(at.checked_add(7)?..)?.split(|byte| *byte == b'"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/form-data; boundary=\"b0\"";
    const BODY: &[u8] = b"--b0\r\nContent-Disposition: form-data; filename=\"model\"; name=\"file\"\r\n\r\n\
        \r\n--b\r\n--c0 not a part\r\n--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --b0\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--b0--\r\nend";

    #[test]
    fn fields_are_found_however_the_body_is_cut() {
        for cut in 0..=BODY.len() {
            let mut form = Form::new(TYPE, &["model", "empty", "stream"]).unwrap();
            let (a, b) = BODY.split_at(cut);
            form.push(a);
            form.push(b);
            let values = ["model", "empty", "stream"].map(|name| form.value(name));
            assert_eq!(values, [Some("whisper-1"), Some(""), None], "cut at {cut}");
        }
        let mut form = Form::new(TYPE, &["model"]).unwrap();
        for byte in BODY {
            form.push(&[*byte]);
        }
        assert_eq!(form.value("model"), Some("whisper-1"));
    }

    #[test]
    fn a_type_without_boundary_is_refused() {
        assert!(Form::new(b"multipart/form-data", &["model"]).is_none());
        assert!(Form::new(b"multipart/form-data; boundary=", &["model"]).is_none());
    }

    #[test]
    fn values_are_cut_at_their_bound() {
        let mut form = Form::new(TYPE, &["model"]).unwrap();
        form.push(b"--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n");
        form.push(&[b'm'; 1000]);
        assert_eq!(form.value("model"), None);
        form.push(b"\r\n--b0--");
        assert_eq!(form.value("model").map(str::len), Some(VALUE_MAX));
    }
}
