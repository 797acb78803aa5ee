//! Process, socket and name records come in; processes that show intent get their probes, the others stay untouched.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::bpf::{AddressMap, Kernel, ProbeLink, ProcessMap, ProgramMap};
use crate::capture::{self, Body, Record};
use crate::config::Config;
use crate::enforce::Enforcer;
use crate::probes::connections;
use crate::probes::learned::{Known, Learned, Program};
use crate::probes::{Registry, Why};
use crate::workload::Table as Workloads;
use crate::workload::runtime::Index;

use super::attached::TRIES_MAX;
use super::catalogues::Catalogues;
use super::listening::Listening;
use super::notice::{FromPipeline, ToPipeline};
use super::open_hosts::OpenHosts;
use super::openings::Openings;
use super::policies::Policies;
use super::stacks::Stacks;
use super::status::Status;

/// How often running processes are looked over: libraries loaded late, processes gone, probation over.
pub(super) const LOOK_OVER: Duration = Duration::from_secs(2);
/// Processes whose program is remembered beyond their end.
const ORIGINS_MAX: usize = 16_384;

/// What the thread owns.
pub(super) struct Intent {
    pub(super) kernel: Kernel,
    pub(super) registry: Registry,
    pub(super) learned: Learned,
    /// Tells the gate whose calls are judged; none where nothing is enforced.
    pub(super) enforcer: Option<Enforcer>,
    pub(super) policies: Arc<Policies>,
    pub(super) open_hosts: Arc<OpenHosts>,
    /// Changes of the policies that were gone after.
    pub(super) followed: u64,
    pub(super) catalogues: Arc<Catalogues>,
    pub(super) processes: ProcessMap,
    pub(super) addresses: AddressMap,
    pub(super) programs: ProgramMap,
    pub(super) openings: Openings,
    pub(super) workloads: Arc<Mutex<Workloads>>,
    /// What is known of containers.
    pub(super) containers: Arc<Index>,
    pub(super) detached: SyncSender<Vec<ProbeLink>>,
    pub(super) pipeline: SyncSender<ToPipeline>,
    pub(super) status: Arc<Status>,
    pub(super) stacks: Arc<Stacks>,
    pub(super) config: Arc<Config>,
    /// Which program each process is or was that carried probes.
    pub(super) origins: HashMap<u32, (Program, Known)>,
    /// Processes on probation, with the time their probation ends.
    pub(super) probation: HashMap<u32, u64>,
    /// Processes without a TLS library so far.
    pub(super) waiting: HashMap<u32, Waiting>,
    /// Whose arriving packets are looked at.
    pub(super) listening: Listening,
}

/// A process that showed intent and has nothing to probe so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Tries that are left.
    pub(super) tries: u8,
    /// When the next one is due.
    pub(super) next_ns: u64,
    /// Why it would be blind: once it has ended, nobody can tell.
    pub(super) reason: &'static str,
    /// Why it showed intent.
    pub(super) why: Why,
}

impl Intent {
    /// Attaches to what runs already: programs that made AI calls before, and processes with open TLS connections.
    pub(super) fn scan(&mut self, now: u64) {
        let commands: Vec<_> = self.learned.commands().map(str::to_owned).collect();
        self.announce(&commands);
        if self.config.capture.is_eager() {
            for pid in connections::process_ids() {
                self.attach(pid, Why::Eager, now);
            }
            return;
        }
        let own = std::process::id();
        for pid in connections::process_ids() {
            let known = Program::of_process(pid)
                .is_some_and(|(program, _)| self.learned.get(&program).is_some());
            if known && pid != own {
                self.attach(pid, Why::Learned, now);
            }
        }
        for pid in connections::processes_connected_to(&self.config.capture.scan_ports) {
            if self.registry.why(pid).is_none() && pid != own {
                self.attach(pid, Why::Probation, now);
            }
        }
    }

    /// Takes one record of the event ring.
    pub(super) fn on_record(&mut self, record: &Record<'_>) {
        let (header, now) = (&record.header, record.header.at_ns);
        match &record.body {
            Body::Hello(hello) => self.on_hello(header, hello),
            Body::Opening(socket, bytes) => self.on_opening(header, socket, bytes),
            Body::Question(hello) => {
                if capture::name_of(hello).is_some_and(|name| self.is_ai(&name)) {
                    self.listen_for_answers(header.tgid, now);
                    self.show_intent(header.tgid, Why::Question, now);
                }
            }
            Body::Connect(socket) => self.show_intent(socket.tgid, Why::Connect, now),
            Body::Answer(message) => self.on_answer(header, message),
            Body::Closed(socket) => {
                self.forget_socket(socket.cookie);
                self.notify(ToPipeline::Closed { socket: *socket, at_ns: now });
            }
            Body::Exec => self.on_exec(header.tgid, now),
            Body::Fork => {
                if let Ok(child) = u32::try_from(header.aux) {
                    self.on_fork(header.tgid, child, now);
                }
            }
            Body::Exit => self.on_exit(header.tgid, now),
            _ => tracing::debug!(kind = header.kind, "record in the wrong ring"),
        }
    }

