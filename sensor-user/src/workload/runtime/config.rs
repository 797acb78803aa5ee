//! Where runtimes are looked for comes in from the configuration, with how much is kept of what they say.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// Who is asked about containers and pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Unix sockets of runtimes that speak the CRI, Kubernetes's interface: containerd, whose own events are followed too,
    /// and CRI-O. One that is not there is looked for again.
    pub cri: Vec<PathBuf>,
    /// Unix sockets of Docker, or of what speaks its language.
    pub docker: Vec<PathBuf>,
    /// Folders in which podman, run by root, keeps its containers; those of other users are found in their homes. Without
    /// any folder podman is not asked about.
    pub podman: Vec<PathBuf>,
    /// Seconds between two full lists of a runtime whose events are followed; one without events is asked four times as
    /// often. An unknown container is asked about at once in any case.
    pub list_secs: u64,
    /// Containers known at once, those that ended a moment ago included; each takes about 2 KiB, and 16 KiB at most.
    pub containers_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Self {
            cri: paths(&[
                "/run/containerd/containerd.sock",
                "/run/crio/crio.sock",
                "/run/k3s/containerd/containerd.sock",
                "/run/k0s/containerd.sock",
            ]),
            docker: paths(&["/run/docker.sock"]),
            podman: paths(&["/var/lib/containers/storage"]),
            list_secs: 60,
            containers_max: 4096,
        }
    }
}
