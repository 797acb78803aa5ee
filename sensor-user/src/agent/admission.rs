//! What the event ring tells comes in; the gate knows whose calls it judges, which addresses and sockets lead to AI.

use std::net::IpAddr;

use sensor_common::gate::AiSocket;
use sensor_common::record::{Header, Socket};

use crate::destination::dns;
use crate::enforce;
use crate::policy::Facts;

use super::clock::Clock;
use super::intent::Intent;
use super::{gate, ruling};

impl Intent {
    /// Has the gate judge the calls of a process from its first probe on, where its class says so.
    pub(super) fn admit(&mut self, pid: u32) {
        if self.policies.folder().is_some() {
            self.tell(pid);
            return;
        }
        let Some(enforcer) = &mut self.enforcer else { return };
        match gate::admit(enforcer, pid) {
            Ok(Some(start)) => self.kernel.judge(pid, start),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(pid, error = %super::chain(&error), "calls are not judged");
            }
        }
    }

    /// Tells the gate what the policies settle for a process.
    pub(super) fn tell(&mut self, pid: u32) {
        let engine = self.policies.engine();
        if self.enforcer.is_none() || !ruling::enforces(&engine) {
            return;
        }
        let now = Clock::monotonic_ns();
        let Some(workload) = self.workloads().refresh(pid, now) else { return };
        let mut facts = Facts::default();
        facts.set_workload(&workload);
        let told = enforce::told(&engine, &self.catalogue, &facts, Clock::read().wall(now));
        let Some(enforcer) = &mut self.enforcer else { return };
        if let Err(error) = enforcer.tell(pid, &told) {
            tracing::warn!(pid, error = %super::chain(&error), "the gate does not know the process");
        }
    }

    /// Tells the gate which provider an address was the answer for; a hint, as addresses are shared.
    pub(super) fn note_address(&mut self, address: IpAddr, provider: Option<&str>) {
        let (Some(enforcer), Some(provider)) = (&mut self.enforcer, provider) else { return };
        let destination = enforce::destination(provider);
        if let Err(error) = enforcer.maps().set_address(address, destination) {
            tracing::debug!(%address, %error, "address is not known to the gate");
        }
    }

    /// Takes a DNS answer: who asked knows the addresses by this name, and those of an AI name are known from now on.
    pub(super) fn on_answer(&mut self, header: &Header, message: &[u8]) {
        let Ok(answer) = dns::parse(message) else { return };
        self.openings.resolved.note(header.tgid, &answer, header.at_ns);
        if !self.is_ai(&answer.name) {
            return;
        }
        let provider = self.catalogue.find(&answer.name).map(|provider| provider.id.clone());
        for (address, _ttl) in answer.addresses {
            self.note_address(address, provider.as_deref());
            if let Err(error) = self.addresses.add(address) {
                tracing::debug!(%address, %error, "address is not known to the kernel half");
            }
        }
    }

    /// Notes an AI socket, so that a panic finds it.
    pub(super) fn note_socket(&mut self, socket: &Socket, cgroup: u64, name: Option<&str>) {
        let Some(enforcer) = &mut self.enforcer else { return };
        let provider = name.and_then(|name| self.catalogue.find(name));
        let destination = provider.map_or(1, |provider| enforce::destination(&provider.id));
        let (tgid, family) = (socket.tgid, socket.family);
        let noted = AiSocket { tgid, class: 0, destination, family, cgroup };
        if let Err(error) = enforcer.maps().add_socket(socket.cookie, noted) {
            tracing::debug!(%error, "socket is not known to the gate");
        }
    }

    /// Forgets a socket that is closed.
    pub(super) fn forget_socket(&mut self, cookie: u64) {
        if let Some(enforcer) = &mut self.enforcer {
            // A stale note costs a place in a table that forgets.
            let _forgotten = enforcer.maps().set_socket(cookie, None);
        }
    }
}
