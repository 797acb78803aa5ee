//! The configuration comes in; the stages are made, joined by threads and bounded channels, watched, and shut down.
//!
//! ```text
//! event ring -> [intent]  -- probes, marks --> kernel        [links] closes probes off the hot path
//!                 |  ^
//!                 v  |  notices
//! data ring --> [pipeline] capture -> reassembly -> http -> provider -> credential, spend
//!                 |
//!                 v  events
//!               [reporter] -> sinks, metrics                 [main] signals, /metrics, health
//! ```

mod admission;
mod alarm;
mod aside;
mod attached;
mod blind;
mod catalogues;
mod clock;
mod connection;
mod counted;
mod coverage;
mod doctor;
mod doubt;
mod fleet_key;
mod gate;
mod intent;
mod judge;
mod kill;
mod links;
mod listening;
mod missed;
mod names;
mod news;
mod notice;
mod open_hosts;
mod openings;
mod outputs;
mod pipeline;
mod policies;
mod proofs;
#[cfg(test)]
mod recorded;
mod ruling;
mod runtimes;
mod serving;
mod setup;
mod stacks;
mod status;
mod telemetry;
mod threads;
mod uncalled;
mod watch;
mod writes;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;

use crate::bpf::Ring;
use crate::capture;
use crate::config::Config;
use crate::probes::search;
use crate::probes::search::{Searcher, Spent};
use crate::report::Event;
use crate::report::server::Readiness;

pub use self::alarm::alarm;
pub use self::aside::open_inventory;
use self::clock::Clock;
pub use self::doctor::{check_machine, examine};
use self::intent::{Intent, LOOK_OVER};
use self::notice::{FromPipeline, ToPipeline};
pub use self::outputs::Outputs;
use self::pipeline::Pipeline;
use self::proofs::Proofs;
use self::runtimes::{Asker, Runtimes};
use self::serving::Signals;
use self::setup::Stages;
pub use self::setup::make_state_folder;
use self::status::{DATA_RING, EVENT_RING};
use self::telemetry::Telemetry;
use self::threads::{Watched, join, spawn};

/// Events that wait for the reporter; then the pipeline waits, and the ring takes the pressure.
const EVENTS_MAX: usize = 4096;
/// Messages between the threads that wait; then they are dropped and counted.
const NOTICES_MAX: usize = 4096;
/// Files that wait to be searched, or to be taken back; then the process asks again.
const SEARCHES_MAX: usize = 64;
/// Batches of probes that wait to be closed; then the thread that detaches closes them itself.
const DETACHED_MAX: usize = 1024;
/// Time in which what the ring holds at the end is read: 16 MiB take a tenth of it.
const DRAIN: Duration = Duration::from_millis(300);
/// Longest sleep of a thread that waits for records: how soon it sees that the agent stops.
const SLEEP: Duration = Duration::from_millis(100);
/// Sleep of the decoding thread while records come: the kernel half wakes it only every few milliseconds.
const SHORT_SLEEP: Duration = Duration::from_millis(5);
/// Rounds without a record after which the decoding thread trusts the kernel to wake it.
const QUIET_ROUNDS: u32 = 8;
/// How often what the stages count is summed up.
const PUBLISH: Duration = Duration::from_secs(1);
/// Name of the thread that hands events out.
const REPORTER: &str = "reporter";
/// Records decoded between two looks at the clock and the notices.
const BATCH: usize = 512;

