//! Policies about pods: one namespace is refused and another is not, and who is not known is read as `unknown:` says.

use serde_json::Value;
use tollgate_tests::harness::{temp_folder, wait_until};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::gate::place::Place;
use crate::openssl::lab;
use crate::sensor::Sensor;

use super::place::{Pods, call_of, wait_log, write_policy};

/// Denies OpenAI to what is asked about.
fn no_openai(subjects: &str, unknown: &str) -> String {
    format!(
        "  unknown: {unknown}\n  subjects: [{subjects}]\n  rules: [{{name: no-openai, action: deny, match: {{provider: openai}}}}]\n"
    )
}

fn decision(sensor: &Sensor, namespace: &str) -> Value {
    let told = || {
        let is_it = |event: &Value| {
            event["event.name"] == "tollgate.decision" && event["k8s.namespace.name"] == namespace
        };
        sensor.events().into_iter().find(is_it)
    };
    wait_until(CLIENT_DEADLINE, "a decision about a pod", told)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()))
}

/// Runs the client in a pod; says whether its call was answered.
fn passes(pods: &Pods, pod: &tollgate_tests::lab::cri::Pod, id: &str) -> bool {
    let container = pods.cri.start(pod, &pods.client("web", id)).unwrap();
    let code = pods.cri.wait(&container).unwrap();
    pods.cri.remove(&container).unwrap();
    code == 0
}

fn assert_never_made(lab: &Lab, id: &str) {
    assert!(lab.facts().iter().all(|fact| fact.scenario != id), "{id} has left the machine");
}

#[test]
fn namespace_and_label_are_refused_and_others_are_not() {
    let lab = lab();
    let pods = Pods::new(&lab, "namespaces");
    let place = Place::whole("namespaces").unwrap();
    let folder = temp_folder("policies").unwrap();
    write_policy(
        folder.path(),
        &no_openai("{namespace: \"shop-*\"}, {labels: {app: miner}}", "deny"),
    );
    let enforce = format!(
        "{}\n[policy]\nfolder = {:?}\n[enforce]\nenabled = true\nproof_seconds = 1\npins = {:?}",
        pods.options(),
        folder.path(),
        place.pins
    );
    // One waits since before the agent: it is judged as who it is, not as unknown.
    let [shop, pay, miner] = [("shop-eu", "cart"), ("pay", "bill"), ("pay", "miner")]
        .map(|(ns, name)| pods.pod(ns, name));
    let early = pods.cri.start(&pay, &pods.waiting("early", "early")).unwrap();
    let sensor = Sensor::start(&enforce).unwrap();
    wait_log(&sensor, &["container runtime is followed", "has_events=true"]);
    assert!(!passes(&pods, &shop, "shop"), "{}", sensor.log());
    assert!(!passes(&pods, &miner, "miner"), "{}", sensor.log());
    assert!(passes(&pods, &pay, "pay"), "{}", sensor.log());
    pods.go();
    assert_eq!(pods.cri.wait(&early).unwrap(), 0, "{}", sensor.log());
    let call = call_of(&lab, &sensor, "pay");
    assert_eq!(call["k8s.namespace.name"], "pay", "{call}");
    assert_eq!(call["tollgate.decision"], "allow", "{call}");
    let told = decision(&sensor, "shop-eu");
    assert_eq!(told["tollgate.reason"], "pods/no-openai: ask us", "{told}");
    assert_eq!((&told["tollgate.enforced"], &told["k8s.pod.name"]), (&true.into(), &"cart".into()));
    assert_never_made(&lab, "shop");
    assert_never_made(&lab, "miner");
    for pod in [&shop, &pay, &miner] {
        pods.cri.remove_pod(pod).unwrap();
    }
}

#[test]
fn pod_that_nobody_knows_is_refused_where_unknown_says_deny_and_only_there() {
    let lab = lab();
    let pods = Pods::new(&lab, "unknown");
    let place = Place::whole("unknown").unwrap();
    let folder = temp_folder("policies").unwrap();
    let pod = pods.pod("pay", "bill");
    let options = |socket: &str| {
        format!(
            "hold_client_hello = true\n[runtimes]\ncri = [{socket:?}]\ndocker = []\npodman = []\n[policy]\nfolder = {:?}\n[enforce]\nenabled = true\nproof_seconds = 1\npins = {:?}",
            folder.path(),
            place.pins
        )
    };
    let nowhere = options("/nonexistent/runtime.sock");
    write_policy(folder.path(), &no_openai("{namespace: shop}", "deny"));
    let mut sensor = Sensor::start(&nowhere).unwrap();
    assert!(!passes(&pods, &pod, "strict"), "{}", sensor.log());
    write_policy(folder.path(), &no_openai("{namespace: shop}", "allow"));
    sensor.restart_with(&nowhere).unwrap();
    assert!(passes(&pods, &pod, "mild"), "{}", sensor.log());
    write_policy(folder.path(), &no_openai("{namespace: shop}", "deny"));
    // As soon as somebody says which pod it is, it is told again.
    sensor.restart_with(&options(&pods.containerd.socket().display().to_string())).unwrap();
    wait_log(&sensor, &["container runtime is followed", "has_events=true"]);
    assert!(passes(&pods, &pod, "known"), "{}", sensor.log());
    assert_never_made(&lab, "strict");
    pods.cri.remove_pod(&pod).unwrap();
}
