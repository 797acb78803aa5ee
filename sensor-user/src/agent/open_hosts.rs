//! The names of open connections come in; the name of one goes out, for policies that change while it is open.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Connections whose names are kept; of what is beyond, the destination stays what it was when it was opened.
const HOSTS_MAX: usize = 65_536;

/// Names of open AI connections by the cookie of their socket.
#[derive(Debug, Default)]
pub(super) struct OpenHosts(Mutex<HashMap<u64, Box<str>>>);

impl OpenHosts {
    /// Keeps the name that a connection gave.
    pub(super) fn note(&self, cookie: u64, host: &str) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() < HOSTS_MAX {
            hosts.insert(cookie, host.into());
        }
    }

    /// Forgets a connection that is closed.
    pub(super) fn forget(&self, cookie: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&cookie);
    }

    /// The name of a connection.
    pub(super) fn of(&self, cookie: u64) -> Option<Box<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&cookie).cloned()
    }
}
