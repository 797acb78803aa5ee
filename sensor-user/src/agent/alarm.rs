//! A panic command comes in; what it stopped, or what is stopped, goes out as text. No agent has to run.

use anyhow::{Context, bail};

use crate::cli::PanicAction;
use crate::cli::PanicScope;
use crate::config::Config;
use crate::enforce;
use crate::enforce::{Panic, Scope};

use super::clock::Clock;
use super::gate;

/// Nanoseconds in a second.
const NS_PER_SEC: u64 = 1_000_000_000;

fn scope(chosen: &PanicScope) -> Scope {
    let PanicScope { provider, key, model, workload } = chosen;
    provider
        .clone()
        .map(Scope::Provider)
        .or_else(|| key.clone().map(Scope::Key))
        .or_else(|| model.clone().map(Scope::Model))
        .or_else(|| workload.clone().map(Scope::Workload))
        .unwrap_or(Scope::Everything)
}

/// Runs `tollgate panic`.
pub fn alarm(config: &Config, action: &PanicAction) -> anyhow::Result<String> {
    let now = Clock::monotonic_ns();
    match action {
        PanicAction::On { scope: chosen, seconds, reason } => {
            if reason.trim().is_empty() {
                bail!("a panic needs a reason");
            }
            let wanted = scope(chosen);
            let key = wanted.key().map_err(anyhow::Error::msg)?;
            if wanted.is_about_content() {
                gate::check_judging(config)?;
            }
            let mut maps = gate::maps_or_new(config)?;
            let until = now.saturating_add(seconds.saturating_mul(NS_PER_SEC));
            Panic::on(&mut maps, key, until, reason).context("putting the panic on")?;
            let open: Vec<_> = maps
                .sockets()
                .into_iter()
                .filter(|(_, socket)| {
                    let class = (socket.class, maps.scope(socket.class));
                    Panic::stops(&key, class, maps.whole(socket.destination))
                })
                .map(|(cookie, socket)| (cookie, socket.tgid))
                .collect();
            let done = enforce::cut(&open);
            Ok(format!(
                "panic is on for {seconds} s; {} open connections cut, {} gone before\n",
                done.cut, done.missed
            ))
        }
        PanicAction::Off { scope: chosen, all } => {
            let Some(mut maps) = gate::maps(config)? else {
                return Ok("0 panics lifted\n".to_owned());
            };
            let which =
                if *all { None } else { Some(scope(chosen).key().map_err(anyhow::Error::msg)?) };
            let lifted = Panic::off(&mut maps, which, now)?;
            gate::leave_nothing(config);
            Ok(format!("{lifted} panics lifted\n"))
        }
        PanicAction::Status => {
            let maps = gate::maps(config)?;
            let all = maps.map(|maps| Panic::all(&maps)).unwrap_or_default();
            let on: Vec<_> = all.into_iter().filter(|panic| panic.until_ns > now).collect();
            if on.is_empty() {
                return Ok("no panic is on\n".to_owned());
            }
            let line = |panic: &Panic| {
                let left = panic.until_ns.saturating_sub(now).checked_div(NS_PER_SEC).unwrap_or(0);
                format!("on for {left} s more: {}\n", panic.reason)
            };
            Ok(on.iter().map(line).collect())
        }
    }
}