/// Runs the agent until a signal ends it, or one of its threads does.
pub fn run(config: Config, outputs: Outputs) -> anyhow::Result<()> {
    let (runtime, signals) = tokio_on_this_thread()?;
    let (events, events_out) = sync_channel(EVENTS_MAX);
    let (to_pipeline, pipeline_in) = sync_channel(NOTICES_MAX);
    let (to_intent, intent_in) = sync_channel(NOTICES_MAX);
    let (detached, detached_out) = sync_channel(DETACHED_MAX);
    let (searcher, requests, answers) = searcher();
    let senders = (events.clone(), to_pipeline, to_intent, detached);
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, mut ends) = mpsc::channel(8);
    let watch = |name| Watched { name, ended: ended.clone() };
    let (containers, asker) = Asker::start(&config.runtimes, watch("runtimes"))?;
    let stages = setup::stages(config, senders, searcher, Arc::clone(&containers))?;
    let Stages { intent, pipeline, event_ring, data_ring, counters, .. } = stages;
    let Stages { diagnostics, watch: gate_watch, ruling, policies, status, config, .. } = stages;
    let outputs_metrics = Arc::clone(&outputs.metrics);
    let wants_totals = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&wants_totals);
    let reporter = spawn(REPORTER, watch(REPORTER), move || outputs.report(&events_out, &flag))?;
    let closer = spawn("links", watch("links"), move || links::run(&detached_out))?;
    let search = spawn("search", watch("search"), move || search_files(&requests, &answers))?;
    let drain = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&drain);
    let decoder = spawn("pipeline", watch("pipeline"), move || {
        decode(pipeline, data_ring, &pipeline_in, &flag);
    })?;
    let flag = Arc::clone(&stop);
    let attacher =
        spawn("intent", watch("intent"), move || attach(intent, event_ring, &intent_in, &flag))?;
    let (flag, told) = (Arc::clone(&stop), events.clone());
    let watcher = spawn("gate", watch("gate"), move || gate_watch.run(&told, &flag))?;
    let (flag, told) = (Arc::clone(&stop), events.clone());
    let ruler = spawn("policies", watch("policies"), move || ruling.run(&told, &flag))?;
    let clock = Clock::of_machine();
    say(&events, clock, "started");
    let mut telemetry = Telemetry {
        metrics: outputs_metrics,
        readiness: Arc::new(Readiness::default()),
        status,
        counters,
        diagnostics,
        proofs: Proofs::new(&config),
        policies,
        runtimes: Runtimes::new(containers),
        events: events.clone(),
        clock,
        lost: HashMap::new(),
        picture: Arc::new(Mutex::new(serving::picture(clock))),
    };
    let asked = (&*wants_totals, &mut ends);
    let outcome = runtime.block_on(serving::serve(&config, &mut telemetry, signals, asked));
    say(&events, clock, "stopping");
    stop.store(true, Ordering::Relaxed);
    let detached = join("intent", attacher);
    // Nothing is written any more: what the ring still holds is read to its end.
    drain.store(true, Ordering::Relaxed);
    let joined = [
        detached,
        join("pipeline", decoder),
        join("links", closer),
        join("gate", watcher),
        join("policies", ruler),
        join("search", search),
        asker.stop(),
    ];
    telemetry.publish();
    say(&events, clock, "stopped");
    drop((events, telemetry));
    let reported = join(REPORTER, reporter).and_then(|done| done.map_err(anyhow::Error::from));
    outcome.and(joined.into_iter().collect::<anyhow::Result<()>>()).and(reported)
}

/// The one tokio of the main thread, and the signals that are heard from now on.
fn tokio_on_this_thread() -> anyhow::Result<(tokio::runtime::Runtime, Signals)> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().context("starting tokio")?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    Ok((runtime, signals))
}

/// Says what the agent does; with a full queue or a dead reporter this line is the least of it.
fn say(events: &SyncSender<Event>, clock: Clock, state: &'static str) {
    let time = clock.now();
    let _sent = events.try_send(Event::Agent(setup::agent_event(time, state)));
}

