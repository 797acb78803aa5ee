//! Lines as runtimes and systemd write them come in; the places they stand for are compared.

use super::*;

const ID: &str = "3f2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc";

/// Path with `ID` for the id of the container; the container's runtime; the unit.
const CASES: &[(&str, Option<&str>, Option<&str>)] = &[
    // Docker, both drivers, rootless, with another cgroup parent, and from another cgroup namespace.
    ("/system.slice/docker-ID.scope", Some("docker"), None),
    ("/docker/ID", Some("docker"), None),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
        Some("docker"),
        None,
    ),
    ("/../docker-ID.scope", Some("docker"), None),
    ("/../../../docker/ID", Some("docker"), None),
    ("/system.slice/docker-ID.scope (deleted)", Some("docker"), None),
    ("/actions_job/ID", Some("unknown"), None),
    // A container that runs its own systemd.
    ("/system.slice/docker-ID.scope/system.slice/app.service", Some("docker"), Some("app.service")),
    ("/machine.slice/libpod-ID.scope/container/init.scope", Some("podman"), Some("init.scope")),
    // containerd by CRI: systemd driver, cgroupfs driver, a slice given to cgroupfs, and without a parent.
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7f1d2a30_1111_2222_3333_444444444444.slice/cri-containerd-ID.scope",
        Some("containerd"),
        None,
    ),
    ("/kubepods/besteffort/pod7f1d2a30-1111-2222-3333-444444444444/ID", Some("unknown"), None),
    ("/kubepods/pod7f1d2a30-1111-2222-3333-444444444444/ID", Some("unknown"), None),
    (
        "/system.slice/containerd.service/kubepods-burstable-pod7f1d.slice:cri-containerd:ID",
        Some("containerd"),
        None,
    ),
    ("/k8s.io/ID", Some("containerd"), None),
    ("/default/ID", Some("containerd"), None),
    ("/system.slice/nerdctl-ID.scope", Some("containerd"), None),
    ("/../../kubepods-burstable-pod7f1d.slice/cri-containerd-ID.scope", Some("containerd"), None),
    // CRI-O and its monitor, which is not in the container.
    ("/kubepods.slice/kubepods-pod7f1d.slice/crio-ID.scope", Some("cri-o"), None),
    ("/kubepods.slice/kubepods-pod7f1d.slice/crio-ID.scope/container", Some("cri-o"), None),
    (
        "/kubepods.slice/kubepods-pod7f1d.slice/crio-conmon-ID.scope",
        None,
        Some("crio-conmon-ID.scope"),
    ),
    // podman: root, rootless, a pod, cgroupfs, split by a unit, and its monitor.
    ("/machine.slice/libpod-ID.scope", Some("podman"), None),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        Some("podman"),
        None,
    ),
    ("/machine.slice/machine-libpod_pod_ID.slice/libpod-ID.scope", Some("podman"), None),
    ("/libpod_parent/libpod-ID", Some("podman"), None),
    ("/system.slice/web.service/libpod-payload-ID", Some("podman"), None),
    ("/machine.slice/libpod-conmon-ID.scope", None, Some("libpod-conmon-ID.scope")),
    // A node of kind: the pod's container, not the node's, with both drivers.
    (
        "/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/kubelet/kubepods/burstable/pod7f1d/ID",
        Some("unknown"),
        None,
    ),
    (
        "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod7f1d.slice/cri-containerd-ID.scope",
        Some("containerd"),
        None,
    ),
    // systemd: system and user units, templates, escapes, delegated parts, sessions, no unit at all.
    ("/system.slice/nginx.service", None, Some("nginx.service")),
    ("/system.slice/system-getty.slice/getty@tty1.service", None, Some("getty@tty1.service")),
    ("/system.slice/app.service/worker-3", None, Some("app.service")),
    ("/user.slice/user-1000.slice/session-3.scope", None, Some("session-3.scope")),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal-4711.scope",
        None,
        Some("user@1000.service/app-org.gnome.Terminal-4711.scope"),
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        None,
        Some("user@1000.service/init.scope"),
    ),
    // A user may call a unit like one of the system's, or like another user's manager.
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/batch.service",
        None,
        Some("user@1000.service/batch.service"),
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/user@0.service",
        None,
        Some("user@1000.service/user@0.service"),
    ),
    ("/user.slice/user-1000.slice/user@1000.service", None, Some("user@1000.service")),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/run.service/user@0.service",
        None,
        Some("user@1000.service/run.service"),
    ),
    // So may who was given what is below a unit.
    ("/system.slice/user@x.service/batch.service", None, Some("user@x.service")),
    ("/system.slice/runner.service/batch.service", None, Some("runner.service")),
    ("/system.slice/runner.service/user@1000.service/batch.service", None, Some("runner.service")),
    ("/system.slice/runner.service/machine.slice/machine-web.scope", None, Some("runner.service")),
    ("/system.slice/docker-ID.scope/a.service/batch.service", Some("docker"), Some("a.service")),
    (
        "/system.slice/system-my\\x2dapp.slice/my\\x2dapp@1.service",
        None,
        Some("my\\x2dapp@1.service"),
    ),
    ("/system.slice/_cpu.service", None, Some("cpu.service")),
    ("/payload/system.slice/agent.service", None, Some("agent.service")),
    ("/init.scope", None, Some("init.scope")),
    ("/user.slice", None, None),
    ("/", None, None),
    ("/../..", None, None),
    // Near misses: too short, not hexadecimal, a name that begins like an id.
    ("/docker/3f2a91bc", None, None),
    ("/system.slice/docker.service", None, Some("docker.service")),
    ("/docker/zf2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc3f2a91bc", None, None),
    ("/process_api/f83c48831fad67a1ab80d9c1bb91bfa3", None, None),
];

