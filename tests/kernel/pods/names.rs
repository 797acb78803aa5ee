//! A call out of a pod, or out of a container of another kind, names what it came from.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tollgate_tests::harness::{run, temp_folder, wait_until};
use tollgate_tests::lab::containerd::Containerd;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::container::{FILES_MAX, Group, arguments, root};
use crate::openssl::lab;
use crate::sensor::{Sensor, binary};

use super::place::{IMAGE, Pods, call_of, wait_log};

pub(super) fn assert_named(call: &Value, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(call[*name].as_str(), Some(*value), "{name} of {call}");
    }
}

fn of_pod<'a>(namespace: &'a str, pod: &'a str, container: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("k8s.namespace.name", namespace),
        ("k8s.pod.name", pod),
        ("k8s.container.name", container),
        ("k8s.pod.label.app", pod),
        ("k8s.pod.label.team", namespace),
        ("container.image.name", IMAGE),
        ("container.runtime.name", "containerd"),
    ]
}

fn status(sensor: &Sensor) -> Value {
    let mut status = Command::new(binary().unwrap());
    status.args(["status", "--output", "json", "--config"]).arg(sensor.config());
    serde_json::from_slice(&status.output().unwrap().stdout).unwrap()
}

#[test]
fn call_out_of_a_pod_names_it_before_and_after_agent_and_runtime_start_again() {
    let lab = lab();
    let pods = Pods::new(&lab, "pods");
    assert_pods_are_named(&lab, pods, "containerd ");
}

/// Clusters run containerd 1.7 and 2; its releases differ in how they say what happens.
#[test]
fn call_out_of_a_pod_of_containerd_1_7_names_it() {
    let lab = lab();
    let pods = Pods::of_release(&lab, "pods17", "trixie");
    assert_pods_are_named(&lab, pods, "containerd 1.7.");
}

#[test]
fn call_out_of_a_pod_of_containerd_2_names_it() {
    let lab = lab();
    let pods = Pods::of_release(&lab, "pods2", "forky");
    assert_pods_are_named(&lab, pods, "containerd 2.");
}

fn assert_pods_are_named(lab: &Lab, mut pods: Pods, runtime: &str) {
    // Both run before the agent does: a list at its start tells of them.
    let early = pods.pod("shop", "early");
    let waiting = pods.cri.start(&early, &pods.waiting("waits", "listed")).unwrap();
    let sensor = Sensor::start(&pods.options()).unwrap();
    wait_log(&sensor, &["container runtime is followed", "has_events=true"]);
    pods.go();
    assert_eq!(pods.cri.wait(&waiting).unwrap(), 0);
    let call = call_of(lab, &sensor, "listed");
    assert_named(&call, &of_pod("shop", "early", "waits"));
    assert_named(&call, &[("container.id", &waiting)]);
    assert!(call["k8s.pod.uid"].as_str().unwrap().starts_with("7f1d2a30-"), "{call}");

    // Events tell of what begins while it runs.
    let late = pods.pod("pay", "late");
    pods.cri.run(&late, &pods.client("web", "event")).unwrap();
    assert_named(&call_of(lab, &sensor, "event"), &of_pod("pay", "late", "web"));

    // A container that Kubernetes does not know, with a name for an id: its cgroup's id tells.
    // The runtime's helper keeps the names of all containerds of the machine in one place.
    let nightly = format!("nightly{}", pods.containerd.cgroup().replace('/', "-"));
    let outside = pods.outside(&nightly, "outside");
    let outside: Vec<_> = outside.iter().map(String::as_str).collect();
    pods.containerd.ctr("default", &outside).unwrap_or_else(|error| panic!("{error:#}"));
    let call = call_of(lab, &sensor, "outside");
    assert_named(&call, &[("container.id", &nightly), ("container.name", &nightly)]);
    assert_named(&call, &[("container.image.name", IMAGE)]);
    assert!(call.get("k8s.pod.name").is_none(), "{call}");

    // A runtime that is connected to gives its list; the next one would be due in a minute.
    let lists = || status(&sensor)["counters"]["runtime.lists"].as_u64().unwrap();
    let both = || Some(lists()).filter(|lists| *lists >= 2);
    let before = wait_until(CLIENT_DEADLINE, "the first list and the second", both).unwrap();
    pods.containerd.restart().unwrap();
    pods.cri = pods.containerd.cri().unwrap();
    let followed = || (lists() > before).then_some(());
    wait_until(CLIENT_DEADLINE, "the runtime to be followed again", followed)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    pods.cri.run(&late, &pods.client("again", "restarted")).unwrap();
    assert_named(&call_of(lab, &sensor, "restarted"), &of_pod("pay", "late", "again"));

    let told = status(&sensor);
    let line = told["runtimes"][0].as_str().unwrap_or_default().to_owned();
    assert!(line.starts_with(runtime) && line.ends_with("by events"), "{told}");
    assert_eq!(told["counters"]["runtime.unresolved"], 0, "{told}");
    let (_, metrics) = sensor.scrape("/metrics").unwrap();
    assert!(metrics.contains("tollgate_workload_runtimes_connected{kind=\"cri\"} 1"), "{metrics}");
    pods.cri.remove_pod(&late).unwrap();
    pods.cri.remove_pod(&early).unwrap();
}

