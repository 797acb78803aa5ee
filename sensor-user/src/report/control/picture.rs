//! The picture that the agent gives of itself comes in; lines for people go out.

use std::fmt::Write;

use super::Picture;
use crate::report::escape;
use crate::report::sinks::terminal::numbers;

/// Width of an amount: no more digits than an estimate deserves.
const AMOUNT_WIDTH: usize = 8;

/// Counters that tell of something lost, by the end of their name.
const LOSSES: [&str; 11] = [
    "_no_room",
    "unreadable",
    "_table_full",
    "_over_limit",
    "_dropped",
    "without_entry",
    "write_failed",
    "row_refused",
    "folded",
    "damaged",
    "not_kept",
];
const SECONDS: [(&str, i64); 3] = [("d", 86_400), ("h", 3_600), ("m", 60)];

impl Picture {
    /// The picture as text; `now` in seconds since 1970.
    pub fn text(&self, now: i64) -> String {
        let mut out = String::new();
        let state = if self.missing.is_empty() {
            "ready".to_owned()
        } else {
            // A line each would look like lines of the picture.
            format!("not ready: {}", self.missing.join("; ").replace('\n', "; "))
        };
        let up = span(now.saturating_sub(self.started));
        let lines = [
            ("agent", format!("{} · pid {} · up {up} · {state}", self.version, self.pid)),
            ("kernel", self.kernel.clone()),
            (
                "watching",
                format!(
                    "{} processes with {} probes, {} connections open",
                    self.processes, self.probes, self.connections
                ),
            ),
            ("coverage", self.coverage_line()),
        ];
        let unseen = self.unseen_line().map(|text| ("not seen", text));
        let policies = Some(&self.policies).filter(|text| !text.is_empty());
        let policies = policies.map(|text| ("policies", text.clone()));
        let runtimes = self.runtimes.iter().map(|text| ("runtimes", text.clone()));
        for (name, value) in lines.into_iter().chain(unseen).chain(policies).chain(runtimes) {
            // Problems of documents have a line each; what others have to say of themselves has none of its own.
            let value = match name {
                "policies" => escape::lines(&value),
                _ => escape::plain(&value).into_owned(),
            };
            // Writing into a string cannot fail.
            let _written = writeln!(out, "{name:<10}{value}");
        }
        let lost: Vec<_> = self
            .counters
            .iter()
            .filter(|(name, count)| **count > 0 && LOSSES.iter().any(|end| name.ends_with(end)))
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let lost = if lost.is_empty() { "nothing".to_owned() } else { lost.join(", ") };
        let _written = writeln!(out, "{:<10}{}", "lost", escape::plain(&lost));
        out
    }

    fn coverage_line(&self) -> String {
        let seen = &self.coverage.seen;
        let all = seen.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let complete = seen.get("complete").copied().unwrap_or(0);
        let Some(percent) = complete.saturating_mul(100).checked_div(all) else {
            return "no connection to an AI provider has ended yet".to_owned();
        };
        let parts: Vec<_> = seen.iter().map(|(seen, count)| format!("{count} {seen}")).collect();
        format!("{percent} % of {all} connections ({})", parts.join(", "))
    }

    /// Why connections were not seen whole, how much is missing, and what blind ones may have cost.
    fn unseen_line(&self) -> Option<String> {
        let covered = &self.coverage;
        let mut parts: Vec<_> =
            covered.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        if parts.is_empty() {
            return None;
        }
        if covered.missing_bytes > 0 {
            parts.push(format!("{} bytes missing", covered.missing_bytes));
        }
        if covered.estimated_tokens > 0 {
            let amount = Some(covered.estimated_picodollars).filter(|amount| *amount > 0);
            let cost = amount.map(|amount| numbers::dollars(i128::from(amount), AMOUNT_WIDTH));
            let cost = cost.map(|cost| format!(", {cost}")).unwrap_or_default();
            parts.push(format!("about {} tokens{cost} (estimated)", covered.estimated_tokens));
        }
        Some(parts.join(" · "))
    }
}

fn span(seconds: i64) -> String {
    let unit = SECONDS.iter().find(|(_, length)| seconds >= *length);
    unit.map_or_else(
        || format!("{}s", seconds.max(0)),
        |(name, length)| format!("{}{name}", seconds.checked_div(*length).unwrap_or(0)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_of_themselves_steers_no_terminal() {
        let evil = "1.0\u{1b}]0;x\u{7}\u{9b}2J\nlost      nothing";
        let picture = Picture {
            kernel: evil.to_owned(),
            missing: vec!["policies: a.yaml:1:1: one\nb.yaml:2:2: two".to_owned()],
            policies: "refused: a.yaml:1:1: \u{1b}[2J\nb.yaml:2:2: two".to_owned(),
            runtimes: vec![format!("containerd {evil} answers")],
            ..Picture::default()
        };
        let said = picture.text(0);
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
        let names: Vec<_> = said.lines().map(|line| line.split(' ').next().unwrap()).collect();
        let expected = [
            "agent",
            "kernel",
            "watching",
            "coverage",
            "policies",
            "b.yaml:2:2:",
            "runtimes",
            "lost",
        ];
        assert_eq!(names, expected);
        assert!(said.contains("not ready: policies: a.yaml:1:1: one; b.yaml:2:2: two\n"), "{said}");
    }

    #[test]
    fn what_the_disk_did_not_take_is_lost() {
        for lost in ["store.write_failed", "store.folded", "store.damaged", "agent.memory_damaged"]
        {
            let counters = [(lost.to_owned(), 2), ("agent.blind".to_owned(), 1)].into();
            let said = Picture { counters, ..Picture::default() }.text(0);
            assert!(said.ends_with(&format!("lost      {lost} 2\n")), "{said}");
        }
    }

    #[test]
    fn picture_says_what_is_missing_seen_and_lost() {
        let mut picture =
            Picture { started: 100, missing: vec!["x".to_owned()], ..Picture::default() };
        let said = picture.text(100 + 7_300);
        assert!(said.contains("up 2h · not ready: x") && said.contains("no connection"), "{said}");
        assert!(said.ends_with("lost      nothing\n"), "{said}");
        let covered = &mut picture.coverage;
        covered.seen = [("complete".to_owned(), 3), ("blind".to_owned(), 1)].into();
        covered.reasons = [("jsse".to_owned(), 1)].into();
        (covered.estimated_tokens, covered.estimated_picodollars) = (1_200, 12_340_000_000);
        picture.counters =
            [("kernel.payload_no_room".to_owned(), 7), ("agent.blind".to_owned(), 1)].into();
        let said = picture.text(0);
        assert!(said.contains("75 % of 4 connections (1 blind, 3 complete)"), "{said}");
        assert!(said.contains("jsse 1 · about 1200 tokens, $0.01234 (estimated)\n"), "{said}");
        assert!(said.contains("kernel.payload_no_room 7\n"), "{said}");
    }
}
