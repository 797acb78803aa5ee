//! Events come in; each sink writes them in its own way.

pub mod inventory;
pub mod jsonl;
#[cfg(test)]
pub(crate) mod sample;
pub mod terminal;

pub use inventory::Inventory;
pub use jsonl::JsonLines;
pub use terminal::Terminal;

use crate::report::Error;
use crate::report::Event;

/// Takes every event that passed the filter.
pub trait Sink {
    /// Writes one event.
    fn take(&mut self, event: &Event) -> Result<(), Error>;

    /// Writes the sums over all events so far, where the sink has a place for them.
    fn totals(&mut self) -> Result<(), Error>;

    /// Does what is due by time; called several times a second.
    fn tick(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
