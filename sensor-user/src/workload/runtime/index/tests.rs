//! Containers and what is said of them come in; who is asked about, known, forgotten and counted is compared.

use super::*;

const SLICE: &str = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-x.scope";

fn index(containers_max: usize) -> Index {
    Index::new(containers_max, vec![Source::new("cri", "/run/x.sock".as_ref())])
}

fn about(name: &str) -> About {
    About::of("containerd").named(name)
}

fn ids(index: &Index) -> Vec<String> {
    let mut ids: Vec<_> = index.wanted().into_iter().map(|wanted| wanted.id).collect();
    ids.sort();
    ids
}

#[test]
fn container_seen_before_it_is_known_is_asked_about_and_filled_for_all_who_asked() {
    let index = index(10);
    let news = index.news();
    let cell = index.seen("a", "/kubepods/a");
    assert!(cell.get().is_none() && index.is_asking() && news.has_changed().unwrap());
    assert!(Arc::ptr_eq(&cell, &index.seen("a", "/kubepods/a")));
    assert_eq!(ids(&index), ["a"]);
    index.learn(0, "a", (about("web"), None));
    assert_eq!(cell.get(), Some(&about("web")));
    assert_eq!(index.take_resolved(), ["a"]);
    assert!(index.take_resolved().is_empty() && !index.is_asking());
    assert_eq!((index.metrics().resolved, index.known()), (1, 1));
    // Known before its first process: nobody has to be told again.
    index.learn(0, "b", (about("db"), None));
    assert_eq!(index.seen("b", "/b").get(), Some(&about("db")));
    assert!(index.take_resolved().is_empty());
}

#[test]
fn user_who_names_a_cgroup_like_a_container_is_not_taken_for_it() {
    let sources = vec![
        Source::new("docker", "/run/docker.sock".as_ref()),
        Source::new("docker", "/run/user/1000/docker.sock".as_ref()),
    ];
    let index = Index::new(10, sources);
    index.learn(0, "x", (about("web"), None));
    let forged = index.seen("x", SLICE);
    assert_eq!(forged.get(), None);
    // The user may say so of the own one, which changes nothing of the other.
    index.learn(1, "x", (about("own"), None));
    assert_eq!(forged.get(), Some(&about("own")));
    assert_eq!(index.take_resolved(), ["x"]);
    let sessions = "/system.slice/docker-x.scope/user.slice/user-1000.slice/session-1.scope";
    let of_root = "/user.slice/user-0.slice/user@0.service/docker-x.scope";
    for cgroup in ["/system.slice/docker-x.scope", sessions, of_root] {
        assert_eq!(index.seen("x", cgroup).get(), Some(&about("web")), "{cgroup}");
    }
    index.listed(1, &HashSet::from(["x".to_owned()]));
    assert!(index.lock().entries.values().all(|entry| entry.gone.is_none()));
}

#[test]
fn owner_is_the_user_of_the_session_that_the_cgroup_names() {
    const CASES: &[(&str, Option<u32>)] = &[
        ("/kubepods/pod1/x", None),
        ("/user.slice/user-x.slice/y", None),
        ("/user.slice/user-7.slice", Some(7)),
        ("/user-", None),
    ];
    let index = index(10);
    let _cell = index.seen("a", SLICE);
    assert_eq!(index.wanted(), [Wanted { id: "a".to_owned(), owner: Some(1000) }]);
    for (cgroup, owner) in CASES {
        assert_eq!(owner_of(cgroup), *owner, "{cgroup}");
    }
}

#[test]
fn without_a_runtime_nobody_is_asked() {
    let index = index(10);
    index.stands(0, Standing::Absent);
    let _cell = index.seen("a", "/a");
    assert!(!index.is_asking());
    assert_eq!(index.metrics(), Metrics::default());
}

#[test]
fn facts_that_change_are_told_to_those_who_ask_later() {
    let index = index(10);
    let before = index.seen("a", "/a");
    index.learn(0, "a", (about("old"), None));
    index.learn(0, "a", (about("new"), None));
    assert_eq!(before.get(), Some(&about("old")));
    assert_eq!(index.seen("a", "/a").get(), Some(&about("new")));
}

#[test]
fn full_list_ends_what_it_does_not_name_of_its_own_source() {
    let index = Index::new(
        10,
        vec![Source::new("cri", "/a".as_ref()), Source::new("docker", "/b".as_ref())],
    );
    index.learn(0, "a", (about("a"), Some(7)));
    index.learn(0, "b", (about("b"), None));
    index.learn(1, "c", (about("c"), None));
    index.listed(0, &HashSet::from(["b".to_owned()]));
    let gone = |id: &str| index.lock().entries[id].gone.is_some();
    assert_eq!((gone("a"), gone("b"), gone("c")), (true, false, false));
    assert_eq!(index.by_cgroup([9, 7].into_iter()), Some(("a".to_owned(), "containerd")));
    // What has ended is still known, and comes back where it is named again.
    assert!(index.seen("a", "/a").get().is_some());
    index.learn(0, "a", (about("a"), None));
    assert!(!gone("a"));
    let source = &index.sources()[0];
    assert_eq!((source.containers, source.lists, index.metrics().lists), (1, 1, 1));
}

#[test]
fn a_hundred_thousand_containers_cost_no_more_than_the_bound() {
    let index = index(100);
    for number in 0..100_000 {
        index.learn(0, &number.to_string(), (about("x"), Some(number)));
    }
    assert_eq!((index.known(), index.metrics().over), (100, 99_900));
    assert_eq!(index.lock().by_cgroup.len(), 100);
    // One that has ended makes room.
    index.gone("7");
    index.learn(0, "new", (about("new"), Some(1 << 40)));
    assert!(index.seen("new", "/new").get().is_some());
    assert_eq!(index.known(), 100);
    // No room: the answer is none, and nothing is kept.
    assert!(index.seen("other", "/other").get().is_none());
    assert!(!index.is_asking());
}

#[test]
fn questions_are_bounded_and_given_up_in_time() {
    let index = index(10_000);
    for number in 0..=WANTED_MAX {
        let _cell = index.seen(&number.to_string(), "/x");
    }
    assert_eq!((index.wanted().len(), index.metrics().over), (WANTED_MAX, 1));
    let late = Instant::now();
    for entry in index.lock().entries.values_mut() {
        entry.wanted = entry.wanted.map(|want| Want { until: late, ..want });
    }
    assert!(index.wanted().is_empty() && !index.is_asking());
    assert_eq!(index.metrics().unresolved, u64::try_from(WANTED_MAX).unwrap());
    // Nobody is asked again at once.
    let _cell = index.seen("0", "/x");
    assert!(!index.is_asking());
}

#[test]
fn wait_for_the_first_lists_ends_with_the_last_source_or_with_its_limit() {
    let index = index(10);
    index.wait_first(Duration::from_millis(1));
    index.stands(0, Standing::Failed("no".to_owned()));
    index.wait_first(Duration::from_hours(1));
}

#[test]
fn runtime_that_came_back_within_a_look_was_connected_to_twice() {
    let index = index(10);
    let connected = |has_events| Standing::Connected { who: "x".to_owned(), has_events };
    index.stands(0, connected(true));
    // The same connection, of which more is known.
    index.stands(0, connected(false));
    assert_eq!(index.sources()[0].connections, 1);
    index.stands(0, Standing::Failed("gone".to_owned()));
    index.stands(0, connected(false));
    assert_eq!(index.sources()[0].connections, 2);
}
