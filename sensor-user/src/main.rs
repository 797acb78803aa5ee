//! Arguments come in; the agent runs.

use std::path::Path;

use sensor_user::agent::{self, Outputs};
use sensor_user::config::Config;
use sensor_user::report::sinks::JsonLines;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let path = std::env::args().nth(1);
    let config = path.map_or_else(|| Ok(Config::default()), |path| Config::read(Path::new(&path)))?;
    let sink = JsonLines::new(std::io::stdout(), "host".into());
    agent::run(config, Outputs { sinks: vec![Box::new(sink)], filter: sensor_user::report::Filter::default(), metrics: std::sync::Arc::new(sensor_user::report::Metrics::new(200)?), totals_every: None })
}
