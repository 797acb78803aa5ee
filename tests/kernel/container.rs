//! curl in containers of real runtimes, on an overlay of their own: the call is seen, and whose it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::harness::{copy_program, run, run_args, temp_folder, wait_until};
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::spec::{OPENAI_KEY, PROMPT};

use crate::openssl::lab;
use crate::sensor::Sensor;

/// Files that a process in a container may hold; this machine may not allow a runtime's default.
pub(crate) const FILES_MAX: u32 = 1024;

/// Time in which what a runtime leaves behind is gone.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(20);

/// A root with nothing in it but curl, its libraries, names and the lab's authority.
pub(crate) fn root(lab: &Lab, folder: &Path) -> PathBuf {
    root_with(lab, folder, &["/usr/bin/curl"])
}

/// The same with these programs in it.
pub(crate) fn root_with(lab: &Lab, folder: &Path, programs: &[&str]) -> PathBuf {
    let root = folder.join("root");
    for name in ["usr/bin", "etc", "proc", "dev", "sys", "tmp", "run"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let listed = run_args("ldd", programs).unwrap();
    let words = listed.split_whitespace().filter(|word| word.starts_with('/'));
    // `ldd` begins the part of a program with its name and a colon.
    let libraries = words.filter(|word| !word.ends_with(':'));
    let files: BTreeSet<&str> = libraries.chain(programs.iter().copied()).collect();
    for file in files {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        copy_program(Path::new(file), &to).unwrap();
    }
    let names = Path::new("/etc/netns").join(lab.net().client(0).unwrap()).join("hosts");
    fs::copy(names, root.join("etc/hosts")).unwrap();
    fs::copy(lab.ca_file(), root.join("etc/ca.pem")).unwrap();
    root
}

/// Arguments of one whole chat completion.
pub(crate) fn arguments(id: &str) -> Vec<String> {
    let body = json!({"messages": [{"role": "user", "content": PROMPT}], "model": "gpt-4o-mini"});
    let key = format!("authorization: Bearer {OPENAI_KEY}");
    let knobs = format!("x-lab-scenario: id={id},in=71,out=17");
    let url = "https://api.openai.com/v1/chat/completions";
    let words = [
        "/usr/bin/curl",
        "--silent",
        "--max-time",
        "60",
        "--cacert",
        "/etc/ca.pem",
        "--header",
        &key,
        "--header",
        "content-type: application/json",
        "--header",
        &knobs,
        "--data",
        &body.to_string(),
        url,
    ];
    words.map(str::to_owned).to_vec()
}

/// Holds the one call of a scenario against what the provider did and what the runtime said of its container.
fn assert_seen(lab: &Lab, sensor: &Sensor, id: &str, container: &str, runtime: Option<&str>) {
    let fact = lab.facts_of(id, 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    assert_eq!(call["container.id"].as_str(), Some(container), "{call}");
    assert_eq!(call["container.runtime.name"].as_str(), runtime, "{call}");
    assert_eq!(call["process.executable.path"], "/usr/bin/curl", "{call}");
    assert_eq!(call["gen_ai.usage.input_tokens"].as_u64(), Some(71), "{call}");
    assert_eq!(call["gen_ai.usage.output_tokens"].as_u64(), Some(17), "{call}");
    let address = fact.local.ip().to_string();
    assert_eq!(call["network.peer.address"].as_str(), Some(address.as_str()), "{call}");
}

/// Removes what a runtime leaves of a cgroup of this test when dropped.
pub(crate) struct Group(pub(crate) String);

impl Group {
    pub(crate) fn new(purpose: &str) -> Self {
        Self(format!("tollgate-{purpose}-{}", std::process::id()))
    }

    /// The folders of the group that are there, in each hierarchy; podman's monitor has one of its own within.
    fn folders(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let places = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
        let groups = places.map(|place| place.join(&self.0));
        let both = groups.flat_map(|group| [group.join("conmon"), group]);
        both.filter(|folder| folder.is_dir()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The monitor ends a moment after its container; until then its folder is busy.
        let removed = wait_until(REMOVAL_DEADLINE, "the cgroup of a container", || {
            self.folders().into_iter().all(|folder| fs::remove_dir(folder).is_ok()).then_some(())
        });
        assert!(removed.is_ok() || std::thread::panicking(), "left: {:?}", self.folders());
    }
}

#[test]
fn call_in_a_podman_container_names_it() {
    let (lab, folder, group) = (lab(), temp_folder("podman").unwrap(), Group::new("podman"));
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let root = root(&lab, folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let limit = |what: &str| format!("--ulimit={what}={FILES_MAX}:{FILES_MAX}");
    let mut podman = Command::new("podman");
    podman.args(["--root", &at("store"), "--runroot", &at("state"), "--tmpdir", &at("tmp")]);
    podman.args(["--cgroup-manager=cgroupfs", "--runtime=runc", "--events-backend=none", "run"]);
    podman.args(["--rm", "--no-hosts", "--cgroupns=private", "--cidfile", &at("id")]);
    podman.arg(format!("--cgroup-parent=/{}", group.0));
    podman.args([limit("nofile"), limit("nproc")]);
    podman.arg(format!("--network=ns:/run/netns/{}", lab.net().client(0).unwrap()));
    // `O`: the runtime puts an overlay over the folder, so that the container never writes into it.
    podman.args(["--rootfs", &format!("{}:O", root.display())]);
    run(podman.args(arguments("podman"))).unwrap();
    let id = fs::read_to_string(folder.path().join("id")).unwrap();
    assert_seen(&lab, &sensor, "podman", id.trim(), Some("podman"));
}

/// An overlay over a folder, unmounted when dropped.
struct Overlay(PathBuf);

impl Overlay {
    fn mount(lower: &Path, folder: &Path) -> Self {
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| folder.join(name));
        for place in [&upper, &work, &merged] {
            fs::create_dir_all(place).unwrap();
        }
        let [lower, upper, work] = [lower, &upper, &work].map(Path::display);
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let target = merged.display().to_string();
        run_args("mount", ["-t", "overlay", "overlay", "-o", &options, &target]).unwrap();
        Self(merged)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // The folder under it goes with the test; a mount that is busy would keep it.
        drop(run_args("umount", [&self.0]));
    }
}

/// The file that tells runc what to run, in a folder of its own.
fn bundle(lab: &Lab, folder: &TempDir, root: &Path, group: &Group, id: &str) -> PathBuf {
    let spaces = ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    let net = format!("/run/netns/{}", lab.net().client(0).unwrap());
    let spaces = spaces.into_iter().chain([json!({"type": "network", "path": net})]);
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 65534, "gid": 65534}, "args": arguments("runc"), "cwd": "/",
            "env": ["PATH=/usr/bin"], "noNewPrivileges": true,
        },
        "root": {"path": root, "readonly": false},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": spaces.collect::<Vec<_>>(), "cgroupsPath": format!("/{}/{id}", group.0),
        },
    });
    let bundle = folder.path().join("bundle");
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    bundle
}

#[test]
fn call_in_a_runc_container_names_it() {
    let (lab, folder, group) = (lab(), temp_folder("runc").unwrap(), Group::new("runc"));
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let lower = root(&lab, folder.path());
    let overlay = Overlay::mount(&lower, folder.path());
    let id = format!("{:064x}", std::process::id());
    let bundle = bundle(&lab, &folder, &overlay.0, &group, &id);
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(folder.path().join("state")).args(["run", "--bundle"]).arg(&bundle);
    run(runc.arg(&id)).unwrap();
    // The runtime is not told by a path that only carries an id: it is left out, not guessed.
    assert_seen(&lab, &sensor, "runc", &id, None);
    drop(overlay);
}