#[test]
fn container_of_a_runtime_that_is_asked_late_becomes_known_by_its_id() {
    let lab = lab();
    let pods = Pods::new(&lab, "late");
    let pod = pods.pod("shop", "late");
    // A socket that is there later: nothing is listed, and no event is heard, before the process shows itself.
    let folder = temp_folder("socket").unwrap();
    let socket = folder.path().join("late.sock");
    let options =
        pods.options().replace(&format!("{:?}", pods.containerd.socket()), &format!("{socket:?}"));
    let sensor = Sensor::start(&options).unwrap();
    let waiting = pods.cri.start(&pod, &pods.waiting("waits", "late")).unwrap();
    std::os::unix::fs::symlink(pods.containerd.socket(), &socket).unwrap();
    pods.go();
    assert_eq!(pods.cri.wait(&waiting).unwrap(), 0);
    wait_log(&sensor, &["container runtime is followed"]);
    let call = call_of(&lab, &sensor, "late");
    assert_eq!(call["container.id"], waiting, "{call}");
    pods.cri.run(&pod, &pods.client("next", "next")).unwrap();
    assert_named(&call_of(&lab, &sensor, "next"), &of_pod("shop", "late", "next"));
    pods.cri.remove_pod(&pod).unwrap();
}

#[test]
fn call_out_of_a_podman_container_names_it_and_its_image() {
    let (lab, folder, group) = (lab(), temp_folder("podman").unwrap(), Group::new("facts"));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let store = at("store");
    let options = format!(
        "hold_client_hello = true\n[runtimes]\ncri = []\ndocker = []\npodman = [{store:?}]"
    );
    let sensor = Sensor::start(&options).unwrap();
    let root = root(&lab, folder.path());
    let archive = Containerd::archive("localhost/tool:7", &root, &["/usr/bin/curl"]).unwrap();
    let podman = |arguments: &[String]| {
        let mut podman = Command::new("podman");
        podman.args(["--root", &store, "--runroot", &at("state"), "--tmpdir", &at("tmp")]);
        podman.args(["--cgroup-manager=cgroupfs", "--runtime=runc", "--events-backend=none"]);
        run(podman.args(arguments)).unwrap()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    podman(&words(&["load", "--input", &archive.path().join("image.tar").display().to_string()]));
    let limit = |what: &str| format!("--ulimit={what}={FILES_MAX}:{FILES_MAX}");
    let hosts = format!("{}:/etc/hosts:ro", root.join("etc/hosts").display());
    let mut line = words(&["run", "--name", "nightly", "--no-hosts", "--cgroupns=private"]);
    line.extend(words(&["--cidfile", &at("id"), "--volume", &hosts]));
    line.push(format!("--cgroup-parent=/{}", group.0));
    line.extend([limit("nofile"), limit("nproc")]);
    line.push(format!("--network=ns:/run/netns/{}", lab.net().client(0).unwrap()));
    line.extend(words(&["--entrypoint", "/usr/bin/curl", "localhost/tool:7"]));
    line.extend(arguments("facts").into_iter().skip(1));
    podman(&line);
    let call = call_of(&lab, &sensor, "facts");
    let id = fs::read_to_string(folder.path().join("id")).unwrap();
    assert_named(&call, &[("container.id", id.trim()), ("container.runtime.name", "podman")]);
    // Its files are read once it is seen: on a busy machine its one call may be over by then, and the next one is named.
    let named = || {
        let of_it = |call: &Value| call["container.name"] == "nightly";
        let found = sensor.calls().into_iter().rfind(of_it);
        if found.is_none() {
            podman(&words(&["start", "--attach", "nightly"]));
        }
        found
    };
    let call = wait_until(CLIENT_DEADLINE, "a call that names its container", named).unwrap();
    assert_named(&call, &[("container.id", id.trim())]);
    assert_named(&call, &[("container.image.name", "localhost/tool:7")]);
    podman(&words(&["rm", "--force", "nightly"]));
}
