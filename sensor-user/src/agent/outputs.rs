//! Events come in; what is kept goes to disk first, then what is shown goes to whoever reads it, until one of these ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::report;
use crate::report::{Event, Filter, Metrics, Sink};

use super::EVENTS_MAX;

/// How often the reporter looks whether totals are wanted.
const TOTALS_LOOK: Duration = Duration::from_millis(200);

/// Where events go.
pub struct Outputs {
    /// Each gets every event that passes the filter.
    pub sinks: Vec<Box<dyn Sink + Send>>,
    /// Each gets every event.
    pub kept: Vec<Box<dyn Sink + Send>>,
    /// Which calls are shown.
    pub filter: Filter,
    /// Counts every event, shown or not.
    pub metrics: Arc<Metrics>,
    /// How often the totals are shown; on SIGUSR1 and at the end in any case.
    pub totals_every: Option<Duration>,
}

impl Outputs {
    /// Hands events out until their channel ends, or an output does; then what waits is kept, and the error says why.
    pub(super) fn report(
        mut self,
        events: &Receiver<Event>,
        wants_totals: &AtomicBool,
    ) -> Result<(), report::Error> {
        let mut shown = Instant::now();
        loop {
            let event = match events.recv_timeout(TOTALS_LOOK) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let due = self.totals_every.is_some_and(|every| shown.elapsed() >= every);
            let totals = wants_totals.swap(false, Ordering::Relaxed) || due;
            if totals {
                shown = Instant::now();
            }
            if let Err(error) = self.write(event.as_ref(), totals) {
                // Also where nobody reads any more, which is no error: on a node that enforces, somebody has to know.
                tracing::warn!(error = %super::chain(&error), "an output has ended, and the agent with it");
                self.keep_the_rest(events);
                return Err(error);
            }
        }
        self.write(None, true)
    }

    /// What is kept comes first: whether anybody reads the others is none of its business.
    fn write(&mut self, event: Option<&Event>, totals: bool) -> Result<(), report::Error> {
        self.keep(event, totals)?;
        let shown = event.filter(|event| match event {
            Event::Call(call) => self.filter.matches(call),
            _ => true,
        });
        for sink in &mut self.sinks {
            if let Some(event) = shown {
                sink.take(event)?;
            }
            if totals {
                sink.totals()?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, event: Option<&Event>, totals: bool) -> Result<(), report::Error> {
        if let Some(event) = event {
            self.metrics.observe(event);
        }
        for sink in &mut self.kept {
            if let Some(event) = event {
                sink.take(event)?;
            }
            if totals {
                sink.totals()?;
            }
            sink.tick()?;
        }
        Ok(())
    }

    /// Takes what waits already, and writes what is kept to its end.
    fn keep_the_rest(&mut self, events: &Receiver<Event>) {
        let waiting = events.try_iter().take(EVENTS_MAX).map(Some);
        for event in waiting.chain([None]) {
            if let Err(error) = self.keep(event.as_ref(), event.is_none()) {
                tracing::warn!(error = %super::chain(&error), "what was seen last is not kept");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::report::sinks::Inventory;
    use crate::report::sinks::sample;
    use crate::store;
    use crate::store::Store;

    /// An output that takes a number of events, then has no reader any more.
    struct Closing(u32);

    impl Sink for Closing {
        fn take(&mut self, _event: &Event) -> Result<(), report::Error> {
            self.0 = self.0.checked_sub(1).ok_or(io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(())
        }

        fn totals(&mut self) -> Result<(), report::Error> {
            Ok(())
        }
    }

    #[test]
    fn output_that_ends_leaves_all_that_was_seen_in_the_inventory() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new(10).unwrap());
        let opened = Store::open(folder.path()).unwrap();
        let inventory = Inventory::new(opened, &store::Config::default(), Arc::clone(&metrics));
        let outputs = Outputs {
            sinks: vec![Box::new(Closing(1))],
            kept: vec![Box::new(inventory)],
            filter: Filter::default(),
            metrics,
            totals_every: None,
        };
        let (events, events_out) = sync_channel(4);
        for _ in 0..4 {
            events.send(Event::Call(Box::new(sample::call()))).unwrap();
        }
        // The sender lives: only the output can end it.
        let error = outputs.report(&events_out, &AtomicBool::new(false)).unwrap_err();
        let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        assert!(matches!(&error, report::Error::Write(why) if is_closed(why)), "{error}");
        drop(events);
        let entries = Store::open_to_read(folder.path()).unwrap().entries(0).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.figures.calls).collect::<Vec<_>>(), [4]);
    }
}
