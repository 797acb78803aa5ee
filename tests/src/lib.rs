//! Tests describe a scenario; this package makes the networks, servers and real clients it needs and hands back facts.

pub mod harness;
pub mod lab;
pub mod matrix;
pub mod preemption;
