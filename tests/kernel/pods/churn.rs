//! Pods that come and go as fast as the machine makes them: whose call is whose.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;
use tollgate_tests::harness::note;

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::place::{Pods, wait_log};

/// Pods made one after the other by each of `HANDS`, with one container each.
const WHOLE: usize = 24;
/// Containers made in pods that stay.
const CONTAINERS: usize = 96;
/// Pods that stay, each of a namespace of its own.
const STAYING: usize = 6;
/// How many are at work at once.
const HANDS: usize = 8;

/// Has all hands take numbers until none is left; gives how many a second were done.
fn at_work(count: usize, work: impl Fn(usize) + Sync) -> f64 {
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..HANDS {
            let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|taken| *taken < count);
            let work = &work;
            scope.spawn(move || std::iter::from_fn(take).for_each(work));
        }
    });
    f64::from(u32::try_from(count).unwrap()) / began.elapsed().as_secs_f64()
}

#[test]
fn every_call_of_pods_that_come_and_go_names_its_own_pod() {
    let lab = lab();
    let pods = Pods::new(&lab, "churn");
    let sensor = Sensor::start(&pods.options()).unwrap();
    wait_log(&sensor, &["container runtime is followed", "has_events=true"]);
    let whole = at_work(WHOLE, |number| {
        let pod = pods.pod(&format!("ns-{number}"), &format!("whole-{number}"));
        pods.cri.run(&pod, &pods.client("web", &format!("whole-{number}"))).unwrap();
        pods.cri.remove_pod(&pod).unwrap();
    });
    let staying: Vec<_> = (0..STAYING)
        .map(|number| pods.pod(&format!("ns-{number}"), &format!("stays-{number}")))
        .collect();
    let single = at_work(CONTAINERS, |number| {
        let pod = &staying[number % STAYING];
        pods.cri
            .run(pod, &pods.client(&format!("c-{number}"), &format!("single-{number}")))
            .unwrap();
    });
    let mut expected: Vec<[String; 4]> = (0..WHOLE)
        .map(|number| {
            let name = format!("whole-{number}");
            [name.clone(), format!("ns-{number}"), name, "web".to_owned()]
        })
        .collect();
    expected.extend((0..CONTAINERS).map(|number| {
        let pod = number % STAYING;
        [
            format!("single-{number}"),
            format!("ns-{pod}"),
            format!("stays-{pod}"),
            format!("c-{number}"),
        ]
    }));
    let (mut right, mut nobody, mut wrong) = (0_usize, Vec::new(), Vec::new());
    for [id, namespace, pod, container] in &expected {
        let fact = lab.facts_of(id, 1).unwrap().remove(0);
        let call = sensor.call_of(&fact).unwrap_or(Value::Null);
        let said = ["k8s.namespace.name", "k8s.pod.name", "k8s.container.name"]
            .map(|name| call[name].as_str().unwrap_or_default().to_owned());
        if said == [namespace.clone(), pod.clone(), container.clone()] {
            right += 1;
        } else if said.iter().all(String::is_empty) {
            nobody.push(format!("{id}: {call}"));
        } else {
            wrong.push(format!("{id}: {call}"));
        }
    }
    note(&format!(
        "{whole:.1} whole pods and {single:.1} containers a second: {right} of {} calls name their pod, {} nobody, {} another",
        expected.len(),
        nobody.len(),
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", sensor.log());
    assert!(nobody.is_empty(), "{nobody:#?}\n{}", sensor.log());
    for pod in &staying {
        pods.cri.remove_pod(pod).unwrap();
    }
}
