//! The Tollgate agent: kernel records come in; AI calls with who, which key, which model and what price go out.

pub mod agent;
pub mod cli;
pub mod config;
pub mod redact;

pub mod bpf;
pub mod workload;
pub mod probes;
pub mod capture;
pub mod destination;
pub mod reassembly;
pub mod http;
pub mod provider;
pub mod credential;
pub mod spend;
pub mod policy;
pub mod store;
pub mod enforce;
pub mod report;