/// Reads the plaintext ring.
fn decode(
    mut pipeline: Pipeline,
    mut ring: Ring,
    notices: &Receiver<ToPipeline>,
    drain: &AtomicBool,
) {
    let mut quiet = QUIET_ROUNDS;
    let (mut ticked, mut published) = (Instant::now(), Instant::now());
    while !drain.load(Ordering::Relaxed) {
        let taken = take(&mut pipeline, &mut ring, notices);
        if ticked.elapsed() >= SLEEP {
            ticked = Instant::now();
            pipeline.tick(Clock::monotonic_ns());
        }
        if published.elapsed() >= PUBLISH {
            published = Instant::now();
            pipeline.publish();
        }
        quiet = if taken == 0 { quiet.saturating_add(1) } else { 0 };
        if taken < BATCH {
            ring.wait(Some(if quiet < QUIET_ROUNDS { SHORT_SLEEP } else { SLEEP }));
        }
    }
    let began = Instant::now();
    while take(&mut pipeline, &mut ring, notices) != 0 && began.elapsed() < DRAIN {}
    pipeline.finish(Clock::monotonic_ns());
    pipeline.publish();
}

/// Hands up to a batch of records, and all notices, to the pipeline; says how many records.
fn take(pipeline: &mut Pipeline, ring: &mut Ring, notices: &Receiver<ToPipeline>) -> usize {
    let mut taken = 0_usize;
    while taken < BATCH
        && let Some(bytes) = ring.take()
    {
        match capture::decode(&bytes) {
            Ok(record) => pipeline.on_record(&record),
            Err(error) => pipeline.refuse(&error),
        }
        taken = taken.saturating_add(1);
    }
    notices.try_iter().take(NOTICES_MAX).for_each(|notice| pipeline.on_notice(notice));
    pipeline.status.records_taken(DATA_RING, taken);
    taken
}

/// Reads the event ring.
fn attach(mut intent: Intent, mut ring: Ring, notices: &Receiver<FromPipeline>, stop: &AtomicBool) {
    // This thread races with the handshakes of new processes.
    threads::hurry();
    intent.scan(Clock::monotonic_ns());
    let mut looked = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let mut taken = 0_usize;
        while let Some(bytes) = ring.take() {
            match capture::decode(&bytes) {
                Ok(record) => intent.on_record(&record),
                Err(error) => intent.refuse(&error),
            }
            taken = taken.saturating_add(1);
        }
        intent.status.records_taken(EVENT_RING, taken);
        let now = Clock::monotonic_ns();
        notices.try_iter().take(NOTICES_MAX).for_each(|notice| intent.on_notice(notice, now));
        intent.follow_policies();
        intent.try_again(now);
        intent.tell_resolved();
        intent.tell_changed();
        if looked.elapsed() >= LOOK_OVER {
            looked = Instant::now();
            intent.look_over(now);
        }
        ring.wait(Some(if intent.is_waiting() { SHORT_SLEEP } else { SLEEP }));
    }
    // What was learnt in the last moment outlives the agent too.
    notices
        .try_iter()
        .take(NOTICES_MAX)
        .for_each(|notice| intent.on_notice(notice, Clock::monotonic_ns()));
    links::close(intent.registry.detach_all());
}

/// The way to the thread that searches files, and the ends that this thread holds.
fn searcher() -> (Searcher, Receiver<search::Request>, SyncSender<search::Answer>) {
    let (requests, requests_out) = sync_channel(SEARCHES_MAX);
    let (answers, answers_out) = sync_channel(SEARCHES_MAX);
    (Searcher::new(requests, answers_out), requests_out, answers)
}

/// Searches files.
fn search_files(requests: &Receiver<search::Request>, answers: &SyncSender<search::Answer>) {
    // A ClientHello that is held back waits for it, for a retransmission or two.
    threads::hurry();
    search::run(requests, answers, tell_spent);
}

/// Says what a search has cost.
fn tell_spent(Spent { bytes, took, found }: Spent) {
    let took_us = took.as_micros();
    tracing::debug!(bytes, took_us, found, "file searched");
}

/// The time of the wall clock.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Name of this machine, as events carry it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// An error with all its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
