//! A lab comes in; a containerd whose pods are in its network, with an image of a client, goes out.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tollgate_tests::harness::{temp_folder, wait_until};
use tollgate_tests::lab::containerd::Containerd;
use tollgate_tests::lab::cri::{ContainerSpec, Cri, Pod, PodSpec};
use tollgate_tests::lab::net::address_of;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::container::{arguments, root_with};
use crate::sensor::Sensor;

/// The image of the client.
pub(super) const IMAGE: &str = "localhost/client:1";
/// What it holds: a client, and what can wait for a file.
const PROGRAMS: [&str; 3] = ["/usr/bin/curl", "/usr/bin/dash", "/usr/bin/sleep"];
/// Waits for a file, then becomes the program of its arguments.
const WAITING: &str = "until [ -e /flags/go ]; do /usr/bin/sleep 0.05; done; exec \"$@\"";

/// Pods beside a lab. Fields are dropped in their order: containers before what they run on.
pub(super) struct Pods {
    pub(super) cri: Cri,
    pub(super) containerd: Containerd,
    root: PathBuf,
    flags: PathBuf,
    _folder: TempDir,
}

impl Pods {
    pub(super) fn new(lab: &Lab, purpose: &str) -> Self {
        Self::on(lab, purpose, |network| Containerd::start(network, purpose).unwrap())
    }

    /// The same on a containerd of another release of Debian.
    pub(super) fn of_release(lab: &Lab, purpose: &str, release: &str) -> Self {
        Self::on(lab, purpose, |network| Containerd::start_of(release, network, purpose).unwrap())
    }

    fn on(lab: &Lab, purpose: &str, start: impl FnOnce(&str) -> Containerd) -> Self {
        let folder = temp_folder(purpose).unwrap();
        let root = root_with(lab, folder.path(), &PROGRAMS);
        let flags = folder.path().join("flags");
        fs::create_dir(&flags).unwrap();
        let containerd = start(lab.net().client(0).unwrap());
        containerd.import(IMAGE, &root, &["/usr/bin/curl"]).unwrap();
        let cri = containerd.cri().unwrap();
        Self { cri, containerd, root, flags, _folder: folder }
    }

    /// Options of a sensor that asks this containerd and nobody else.
    pub(super) fn options(&self) -> String {
        let socket = self.containerd.socket();
        format!(
            "hold_client_hello = true\n[runtimes]\ncri = [{socket:?}]\ndocker = []\npodman = []"
        )
    }

    /// Makes a pod with two labels.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Pod {
        let uid = format!("7f1d2a30-1111-2222-3333-{:012x}", fold(name));
        let labels = [("app", name), ("team", namespace)];
        let labels: HashMap<_, _> =
            labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let cgroup = self.containerd.cgroup();
        self.cri
            .run_pod(&PodSpec { namespace, name, uid, labels, cgroup })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.containerd.log()))
    }

    fn files(&self) -> Vec<(String, String)> {
        // The runtime would put the machine's own names there.
        let hosts = (self.root.join("etc/hosts"), "/etc/hosts");
        let files = [hosts, (self.flags.clone(), "/flags")];
        files.map(|(from, to)| (from.display().to_string(), to.to_owned())).to_vec()
    }

    /// A container that makes the one call of a scenario.
    pub(super) fn client(&self, name: &str, id: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: IMAGE.to_owned(),
            command: arguments(id),
            files: self.files(),
        }
    }

    /// The same, which waits for `go` before.
    pub(super) fn waiting(&self, name: &str, id: &str) -> ContainerSpec {
        let shell = ["/usr/bin/dash", "-c", WAITING, "dash"].map(str::to_owned);
        let command = shell.into_iter().chain(arguments(id)).collect();
        ContainerSpec { command, ..self.client(name, id) }
    }

    /// Has all waiting containers make their calls.
    pub(super) fn go(&self) {
        fs::write(self.flags.join("go"), "").unwrap();
    }

    /// Arguments of `ctr` that make a container of the client's image outside of pods.
    pub(super) fn outside(&self, name: &str, id: &str) -> Vec<String> {
        let cgroup = format!("{}/{name}", self.containerd.cgroup());
        let head = ["run", "--rm", "--net-host", "--cgroup", &cgroup].map(str::to_owned);
        let tail = [IMAGE.to_owned(), name.to_owned()];
        // `ctr` puts the machine's own names there.
        let address = address_of("api.openai.com").unwrap();
        let found = ["--resolve".to_owned(), format!("api.openai.com:443:{address}")];
        head.into_iter().chain(tail).chain(arguments(id)).chain(found).collect()
    }
}

/// A number that follows from a text.
fn fold(text: &str) -> u64 {
    text.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        & 0xffff_ffff_ffff
}

/// The one call of a scenario, as the sensor tells of it.
pub(super) fn call_of(lab: &Lab, sensor: &Sensor, id: &str) -> Value {
    let fact = lab.facts_of(id, 1).unwrap().remove(0);
    sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()))
}

/// Waits until a line of the log holds all of these.
pub(super) fn wait_log(sensor: &Sensor, words: &[&str]) {
    let said = || {
        let log = sensor.log();
        log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    };
    wait_until(CLIENT_DEADLINE, &format!("a line of the log with {words:?}"), said)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
}

/// Writes one document into a folder of policies.
pub(super) fn write_policy(folder: &Path, rest: &str) {
    let text = format!(
        "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: pods}}\nspec:\n  mode: enforce\n  default: allow\n  reason: ask us\n{rest}"
    );
    fs::write(folder.join("pods.yaml"), text).unwrap();
}
