//! Events come in; one aligned line a call, and tables of sums when asked for, go out.

mod cells;
pub(in crate::report) mod layout;
mod look;
pub(in crate::report) mod numbers;
mod summary;

pub use look::Look;

use std::io::Write;

use anstyle::AnsiColor;
use anstyle::Style;
use jiff::Timestamp;

use crate::report::CallEvent;
use crate::report::Error;
use crate::report::Event;
use crate::report::Sink;
use crate::report::escape;
use crate::report::event::Coverage;
use crate::report::event::Decision;
use crate::report::event::Loss;
use crate::report::event::Process;
use crate::report::names::Finding;
use crate::report::totals::Totals;
use crate::report::words;
use layout::Layout;

/// Lines between two headers on a terminal: about one screen.
const HEADER_EVERY: u32 = 50;

/// Writes for people.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    look: Look,
    totals: Totals,
    layout: Option<Layout>,
    lines_since_header: u32,
}

impl<W: Write> Terminal<W> {
    /// Writes to `out` in the given look.
    pub fn new(out: W, look: Look) -> Self {
        Self { out, look, totals: Totals::default(), layout: None, lines_since_header: 0 }
    }

    fn call(&mut self, call: &CallEvent) -> Result<(), Error> {
        self.totals.add(call);
        let layout = Layout::for_width(self.look.width());
        let is_due = self.look.is_terminal && self.lines_since_header >= HEADER_EVERY;
        if is_due || self.layout.as_ref() != Some(&layout) {
            let header = layout.header();
            self.write(Style::new().bold().underline(), &header)?;
            self.lines_since_header = 0;
        }
        self.lines_since_header = self.lines_since_header.saturating_add(1);
        let line = layout.line(|column, width| cells::cell(column, width, call, &self.look));
        self.layout = Some(layout);
        writeln!(self.out, "{line}")?;
        Ok(())
    }

    fn note(&mut self, time: Timestamp, style: Style, text: &str) -> Result<(), Error> {
        let line = format!("{} {text}", self.look.clock(time));
        self.write(style, &line)
    }

    fn write(&mut self, style: Style, line: &str) -> Result<(), Error> {
        writeln!(self.out, "{}", self.look.paint(style, line))?;
        Ok(())
    }
}

impl<W: Write> Sink for Terminal<W> {
    fn take(&mut self, event: &Event) -> Result<(), Error> {
        let warning = AnsiColor::Yellow.on_default();
        match event {
            Event::Call(call) => self.call(call)?,
            Event::Connection(_) => {}
            Event::Coverage(coverage) => {
                self.note(coverage.time, warning, &coverage_text(coverage))?;
            }
            Event::Decision(decision) => {
                self.note(decision.time, warning, &decision_text(decision))?;
            }
            Event::Finding(finding) => {
                self.note(finding.time, warning, &finding_text(finding))?;
            }
            Event::Loss(loss) => {
                self.note(loss.time, AnsiColor::Red.on_default(), &loss_text(loss))?;
            }
            Event::Agent(agent) => {
                let message =
                    agent.message.as_deref().map(|message| format!(": {}", escape::plain(message)));
                let text = format!("· {}{}", agent.state, message.unwrap_or_default());
                self.note(agent.time, Style::new().dimmed(), &text)?;
            }
        }
        self.out.flush()?;
        Ok(())
    }

    fn totals(&mut self) -> Result<(), Error> {
        let text = summary::text(&self.totals, &self.look);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        // The next call begins under a header of its own.
        self.layout = None;
        Ok(())
    }
}

fn coverage_text(coverage: &Coverage) -> String {
    let server =
        coverage.server.name.clone().or_else(|| coverage.server.peer.map(|peer| peer.to_string()));
    let server = server.unwrap_or_else(|| "an AI provider".to_owned());
    let who = process(&coverage.process);
    let missing = coverage.missing.map(|missing| {
        let most = if missing.exact { "" } else { "at most " };
        format!(", {most}{} bytes missing", numbers::grouped(missing.bytes))
    });
    let (seen, reason) = (coverage.seen.as_str(), coverage.reason);
    let missing = missing.unwrap_or_default();
    format!("! {seen} {who} → {}: {reason}{missing}", escape::plain(&server))
}

fn decision_text(decision: &Decision) -> String {
    let server = decision.provider.clone();
    let server = server.or_else(|| decision.server.peer.map(|peer| peer.to_string()));
    let who = process(&decision.process);
    let (word, layer) = (decision.decision, decision.layer);
    let server = escape::plain(server.as_deref().unwrap_or("?")).to_string();
    format!("! {word} {who} → {server}, by {layer}: {}", escape::plain(&decision.reason))
}

fn finding_text(finding: &Finding) -> String {
    let names = &finding.named.names;
    let said = [
        ("dns", &names.dns),
        ("hello", &names.hello),
        ("library", &names.library),
        ("request", &names.authority),
        ("imitates", &finding.imitates),
    ];
    let said = said
        .iter()
        .filter_map(|(place, name)| Some(format!("{place} {}", escape::plain(name.as_deref()?))));
    let who = process(&finding.process);
    format!("! {} {who}: {}", finding.kind, said.collect::<Vec<_>>().join(", "))
}

fn loss_text(loss: &Loss) -> String {
    let bytes =
        loss.bytes.map(|bytes| format!(", {} bytes", numbers::grouped(bytes))).unwrap_or_default();
    format!("! lost {} records{bytes}: {}", numbers::grouped(loss.records), loss.reason)
}

fn process(process: &Process) -> String {
    let name =
        process.workload.as_deref().map_or("?", |workload| words::file_name(&workload.executable));
    let pid = process.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
    format!("{}{pid}", escape::plain(name))
}

#[cfg(test)]
mod tests;
