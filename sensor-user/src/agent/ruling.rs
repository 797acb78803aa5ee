//! A folder of policies that changes comes in; the gate refuses what the last good ones settle, and an event says how it went.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use sensor_common::gate::{ACTION_ALLOW, CLASS_UNKNOWN, Verdict};

use crate::config::Config;
use crate::enforce;
use crate::enforce::{Enforcer, Orders, Teller, Told};
use crate::policy::{Engine, Facts};
use crate::probes::connections;
use crate::report::Event;
use crate::workload::Table as Workloads;
use crate::workload::Workload;

use super::catalogues::Catalogues;
use super::clock::Clock;
use super::news::News;
use super::open_hosts::OpenHosts;
use super::policies::Policies;
use super::{SLEEP, gate, setup, threads};

/// Keeps the gate saying what the policies say.
pub(super) struct Ruling {
    pub(super) policies: Arc<Policies>,
    pub(super) open_hosts: Arc<OpenHosts>,
    /// None where the node enforces nothing: then the policies only judge.
    pub(super) enforcer: Option<Enforcer>,
    pub(super) catalogues: Arc<Catalogues>,
    pub(super) workloads: Arc<Mutex<Workloads>>,
    pub(super) config: Arc<Config>,
    /// Text of the configured orders, as it was read at the start.
    pub(super) orders: String,
    pub(super) clock: Clock,
}

/// What everybody is told.
#[derive(Default)]
struct Plan {
    orders: Orders,
    /// By class.
    told: HashMap<u32, Told>,
}

impl Ruling {
    /// Puts the policies into force that are in the folder now; bad ones leave the gate as an agent before has told it.
    pub(super) fn start(&mut self) {
        if self.policies.folder().is_some()
            && let Ok(engine) = self.policies.reload()
        {
            self.apply(&engine);
        }
    }

    /// Follows the folder, and the rows of providers, until the agent stops.
    pub(super) fn run(mut self, events: &SyncSender<Event>, stop: &AtomicBool) {
        // Until it is done, what is forbidden leaves.
        threads::hurry();
        let (folder, rows) = (self.policies.folder(), self.catalogues.rows());
        let (judged, followed) = (folder.is_some(), folder.is_some() || rows.is_some());
        let mut news = News::about(folder.map(PathBuf::as_path), rows);
        if let Err(error) = &news {
            tracing::warn!(%error, "changes of policies and providers are not noticed until the agent starts again");
        }
        // What changed before the watch stood is read here.
        let mut seen = self.clock.now();
        let mut next = followed.then(|| self.reload(events)).flatten();
        while !stop.load(Ordering::Relaxed) {
            let changed = if let (true, Ok(news)) = (followed, &mut news) {
                news.heard(SLEEP)
            } else {
                std::thread::sleep(SLEEP);
                false
            };
            let now = self.clock.now();
            if changed {
                next = self.reload(events);
            } else if judged && is_due(next, seen, now) {
                let engine = self.policies.engine();
                self.apply(&engine);
                next = engine.next_change(self.clock.now());
            }
            seen = now;
        }
    }

    /// Reads all again that was followed; gives the time at which the policies say something else by themselves.
    fn reload(&mut self, events: &SyncSender<Event>) -> Option<Timestamp> {
        let next = if self.policies.folder().is_some() {
            self.reload_policies(events)
        } else {
            self.policies.reload_rows(None);
            self.apply_configured();
            None
        };
        if self.policies.standing().rows.is_some() {
            self.tell("providers_refused", events);
        }
        next
    }

    fn reload_policies(&mut self, events: &SyncSender<Event>) -> Option<Timestamp> {
        let state = match self.policies.reload() {
            Ok(engine) => {
                tracing::info!(policies = engine.set().len(), "policies are in force");
                self.apply(&engine);
                "policies_accepted"
            }
            Err(problem) => {
                tracing::error!(problem, "policies are refused; those before stay in force");
                "policies_refused"
            }
        };
        self.tell(state, events);
        self.policies.engine().next_change(self.clock.now())
    }

    fn tell(&self, state: &'static str, events: &SyncSender<Event>) {
        let told = setup::agent_event(self.clock.now(), state);
        // With the queue full, metrics and status still say it.
        let _sent = events.try_send(Event::Agent(told));
    }

    /// Writes the orders of the configuration into the gate, by the catalogue of now.
    fn apply_configured(&mut self) {
        let Some(enforcer) = &mut self.enforcer else { return };
        let applied = gate::orders(&self.config, &self.orders, &self.catalogues.now())
            .and_then(|orders| Ok(enforcer.apply(&orders)?));
        let untold = applied.err().map(|error| super::chain(&*error));
        if let Some(error) = &untold {
            tracing::error!(error, "the gate could not be told");
        }
        self.policies.changed(untold);
    }

