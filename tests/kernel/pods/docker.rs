//! A container of a real Docker daemon makes a call: its name, image and labels are told.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tollgate_tests::harness::{Process, run, temp_folder, wait_until};
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::containerd::{Containerd, unmount_below};

use crate::container::{Group, arguments, root};
use crate::openssl::lab;
use crate::sensor::Sensor;

use super::names::assert_named;
use super::place::{call_of, wait_log};

/// Time in which the daemon answers on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// A daemon with a root, a state and a socket of its own. It is asked to stop, and takes its containers along.
struct Docker {
    process: Process,
    folder: TempDir,
}

impl Docker {
    fn start(lab: &Lab) -> Self {
        let folder = temp_folder("docker").unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut daemon = Command::new("nsenter");
        daemon.arg(format!("--net=/run/netns/{}", lab.net().client(0).unwrap()));
        daemon.args(["dockerd", "--data-root", &at("root"), "--exec-root", &at("state")]);
        daemon.args(["--pidfile", &at("pid"), "--host", &format!("unix://{}", at("docker.sock"))]);
        daemon.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        daemon.args(["--storage-driver=vfs", "--config-file", &at("none.json")]);
        fs::write(folder.path().join("none.json"), "{}").unwrap();
        let process = Process::start(&mut daemon, &folder.path().join("log")).unwrap();
        let docker = Self { process, folder };
        let answers = || docker.command(&["version"]).output().ok()?.status.success().then_some(());
        wait_until(DEADLINE, "Docker to answer", answers)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", docker.process.errors()));
        docker
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Another program may go by that name.
        let mut command = Command::new("/usr/bin/docker");
        command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        command.env("DOCKER_CONFIG", self.folder.path()).args(arguments);
        command
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.pid()).ok().and_then(rustix::process::Pid::from_raw);
        let asked =
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let ended = self.process.wait(DEADLINE);
        unmount_below(self.folder.path());
        assert!(ended.is_ok() || std::thread::panicking(), "{asked:?} {ended:?}");
    }
}

#[test]
fn call_out_of_a_docker_container_names_it_its_image_and_its_labels() {
    let (lab, folder, group) = (lab(), temp_folder("image").unwrap(), Group::new("docker"));
    let docker = Docker::start(&lab);
    let root = root(&lab, folder.path());
    let archive = Containerd::archive("localhost/tool:9", &root, &["/usr/bin/curl"]).unwrap();
    let image = archive.path().join("image.tar").display().to_string();
    run(&mut docker.command(&["load", "--input", &image])).unwrap();
    let sensor = Sensor::start(&format!(
        "hold_client_hello = true\n[runtimes]\ncri = []\ndocker = [{:?}]\npodman = []",
        docker.socket()
    ))
    .unwrap();
    wait_log(&sensor, &["container runtime is followed", "docker 2"]);
    let hosts = format!("{}:/etc/hosts:ro", root.join("etc/hosts").display());
    let parent = format!("/{}", group.0);
    let mut line = docker.command(&["run", "--name", "nightly", "--label", "team=shop"]);
    line.args(["--network=host", "--cgroup-parent", &parent, "--volume", &hosts]);
    line.arg("localhost/tool:9").args(arguments("docker").into_iter().skip(1));
    run(&mut line).unwrap();
    let call = call_of(&lab, &sensor, "docker");
    let expected = [
        ("container.name", "nightly"),
        ("container.image.name", "localhost/tool:9"),
        ("container.label.team", "shop"),
        ("container.runtime.name", "docker"),
    ];
    assert_named(&call, &expected);
    run(&mut docker.command(&["rm", "nightly"])).unwrap();
    drop(docker);
    drop(group);
}