    /// Counts a record that cannot be read.
    pub(super) fn refuse(&self, error: &capture::Error) {
        self.status.record_refused();
        tracing::debug!(%error, "record is left out");
    }

    pub(super) fn is_ai(&self, name: &str) -> bool {
        self.catalogues.is_ai(name)
    }

    pub(super) fn show_intent(&mut self, pid: u32, why: Why, now: u64) {
        self.probation.remove(&pid);
        if self.registry.why(pid).is_some() {
            self.registry.confirm(pid, why);
        } else {
            self.attach(pid, why, now);
        }
        self.follow_user(pid, now);
    }

    /// Looks for a TLS library among all files of a process: it said hello by one that nobody knows.
    pub(super) fn look_deeper(&mut self, pid: u32, now: u64) {
        if self.registry.deepen(pid) {
            self.attach(pid, Why::Hello, now);
        }
    }

    fn on_exec(&mut self, pid: u32, now: u64) {
        self.workloads().observe_exec(pid, now);
        self.admit(pid);
        let probed = self.registry.why(pid).is_some();
        let Some((program, _)) = Program::of_process(pid) else { return };
        if let Some(libraries) = self.learned.get(&program).map(|known| known.libraries.clone()) {
            let began = Instant::now();
            match self.registry.attach_paths(&mut self.kernel, pid, &libraries) {
                // What was learnt is not there: to this process the program is a new one.
                Ok(_) if self.registry.libraries_of(pid).is_empty() => self.release(pid),
                Ok(attached) => {
                    self.stacks.restart(pid);
                    self.stacks.found(pid, &attached.carried);
                    self.listen_for_records(pid, &attached.carried, now);
                    // A ClientHello is held back until the process is marked, so the mark comes last.
                    self.mark(pid);
                    self.status.attached(Why::Learned, attached.probes);
                    Self::set(pid, Why::Learned, attached.probes, (began, now));
                    self.remember(pid);
                }
                Err(error) => self.attach_failed(pid, &error),
            }
            self.workloads().resolve(pid, now);
        } else if probed {
            self.attach(pid, Why::Probation, now);
        }
    }

    fn on_fork(&mut self, parent: u32, child: u32, now: u64) {
        self.workloads().observe_fork(parent, child, now);
        if self.registry.why(parent).is_some() {
            self.attach(child, Why::Forked, now);
        }
    }

    fn on_exit(&mut self, pid: u32, now: u64) {
        self.workloads().observe_exit(pid, now);
        if let Some(Waiting { reason, .. }) = self.waiting.remove(&pid) {
            self.notify(ToPipeline::Blind { pid, reason });
        }
        self.release(pid);
        self.kernel.acquit(pid);
        self.notify(ToPipeline::Exited { pid, at_ns: now });
    }

    /// Takes what the pipeline found out about a process.
    pub(super) fn on_notice(&mut self, notice: FromPipeline, now: u64) {
        match notice {
            FromPipeline::AiCall { pid, asked } => {
                if self.probation.remove(&pid).is_some() {
                    self.registry.confirm(pid, Why::Hello);
                }
                if asked {
                    self.registry.judge(pid, true);
                }
                self.learn(pid);
            }
            FromPipeline::NotHttp { pid } | FromPipeline::Unseen { pid } => self.doubt(pid, now),
            FromPipeline::NotAi { pid } => {
                if let Some(until) = self.probation.get_mut(&pid) {
                    *until = now;
                }
            }
        }
    }

    fn learn(&mut self, pid: u32) {
        // A short program has ended by now: what it was is remembered from the time its probes were set.
        let Some((program, known)) = self.origins.get(&pid).cloned() else { return };
        let name = program.executable.clone();
        match self.learned.add(program, &known) {
            Ok(true) => {
                self.announce(&known.commands);
                tracing::debug!(program = name, "program is learnt");
            }
            Ok(false) => {}
            Err(error) => {
                self.announce(&known.commands);
                tracing::warn!(program = name, %error, "program is learnt for this run only");
            }
        }
    }

    /// Has the kernel half report the start of programs by these names.
    fn announce(&mut self, commands: &[String]) {
        for name in commands {
            if let Err(error) = self.programs.add(name) {
                tracing::warn!(program = name, %error, "program is not known to the kernel half");
            }
        }
    }

