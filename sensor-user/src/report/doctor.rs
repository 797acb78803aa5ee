//! What was found out about this machine comes in; a table for people or JSON Lines for programs go out.

use std::io::Write;

use anstyle::AnsiColor;
use anstyle::Style;

use crate::report::Error;
use crate::report::attributes::Attributes;
use crate::report::escape;
use crate::report::sinks::terminal::Look;

/// How well something works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// As it should.
    Ok,
    /// In part.
    Limited,
    /// Not at all.
    Blind,
}

impl State {
    /// The word in the output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Blind => "blind",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Part of the agent it belongs to (`kernel`, `probes`, `cgroup`, …).
    pub area: String,
    /// How well it works.
    pub state: State,
    /// What was looked at, and what was found.
    pub what: String,
    /// Why it matters; empty where there is nothing to say.
    pub why: String,
    /// What to do about it; empty where nothing is to be done.
    pub action: String,
}

/// The worst state of all: what the exit status tells.
pub fn worst(findings: &[Finding]) -> State {
    findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
}

/// Writes a line for each finding, with reason and advice below those that are not well.
pub fn write_text(out: &mut dyn Write, findings: &[Finding], look: &Look) -> Result<(), Error> {
    let width =
        findings.iter().map(|finding| finding.area.chars().count()).max().unwrap_or_default();
    for finding in findings {
        let (sign, style) = match finding.state {
            State::Ok => ("ok     ", AnsiColor::Green.on_default()),
            State::Limited => ("limited", AnsiColor::Yellow.on_default().bold()),
            State::Blind => ("blind  ", AnsiColor::Red.on_default().bold()),
        };
        let sign = look.paint(style, sign);
        writeln!(
            out,
            "{sign}  {:width$}  {}",
            escape::plain(&finding.area),
            escape::plain(&finding.what)
        )?;
        if finding.state == State::Ok {
            continue;
        }
        for (label, text) in [("why", &finding.why), ("do", &finding.action)] {
            if !text.is_empty() {
                let label = look.paint(Style::new().dimmed(), &format!("{label:>3}:"));
                writeln!(out, "         {:width$}  {label} {}", "", escape::plain(text))?;
            }
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let sums = [State::Ok, State::Limited, State::Blind]
        .map(|state| format!("{} {}", count(state), state.as_str()));
    writeln!(out, "\n{}", look.paint(Style::new().bold(), &sums.join(", ")))?;
    Ok(())
}

/// Writes one line of JSON for each finding.
pub fn write_json(out: &mut dyn Write, findings: &[Finding]) -> Result<(), Error> {
    for finding in findings {
        let mut line = Attributes::default();
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        line.put("area", text(&finding.area));
        line.put("state", Some(finding.state.as_str()));
        line.put("what", text(&finding.what));
        line.put("why", text(&finding.why));
        line.put("action", text(&finding.action));
        writeln!(out, "{}", line.into_line())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let finding = |area: &str, state, what: &str, why: &str, action: &str| Finding {
            area: area.to_owned(),
            state,
            what: what.to_owned(),
            why: why.to_owned(),
            action: action.to_owned(),
        };
        vec![
            finding("kernel", State::Ok, "6.12.0", "ring buffers", ""),
            finding(
                "lockdown",
                State::Blind,
                "confidentiality\x1b[2J",
                "memory cannot be read",
                "boot with integrity",
            ),
        ]
    }

    #[test]
    fn text_gives_reason_and_advice_only_where_something_is_wrong() {
        let mut out = Vec::new();
        write_text(&mut out, &findings(), &Look::fixed(None, false)).unwrap();
        let expected = "ok       kernel    6.12.0\n\
                        blind    lockdown  confidentiality\\u{1b}[2J\n\
                        \x20                  why: memory cannot be read\n\
                        \x20                   do: boot with integrity\n\
                        \n1 ok, 0 limited, 1 blind\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(worst(&findings()), State::Blind);
    }

    #[test]
    fn json_leaves_out_what_is_empty() {
        let mut out = Vec::new();
        write_json(&mut out, &findings()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"area":"kernel","state":"ok","what":"6.12.0","why":"ring buffers"}"#
        );
        assert_eq!(text.lines().count(), 2);
    }
}
