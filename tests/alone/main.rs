//! Sensors with nothing else on the machine: one that is held up accounts for every byte, one that was killed leaves nothing on;
//! processes that come and go leave nothing, and clients end as they do without one.

#[cfg(test)]
#[expect(dead_code, reason = "these tests need only a part of it")]
#[path = "../kernel/sensor.rs"]
mod sensor;

#[cfg(test)]
mod churn;
#[cfg(test)]
mod hurry;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod runs;

/// One test at a time: what each asks is whether anything else is on the machine.
#[cfg(test)]
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
