//! What the event ring tells comes in; the gate knows whose calls it judges, which addresses and sockets lead to AI.

use std::net::IpAddr;

use sensor_common::gate::{AiSocket, DESTINATION_ANY};
use sensor_common::record::{FLAG_SEGMENT, Header, Socket};

use crate::destination::dns;
use crate::destination::dns_stream::Segment;
use crate::enforce::Teller;
use crate::policy::Facts;

use super::clock::Clock;
use super::intent::Intent;
use super::{gate, ruling};

impl Intent {
    /// Has the gate see the calls of a process from its first probe on. Whether it judges them, its class says, or a panic
    /// about a key or a model: that must not wait for probes.
    pub(super) fn admit(&mut self, pid: u32) {
        let Some(enforcer) = &mut self.enforcer else { return };
        self.kernel.judge(pid, gate::start_of(pid));
        if self.policies.folder().is_some() {
            self.tell(pid);
        } else if let Err(error) = gate::admit(enforcer, pid) {
            tracing::warn!(pid, error = %super::chain(&error), "calls are not judged");
        }
    }

    /// Goes after policies that have changed: who carries probes already is judged by what they say now.
    pub(super) fn follow_policies(&mut self) {
        let changes = self.policies.changes();
        if self.followed == changes {
            return;
        }
        self.followed = changes;
        for pid in self.registry.pids() {
            self.tell(pid);
        }
    }

    /// Looks whether a process that is about to call has another user by now: root is dropped without a new program. A short
    /// program may be over before its call is reported.
    pub(super) fn follow_user(&mut self, pid: u32, now: u64) {
        self.workloads().follow_user(pid, now);
        self.tell_changed();
    }

    /// Tells the gate again about processes whose user has changed.
    pub(super) fn tell_changed(&mut self) {
        let changed = self.workloads().take_changed();
        if self.policies.folder().is_none() {
            return;
        }
        for pid in changed {
            self.tell(pid);
        }
    }

    /// Tells the gate what is certain by the policies about a process.
    pub(super) fn tell(&mut self, pid: u32) {
        let engine = self.policies.engine();
        if self.enforcer.is_none() || !ruling::enforces(&engine) {
            return;
        }
        let now = Clock::monotonic_ns();
        let Some(workload) = self.workloads().refresh(pid, now) else { return };
        let mut facts = Facts::default();
        facts.set_workload(&workload);
        let catalogue = self.catalogues.now();
        let told = Teller::new(&engine, &catalogue, Clock::of_machine().now()).told(&facts);
        let Some(enforcer) = &mut self.enforcer else { return };
        if let Err(error) = enforcer.tell(pid, &told) {
            let error = super::chain(&error);
            tracing::warn!(pid, error, "the gate does not know the process");
            self.policies.not_told(format!("process {pid}: {error}"));
        }
    }

    /// Tells the gate where an address leads by the name it was the answer for; a hint, as addresses are shared.
    fn note_address(&mut self, address: IpAddr, name: &str) {
        let catalogue = self.catalogues.now();
        let Some(provider) = catalogue.find(name) else { return };
        let Some(enforcer) = &mut self.enforcer else { return };
        let destination = enforcer.destination(name, provider);
        if let Err(error) = enforcer.maps().set_address(address, destination) {
            tracing::debug!(%address, %error, "address is not known to the gate");
        }
    }

    /// Takes a DNS answer: who asked knows the addresses by this name, and those of an AI name are known from now on.
    pub(super) fn on_answer(&mut self, header: &Header, bytes: &[u8]) {
        if header.flags & FLAG_SEGMENT == 0 {
            return self.on_message(header, bytes);
        }
        let segment = Segment {
            cookie: header.connection,
            sequence: u32::try_from(header.offset).unwrap_or_default(),
            bytes,
            length: usize::try_from(header.call_len).unwrap_or(usize::MAX),
            at_ns: header.at_ns,
        };
        match self.openings.answers.push(&segment) {
            Ok(messages) => {
                for message in messages {
                    self.on_message(header, &message);
                }
            }
            Err(error) => {
                self.status.answer_dropped();
                tracing::debug!(%error, "answer is left out");
            }
        }
    }

    fn on_message(&mut self, header: &Header, message: &[u8]) {
        let Ok(answer) = dns::parse(message) else { return };
        self.openings.resolved.note(header.tgid, &answer, header.at_ns);
        if !self.is_ai(&answer.name) {
            return;
        }
        for (address, _ttl) in answer.addresses {
            self.note_address(address, &answer.name);
            if let Err(error) = self.addresses.add(address) {
                tracing::debug!(%address, %error, "address is not known to the kernel half");
            }
        }
    }

    /// Notes an AI socket, so that a panic finds it.
    pub(super) fn note_socket(&mut self, socket: &Socket, cgroup: u64, name: Option<&str>) {
        let Some(enforcer) = &mut self.enforcer else { return };
        let catalogue = self.catalogues.now();
        let known = name.and_then(|name| Some((name, catalogue.find(name)?)));
        let destination = known.map_or(DESTINATION_ANY, |(name, provider)| {
            self.open_hosts.note(socket.cookie, name);
            enforcer.destination(name, provider)
        });
        let (tgid, family) = (socket.tgid, socket.family);
        let noted = AiSocket { tgid, class: 0, destination, family, cgroup };
        if let Err(error) = enforcer.maps().add_socket(socket.cookie, noted) {
            tracing::debug!(%error, "socket is not known to the gate");
        }
    }

    /// Forgets a socket that is closed.
    pub(super) fn forget_socket(&mut self, cookie: u64) {
        if let Some(enforcer) = &mut self.enforcer {
            self.open_hosts.forget(cookie);
            // A stale note costs a place in a table that forgets.
            let _forgotten = enforcer.maps().set_socket(cookie, None);
        }
    }
}
