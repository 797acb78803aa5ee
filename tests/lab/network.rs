//! Namespaces, names and delays come in; proof that clients see them, and that nothing is left behind, goes out.

use std::path::Path;
use std::time::Duration;

use tollgate_tests::harness::run_args;
use tollgate_tests::lab::clients::{Api, Running, Spec};
use tollgate_tests::lab::net::{Names, Net, Options, address_of, address_v6_of};
use tollgate_tests::lab::provider::control::read_facts;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

fn up(options: &Options) -> Lab {
    Lab::up(options).expect("the lab needs root and the packages it names")
}

#[test]
fn a_dropped_lab_leaves_nothing_behind() {
    let lab = up(&Options { clients: 2, ..Options::default() });
    let names = [lab.net().server(), lab.net().client(0).unwrap(), lab.net().client(1).unwrap()];
    let names = names.map(str::to_owned);
    let folder = lab.folder().to_owned();
    assert!(names.iter().all(|name| Path::new("/run/netns").join(name).exists()));
    drop(lab);
    for name in names {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name}");
        assert!(!Path::new("/etc/netns").join(&name).exists(), "{name}");
    }
    assert!(!folder.exists());
}

#[test]
fn a_namespace_has_no_way_out() {
    let lab = up(&Options::default());
    for name in [lab.net().server(), lab.net().client(0).unwrap()] {
        for family in ["-4", "-6"] {
            let routes = run_args("ip", ["-n", name, family, "route"]).unwrap();
            assert!(!routes.contains("default"), "{routes}");
        }
        let links = run_args("ip", ["-n", name, "-o", "link"]).unwrap();
        assert_eq!(links.lines().count(), 2, "{links}");
    }
}

#[test]
fn two_labs_at_once_do_not_meet() {
    let (one, other) = (up(&Options::default()), up(&Options::default()));
    one.run(&Spec::new("curl-h1", Api::Chat).scenario("id=one")).unwrap();
    other.run(&Spec::new("curl-h2", Api::Chat).scenario("id=other")).unwrap();
    assert_eq!(one.facts_of("one", 1).unwrap().len(), 1);
    assert_eq!(other.facts_of("other", 1).unwrap().len(), 1);
    assert_eq!((one.facts().len(), other.facts().len()), (1, 1));
}

#[test]
fn each_client_namespace_has_an_address_of_its_own() {
    let lab = up(&Options { clients: 3, ..Options::default() });
    for place in 0..3_u8 {
        let spec = Spec::new("curl-h1", Api::Chat).scenario(&format!("id=c{place}"));
        let namespace = lab.net().client(usize::from(place)).unwrap();
        let running = Running::start(lab.kit(), namespace, &lab.ca_file(), &spec).unwrap();
        running.finish(CLIENT_DEADLINE).unwrap();
        let facts = lab.facts_of(&format!("c{place}"), 1).unwrap();
        assert_eq!(facts[0].peer.ip(), Net::client_address(place));
        assert_eq!(facts[0].local.ip(), address_of("api.openai.com").unwrap());
    }
}

#[test]
fn names_are_learnt_from_the_labs_name_server() {
    let lab = up(&Options { names: Names::Dns, ..Options::default() });
    for client in ["openai-sync", "node-openai", "curl-h2"] {
        let seen =
            lab.run(&Spec::new(client, Api::Chat).scenario(&format!("id={client}"))).unwrap();
        assert!(seen.calls[0].is_complete(), "{client}: {:?}", seen.calls[0].error);
    }
    let asked = lab.server().questions().all();
    assert!(
        asked.iter().any(|question| *question == ("api.openai.com".to_owned(), 1)),
        "{asked:?}"
    );
    let seen = lab.run(&Spec::new("curl-h1", Api::Chat).host("api.elsewhere.example")).unwrap();
    assert_eq!(seen.calls[0].status, 0);
    let asked = lab.server().questions().all();
    assert!(asked.iter().any(|(name, _)| name == "api.elsewhere.example"), "{asked:?}");
}

#[test]
fn a_name_with_an_ipv6_address_is_called_over_ipv6() {
    let lab = up(&Options { ipv6: true, ..Options::default() });
    lab.run(&Spec::new("curl-h1", Api::Chat).scenario("id=six")).unwrap();
    let facts = lab.facts_of("six", 1).unwrap();
    assert_eq!(facts[0].local.ip(), address_v6_of("api.openai.com").unwrap());
    assert!(facts[0].peer.is_ipv6());
}

#[test]
fn a_delay_is_paid_in_both_directions() {
    let mut lab = up(&Options::default());
    lab.delay(Duration::from_millis(20)).unwrap();
    let seen = lab.run(&Spec::new("openai-sync", Api::Chat).scenario("id=far")).unwrap();
    let call = &seen.calls[0];
    assert!(call.is_complete(), "{:?}", call.error);
    // TCP, TLS 1.3 and HTTP take a round trip of 40 ms each.
    let took = Duration::from_nanos(call.t_end_ns - call.t_start_ns);
    assert!(took >= Duration::from_millis(120), "{took:?}");
}

#[test]
fn another_process_reads_the_same_facts_from_the_socket() {
    let lab = up(&Options::default());
    lab.run(&Spec::new("curl-h1", Api::Messages).scenario("id=shared")).unwrap();
    lab.facts_of("shared", 1).unwrap();
    assert_eq!(read_facts(&lab.control_socket()).unwrap(), lab.facts());
}

#[test]
fn an_unknown_host_has_no_address() {
    assert_eq!(address_of("api.elsewhere.example"), None);
}
