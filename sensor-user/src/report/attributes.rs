//! Names and values come in; one flat JSON object of dotted attributes, unknown values left out, goes out.

use jiff::Timestamp;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

use crate::report::escape;
use crate::report::event::Process;

/// Microseconds in a millisecond, nanoseconds in a microsecond.
const THOUSAND: u64 = 1000;

/// Attributes in the order they were put.
#[derive(Debug, Default)]
pub(super) struct Attributes(Map<String, Value>);

impl Attributes {
    /// Begins an event.
    pub(super) fn new(event: &'static str, time: Timestamp, host: &str) -> Self {
        let mut attributes = Self::default();
        attributes.put("time", Some(format!("{time:.6}")));
        attributes.put("event.name", Some(event));
        attributes.put("host.name", Some(host).filter(|host| !host.is_empty()));
        attributes
    }

    /// Puts a value; an unknown one is left out, never null and never zero.
    pub(super) fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    /// Puts a duration in milliseconds, exact to the microsecond.
    pub(super) fn put_millis(&mut self, name: &str, nanos: Option<u64>) {
        let millis = nanos.and_then(|nanos| {
            let micros = nanos.checked_div(THOUSAND)?;
            let (whole, rest) = (micros.checked_div(THOUSAND)?, micros.checked_rem(THOUSAND)?);
            format!("{whole}.{rest:03}").parse::<Number>().ok()
        });
        self.put(name, millis);
    }

    /// Puts all that is known of a process.
    pub(super) fn put_process(&mut self, process: &Process) {
        self.put("process.pid", process.pid);
        let Some(workload) = process.workload.as_deref() else { return };
        self.put("process.start_time", process.started.map(|time| format!("{time:.2}")));
        self.put("process.executable.path", Some(workload.executable.as_str()));
        let command_line = workload.command_line.join(" ");
        self.put("process.command_line", Some(command_line).filter(|line| !line.is_empty()));
        self.put("process.parent_pid", workload.ancestors.first().map(|parent| parent.pid));
        self.put("user.name", workload.user.as_deref());
        self.put("user.id", Some(workload.uid.to_string()));
        self.put("tollgate.login_user", workload.login_user.as_deref());
        self.put(
            "container.id",
            workload.container.as_ref().map(|container| container.id.as_str()),
        );
        let runtime = workload.container.as_ref().map(|container| container.runtime);
        self.put("container.runtime.name", runtime.filter(|runtime| *runtime != "unknown"));
        self.put("systemd.unit", workload.systemd_unit.as_deref());
        self.put("tollgate.cgroup", Some(workload.cgroup.as_str()));
    }

    /// The object on one line, without its end.
    pub(super) fn into_line(self) -> String {
        let line = Value::Object(self.0).to_string();
        escape::json(&line).into_owned()
    }
}
