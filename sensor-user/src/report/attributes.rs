//! Names and values come in; one flat JSON object of dotted attributes, unknown values left out, goes out.

use jiff::Timestamp;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

use crate::report::escape;
use crate::report::event::Process;
use crate::workload::Container;

/// Labels of a pod that an event carries; all that are known count for policies.
const LABELS_SHOWN_MAX: usize = 16;
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
        self.put("user.id", Some(workload.uid.as_str()));
        self.put("tollgate.login_user", workload.login_user.as_deref());
        self.put("tollgate.login_session", workload.login_session);
        if let Some(container) = &workload.container {
            self.put_container(container);
        }
        self.put("systemd.unit", workload.systemd_unit.as_deref());
        self.put("tollgate.cgroup", Some(workload.cgroup.as_str()));
    }

    /// Puts all that is known of a container, by the names of OpenTelemetry.
    fn put_container(&mut self, container: &Container) {
        self.put("container.id", Some(container.id.as_str()));
        self.put("container.runtime.name", container.runtime());
        let Some(about) = container.about() else { return };
        let pod = about.pod.as_deref();
        let name = if pod.is_some() { "k8s.container.name" } else { "container.name" };
        self.put(name, about.name.as_deref());
        self.put("container.image.name", about.image.as_deref());
        self.put("k8s.namespace.name", pod.map(|pod| pod.namespace.as_str()));
        self.put("k8s.pod.name", pod.map(|pod| pod.name.as_str()));
        self.put("k8s.pod.uid", pod.map(|pod| pod.uid.as_str()).filter(|uid| !uid.is_empty()));
        let prefix = if pod.is_some() { "k8s.pod.label" } else { "container.label" };
        let labels = about.labels.iter().flat_map(|labels| &labels.pairs);
        for (key, value) in labels.take(LABELS_SHOWN_MAX) {
            self.put(&format!("{prefix}.{key}"), Some(value.as_str()));
        }
    }

    /// The object on one line, without its end.
    pub(super) fn into_line(self) -> String {
        let line = Value::Object(self.0).to_string();
        escape::json(&line).into_owned()
    }
}
