//! Events come in; one line of JSON each goes out at once, so that a reader sees a call when it has ended.

use std::io::Write;

use crate::report::Error;
use crate::report::Event;
use crate::report::Sink;

/// Writes JSON Lines.
#[derive(Debug)]
pub struct JsonLines<W> {
    out: W,
    host: String,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`; `host` is `host.name` of each event.
    pub fn new(out: W, host: String) -> Self {
        Self { out, host }
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn take(&mut self, event: &Event) -> Result<(), Error> {
        let mut line = event.line(&self.host);
        line.push('\n');
        // One write a line: lines of several writers to one file stay whole.
        self.out.write_all(line.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }

    fn totals(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sinks::sample;
    use serde_json::Value;

    fn lines(events: &[Event]) -> String {
        let mut out = Vec::new();
        let mut sink = JsonLines::new(&mut out, "node-1".to_owned());
        for event in events {
            sink.take(event).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn golden_file_holds_one_of_each() {
        sample::compare(
            "events.jsonl",
            include_str!("../../../../tests/golden/events.jsonl"),
            &lines(&sample::events()),
        );
    }

    #[test]
    fn unknown_values_are_left_out() {
        let line = lines(&[sample::bare()]);
        let object: Value = serde_json::from_str(&line).unwrap();
        let object = object.as_object().unwrap();
        assert!(object.values().all(|value| !value.is_null()));
        for name in [
            "process.pid",
            "gen_ai.usage.input_tokens",
            "tollgate.cost.usd",
            "http.response.status_code",
        ] {
            assert!(!object.contains_key(name), "{name}");
        }
        assert_eq!(object["tollgate.cost.basis"], "unknown");
        assert_eq!(object["tollgate.coverage"], "truncated");
    }

    #[test]
    fn key_in_a_call_is_never_written() {
        let mut call = sample::call();
        call.call.credential = Some(sample::credential());
        let line = lines(&[Event::Call(Box::new(call))]);
        assert!(!line.contains("FAKE"), "{line}");
    }
}
