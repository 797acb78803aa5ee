//! Signals, scrapes and questions over the control socket come in; answers go out until the agent is to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use sensor_common::limits::EVENT_RING_BYTES;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::report::control;
use crate::report::control::{Control, Picture};
use crate::report::server;

use super::clock::Clock;
use super::status::{DATA_RING, EVENT_RING};
use super::telemetry::Telemetry;
use super::{REPORTER, SLEEP, setup};

/// The signals that the agent hears.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    totals: Signal,
}

impl Signals {
    /// Hears them from now on, within a runtime. Before, SIGTERM ends the agent in the middle of what it does, and SIGINT is
    /// lost where a shell has started the agent in the background.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            totals: signal(SignalKind::user_defined1()).context("listening for SIGUSR1")?,
        })
    }
}

/// Answers signals and HTTP requests until the agent is to stop.
pub(super) async fn serve(
    config: &Config,
    telemetry: &mut Telemetry,
    mut signals: Signals,
    (wants_totals, ends): (&AtomicBool, &mut mpsc::Receiver<&'static str>),
) -> anyhow::Result<()> {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = match config.report.listen.parse() {
        Ok(address) => {
            let listener = server::listen(address).await?;
            let address = listener.local_addr().context("asking for the address of the server")?;
            tracing::info!(%address, "metrics and health are served");
            let (metrics, readiness) =
                (Arc::clone(&telemetry.metrics), Arc::clone(&telemetry.readiness));
            let until = async { drop(stopped.await) };
            Some(tokio::spawn(server::serve(listener, metrics, readiness, until)))
        }
        // An empty address means that no server is wanted; a wrong one was refused with the configuration.
        Err(_) => None,
    };
    telemetry.metrics.set_ring_bytes(DATA_RING, u64::from(config.capture.ring_bytes));
    telemetry.metrics.set_ring_bytes(EVENT_RING, u64::from(EVENT_RING_BYTES));
    let (stop_control, control_stopped) = oneshot::channel::<()>();
    let controlled = control_socket(config, telemetry, control_stopped)?;
    telemetry.ready();
    let outcome = loop {
        tokio::select! {
            _ = signals.interrupt.recv() => break Ok(()),
            _ = signals.terminate.recv() => break Ok(()),
            _ = signals.totals.recv() => wants_totals.store(true, Ordering::Relaxed),
            Some(name) = ends.recv() => break ended(name),
            _ = second.tick() => telemetry.publish(),
        }
    };
    telemetry.stopping();
    telemetry.publish();
    drop((stop, stop_control));
    if let Some(controlled) = controlled {
        let _finished = tokio::time::timeout(SLEEP, controlled).await;
        // A newer agent may have its own there by now; then this fails, and nothing is lost.
        let _removed = std::fs::remove_file(&config.control.socket);
    }
    if let Some(server) = server {
        // A slow reader of metrics does not hold the agent up.
        let _finished = tokio::time::timeout(SLEEP, server).await;
    }
    outcome
}

/// What the end of a thread means. That of the reporter is an output's, which tells by itself why.
fn ended(name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(name == REPORTER, "the {name} thread has ended; the log says why");
    tracing::info!("an output has ended, and the agent with it");
    Ok(())
}

/// Opens the control socket, where one is wanted.
fn control_socket(
    config: &Config,
    telemetry: &Telemetry,
    stopped: oneshot::Receiver<()>,
) -> anyhow::Result<Option<tokio::task::JoinHandle<Result<(), crate::report::Error>>>> {
    let path = &config.control.socket;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let listener = control::listen(path)?;
    let control = Control {
        state: config.files.state.clone(),
        picture: Arc::clone(&telemetry.picture),
        engine: telemetry.policies.shared(),
    };
    let until = async { drop(stopped.await) };
    Ok(Some(tokio::spawn(control::serve(listener, control, until))))
}

/// What does not change while the agent runs.
pub(super) fn picture(clock: Clock) -> Picture {
    let now = Clock::monotonic_ns();
    Picture {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: setup::kernel_release().unwrap_or_default(),
        pid: std::process::id(),
        started: clock.wall_seconds(now),
        missing: vec!["starting".to_owned()],
        ..Picture::default()
    }
}
