//! Ways around an enforced rule come in; each is tried, and what came of it is what the table in `docs/evasion.md` says.

mod harmless;
mod hello;
mod identity;
mod kernel;
mod network;
mod requests;
mod rows;
mod sockets;
mod stage;
mod tamper;