    /// Looks over all processes: libraries loaded late, ends that were missed, probation that is over.
    pub(super) fn look_over(&mut self, now: u64) {
        for pid in self.registry.pids() {
            if self.probation.get(&pid).is_some_and(|until| *until <= now) {
                self.release(pid);
            } else {
                self.refresh(pid, now);
            }
        }
        if self.config.capture.is_eager() {
            for pid in connections::process_ids() {
                self.attach(pid, Why::Eager, now);
            }
        }
        self.look_over_listening(now);
        self.workloads().expire(now);
        self.status.set_probes(&self.registry.probe_counts(), self.registry.pids().len());
    }

    fn refresh(&mut self, pid: u32, now: u64) {
        match self.registry.refresh(&mut self.kernel, pid) {
            Ok(attached) => {
                self.stacks.found(pid, &attached.carried);
                self.listen_for_records(pid, &attached.carried, now);
                if attached.probes != 0 {
                    self.mark(pid);
                }
            }
            Err(_ended) => self.on_exit(pid, now),
        }
    }

    /// Tries again with processes that had no TLS library when they showed intent.
    pub(super) fn try_again(&mut self, now: u64) {
        let is_due = |waiting: &Waiting| waiting.next_ns <= now;
        let due: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| is_due(waiting))
            .map(|(pid, waiting)| (*pid, *waiting))
            .collect();
        for (pid, Waiting { tries, why, .. }) in due {
            self.waiting.remove(&pid);
            self.attach(pid, why, now);
            // A search that is under way takes no tries.
            let Some(waiting) =
                self.waiting.get_mut(&pid).filter(|waiting| waiting.tries <= TRIES_MAX)
            else {
                continue;
            };
            waiting.tries = tries.saturating_sub(1);
            let Waiting { tries, reason, .. } = *waiting;
            if tries == 0 {
                self.waiting.remove(&pid);
                self.notify(ToPipeline::Blind { pid, reason });
            }
        }
    }

    /// When `try_again` has something to do, or a container may become known at any moment.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.containers.is_asking()
    }

    pub(super) fn attach(&mut self, pid: u32, why: Why, now: u64) {
        let began = Instant::now();
        self.admit(pid);
        // The call of a short program may be over before its probes stand, and the program with it: the name in its
        // ClientHello is enough to have the next one probed at its start.
        let origin = (why == Why::Hello).then(|| Program::of_process(pid)).flatten();
        match self.registry.attach(&mut self.kernel, pid, why) {
            Ok(attached) => {
                self.stacks.found(pid, &attached.carried);
                self.listen_for_records(pid, &attached.carried, now);
                if why != Why::Eager {
                    self.after_attach(pid, why, &attached, (began, now));
                }
            }
            Err(error) => {
                self.attach_failed(pid, &error);
                if self.registry.is_deep(pid) {
                    // What cannot be found does not make its connections wait again.
                    self.mark(pid);
                }
            }
        }
        if let Some(origin) = origin {
            let libraries = self.registry.meant().to_vec();
            if !libraries.is_empty() {
                self.note_origin(pid, origin, libraries);
                self.learn(pid);
            }
        }
    }

    /// Notes which program a probed process is.
    pub(super) fn remember(&mut self, pid: u32) {
        let Some(origin) = Program::of_process(pid) else { return };
        let libraries = self.registry.paths_of(pid).to_vec();
        self.note_origin(pid, origin, libraries);
    }

    fn note_origin(&mut self, pid: u32, origin: (Program, Vec<String>), libraries: Vec<String>) {
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.clear();
        }
        let (program, commands) = origin;
        self.origins.insert(pid, (program, Known { libraries, commands }));
    }

    fn attach_failed(&self, pid: u32, error: &crate::probes::Error) {
        self.status.attach_failed();
        tracing::debug!(pid, error = %super::chain(error), "no probes in this process");
    }

    pub(super) fn mark(&mut self, pid: u32) {
        let shows_hellos = self.registry.shows_hellos(pid);
        if let Err(error) = self.processes.mark(pid, shows_hellos) {
            tracing::debug!(pid, %error, "process is not marked");
        }
    }

    /// Takes the probes out of a process, off this thread.
    pub(super) fn release(&mut self, pid: u32) {
        self.processes.unmark(pid);
        self.probation.remove(&pid);
        self.waiting.remove(&pid);
        self.forget_listener(pid);
        let links = self.registry.detach(pid);
        // With the queue full, the links are dropped here: slow, but nothing stays attached.
        let _dropped_here = self.detached.try_send(links);
    }

    pub(super) fn notify(&self, notice: ToPipeline) {
        if self.pipeline.try_send(notice).is_err() {
            self.status.notice_dropped();
        }
    }

    pub(super) fn workloads(&self) -> std::sync::MutexGuard<'_, Workloads> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
