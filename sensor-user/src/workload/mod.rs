//! Process ids come in; who runs there (executable, arguments, parents, user, container, unit) goes out.

mod arguments;
mod cgroup;
mod config;
mod metrics;
mod procfs;
pub mod runtime;
mod table;
mod users;

pub use cgroup::Place;
pub use cgroup::is_unit;
pub use config::Config;
pub use metrics::Metrics;
pub use procfs::Roots;
pub use procfs::ticks_of_boot_ns;
pub use runtime::About;
pub use runtime::Labels;
pub use runtime::Pod;
pub use table::Table;

use runtime::Cell;

/// One ancestor of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Process id.
    pub pid: u32,
    /// Executable path, or the short name in brackets where the path cannot be read.
    pub executable: String,
}

/// Container a process runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Full container id.
    pub id: String,
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `systemd-nspawn`, or `unknown`, as its cgroup says.
    runtime: &'static str,
    /// What its runtime says of it, as soon as it does.
    about: Cell,
}

impl Container {
    /// A container of which no more is known.
    pub fn new(id: impl Into<String>, runtime: &'static str) -> Self {
        Self { id: id.into(), runtime, about: Cell::default() }
    }

    /// A container with what its runtime says of it.
    #[must_use]
    pub fn with(self, about: About) -> Self {
        Self { about: Cell::new(about.into()), ..self }
    }

    /// What its runtime says of it; `None` where no runtime has said anything, or not yet.
    pub fn about(&self) -> Option<&About> {
        self.about.get()
    }

    /// Pod it is in, where that is known.
    pub fn pod(&self) -> Option<&Pod> {
        self.about()?.pod.as_deref()
    }

    /// Name of its runtime, where one is known.
    pub fn runtime(&self) -> Option<&'static str> {
        let told = self.about().map(|about| about.runtime);
        told.or(Some(self.runtime).filter(|runtime| *runtime != "unknown"))
    }
}

/// Who made a call. The texts are what processes say of themselves: a sink escapes control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Process id in the first PID namespace.
    pub pid: u32,
    /// Start of the process in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// Path of the executable, ` (deleted)` cut off; the short name in brackets where the path cannot be read any more.
    pub executable: String,
    /// Arguments with secrets replaced by `[redacted]`, bounded.
    pub command_line: Vec<String>,
    /// Parent, grandparent, … up to eight.
    pub ancestors: Vec<Ancestor>,
    /// Effective user id, in decimal.
    pub uid: String,
    /// Name of that user as the host's user database has it.
    pub user: Option<String>,
    /// Login user (`/proc/PID/loginuid`), where set.
    pub login_user: Option<String>,
    /// Id of that login's audit session (`/proc/PID/sessionid`), where there is one.
    pub login_session: Option<u32>,
    /// cgroup path below the root of the v2 hierarchy (or of a v1 one where v2 says `/`).
    pub cgroup: String,
    /// Container, where there is one.
    pub container: Option<Container>,
    /// systemd unit, where there is one.
    pub systemd_unit: Option<String>,
}

impl Workload {
    /// The name of the user; the id where this host has no name for it, as for a pod's `runAsUser`. It is what is shown,
    /// filtered by and asked about by policies.
    pub fn user_name(&self) -> &str {
        self.user.as_deref().unwrap_or(&self.uid)
    }
}
