//! Requests of real AI clients come in; answers in their providers' wire formats and exact facts about each go out.

pub mod answer;
pub mod body;
pub mod call;
pub mod chat;
pub mod connection;
pub mod control;
pub mod encoding;
pub mod fact;
mod grpc;
pub mod messages;
pub mod responses;
pub mod rest;
pub mod scenario;
pub mod server;
pub mod service;
pub mod session;
pub mod usage;
pub mod websocket;
