//! A specification of calls comes in; a real client makes them inside a namespace, and what it saw goes out.

pub mod agents;
pub mod beside;
pub mod golang;
pub mod install;
pub mod load;
pub mod run;
pub mod runtimes;
pub mod rust;
pub mod seen;
pub mod spec;
pub mod titles;
pub mod websocket;

pub use self::agents::Agent;
pub use self::install::Kit;
pub use self::run::Running;
pub use self::rust::Provider;
pub use self::seen::{Seen, SeenCall};
pub use self::spec::{Api, CLIENTS, Client, Program, Spec};