#[test]
fn place_is_told_from_the_path() {
    for (path, runtime, unit) in CASES {
        let path = path.replace("ID", ID);
        let place = Place::parse(&format!("0::{path}\n"));
        let expected = runtime.map(|runtime| Container::new(ID, runtime));
        assert_eq!(place.container, expected, "{path}");
        assert_eq!(place.unit, unit.map(|unit| unit.replace("ID", ID)), "{path}");
    }
}

#[test]
fn other_kinds_of_container_keep_their_own_ids() {
    let task = "0123456789abcdef0123456789abcdef";
    let cases = [
        ("/lxc/web".to_owned(), "web", "lxc"),
        ("/lxc.payload.web/system.slice/cron.service".to_owned(), "web", "lxc"),
        (format!("/ecs/{task}/{task}-1234567890"), &format!("{task}-1234567890"), "unknown"),
        (format!("/ecs/{task}/{ID}"), ID, "unknown"),
    ];
    for (path, id, runtime) in cases {
        let place = Place::parse(&format!("0::{path}"));
        assert_eq!(place.container, Some(Container::new(id, runtime)), "{path}");
    }
}

#[test]
fn container_of_systemd_nspawn_is_named_by_the_unit_that_the_host_made() {
    // Path; the name of the container; the unit.
    const CASES: &[(&str, Option<&str>, &str)] = &[
        (
            "/machine.slice/systemd-nspawn@web.service/payload/system.slice/batch.service",
            Some("web"),
            "systemd-nspawn@web.service",
        ),
        (
            "/machine.slice/systemd-nspawn@my-web.service/payload",
            Some("my-web"),
            "systemd-nspawn@my-web.service",
        ),
        (
            "/machine.slice/machine-web.scope/payload/system.slice/batch.service",
            Some("web"),
            "machine-web.scope",
        ),
        (
            "/machine.slice/machine-my\\x2dweb\\xzz\\x2.scope/init.scope",
            Some("my-web\\xzz\\x2"),
            "machine-my\\x2dweb\\xzz\\x2.scope",
        ),
        ("/machine.slice/machine-web.scope/supervisor", None, "machine-web.scope"),
        (
            "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator",
            None,
            "machine-qemu\\x2d1\\x2dweb.scope",
        ),
        ("/machine.slice/machine-.scope", None, "machine-.scope"),
    ];
    for (path, name, unit) in CASES {
        let place = Place::parse(&format!("0::{path}\n"));
        let expected = name.map(|name| Container::new(name, "systemd-nspawn"));
        assert_eq!((place.container, place.unit.as_deref()), (expected, Some(*unit)), "{path}");
    }
}

#[test]
fn hybrid_machine_is_read_from_the_hierarchy_that_knows() {
    let unit = "9:name=systemd:/system.slice/cron.service\n8:pids:/\n0::/\n";
    assert_eq!(Place::parse(unit).unit.as_deref(), Some("cron.service"));
    let docker = format!(
        "12:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service\n"
    );
    let place = Place::parse(&docker);
    assert_eq!(place.cgroup, format!("/docker/{ID}"));
    assert_eq!((place.container.unwrap().runtime(), place.unit), (Some("docker"), None));
    let memory_only = "4:memory:/process_api/f83c\n0::/\n";
    assert_eq!(Place::parse(memory_only).cgroup, "/process_api/f83c");
}

#[test]
fn path_with_colons_is_kept_whole() {
    let place = Place::parse("0::/a:b/c:d.service");
    assert_eq!(
        (place.cgroup.as_str(), place.unit.as_deref()),
        ("/a:b/c:d.service", Some("c:d.service"))
    );
}

#[test]
fn nonsense_is_no_place() {
    for text in ["", "\n", "0", "0:", "::", "0::", "0::/..x", "0:::", "//"] {
        assert_eq!(Place::parse(text).container, None, "{text}");
    }
}