    /// Writes what the policies settle into the gate, and treats open connections as they say.
    fn apply(&mut self, engine: &Engine) {
        if self.enforcer.is_none() {
            return;
        }
        let plan = self.plan(engine);
        let Some(enforcer) = &mut self.enforcer else { return };
        let cut = spare(enforcer, &plan, &self.open_hosts);
        let untold = match enforcer.apply(&plan.orders) {
            Ok(done) => {
                let (written, removed) = (done.written, done.removed);
                tracing::info!(written, removed, classes = plan.told.len(), "the gate is told");
                None
            }
            Err(error) => {
                let error = super::chain(&error);
                tracing::error!(error, "the gate could not be told");
                Some(error)
            }
        };
        self.policies.changed(untold);
        if !cut.is_empty() {
            // Nobody has told of them: one without a call is judged, and told of, as it ends by this.
            let done = enforce::cut(&cut);
            tracing::info!(cut = done.cut, "open connections are cut, as policies say");
        }
    }

    /// Who is told what: everybody what is certain whoever it is, each running process what is settled for it.
    fn plan(&self, engine: &Engine) -> Plan {
        let catalogue = self.catalogues.now();
        let teller = Teller::new(engine, &catalogue, self.clock.now());
        let leads = teller.leads();
        if leads.left != 0 {
            let left = leads.left;
            tracing::warn!(left, "hosts that policies name are more than the kernel is told");
        }
        let mut plan = Plan { orders: Orders::of_leads(leads), ..Plan::default() };
        if !enforces(engine) {
            return plan;
        }
        let anybody = teller.told(&Facts::default());
        plan.add(CLASS_UNKNOWN, &anybody);
        let workloads = self.workloads();
        // Workers of one service are told the same: a machine has far fewer kinds of processes than processes.
        let mut known: HashMap<Facts<'_>, Told> = HashMap::new();
        for (pid, workload) in &workloads {
            let mut facts = Facts::default();
            facts.set_workload(workload);
            let told = known.entry(facts).or_insert_with_key(|facts| teller.told(facts));
            if told.rules != anybody.rules || told.scope != anybody.scope {
                plan.orders.processes.insert(*pid, told.class);
                plan.add(told.class, told);
            }
        }
        plan
    }

    /// Who runs now.
    fn workloads(&self) -> Vec<(u32, Arc<Workload>)> {
        let found = |pid| {
            let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
            Some((pid, workloads.refresh(pid, Clock::monotonic_ns())?))
        };
        connections::process_ids().into_iter().filter_map(found).collect()
    }
}

/// Whether policies may say something else than they did: their time has come, or the wall clock was set back, to before
/// a window or an end that had passed.
fn is_due(next: Option<Timestamp>, seen: Timestamp, now: Timestamp) -> bool {
    now < seen || next.is_some_and(|next| now >= next)
}

/// Whether any policy is in mode `enforce`.
pub(super) fn enforces(engine: &Engine) -> bool {
    engine.set().policies().any(|(_, mode)| mode == crate::policy::Mode::Enforce)
}

impl Plan {
    fn add(&mut self, class: u32, told: &Told) {
        if self.told.contains_key(&class) {
            return;
        }
        told.tell_what_is_left();
        self.orders.tell(class, told);
        self.told.insert(class, told.clone());
    }
}

/// Marks open connections that the plan refuses and its policies keep; gives those that are to be cut.
fn spare(enforcer: &mut Enforcer, plan: &Plan, hosts: &OpenHosts) -> Vec<(u64, u32)> {
    let mut cut = Vec::new();
    for (cookie, socket) in enforcer.maps().sockets() {
        let class = plan.orders.processes.get(&socket.tgid).copied().unwrap_or(CLASS_UNKNOWN);
        // Policies before may have told other hosts apart.
        let leads = hosts.of(cookie).and_then(|host| plan.orders.lead(&host));
        let destination = leads.unwrap_or(socket.destination);
        let order = plan.told.get(&class).and_then(|told| told.about(destination));
        match order {
            Some(order) if order.cuts => cut.push((cookie, socket.tgid)),
            Some(_) => {
                let verdict = Verdict { action: ACTION_ALLOW, ..Verdict::default() };
                if let Err(error) = enforcer.mark(cookie, verdict) {
                    tracing::warn!(error = %super::chain(&error), "an open connection is refused");
                }
            }
            None => {}
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_told_anew_at_their_time_and_when_the_clock_goes_back() {
        const CASES: [(Option<i64>, i64, i64, bool); 6] = [
            (Some(100), 50, 51, false),
            (Some(100), 99, 100, true),
            (Some(100), 50, 5_000, true),
            (Some(100), 50, 49, true),
            (None, 50, 49, true),
            (None, 50, 50, false),
        ];
        let at = |second| Timestamp::from_second(second).unwrap();
        for (next, seen, now, due) in CASES {
            assert_eq!(is_due(next.map(at), at(seen), at(now)), due, "{next:?} {seen} {now}");
        }
    }
}
