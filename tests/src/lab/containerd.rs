//! A network namespace comes in; a containerd of its own, with images and nothing else, goes out, removed when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Process, run, run_args, temp_folder, wait_until};
use crate::lab::clients::install::cached;
use crate::lab::clients::runtimes::package_of;
use crate::lab::cri::Cri;

/// Time in which containerd answers, or what it leaves behind is gone, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// The image that holds a pod's namespaces.
const PAUSE: &str = "localhost/pause:1";
/// What that image runs.
const PAUSE_SOURCE: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";

/// containerd with a root, a state and a socket of its own.
#[derive(Debug)]
pub struct Containerd {
    /// Several threads make pods at once.
    process: Mutex<Process>,
    folder: TempDir,
    network: String,
    cgroup: String,
    starts: u32,
    /// Where its programs are; nothing where they are the machine's own.
    programs: Option<PathBuf>,
}

impl Containerd {
    /// Starts containerd in a network namespace, which all its pods share; `cgroup` is the one that they get theirs in.
    pub fn start(network: &str, purpose: &str) -> Result<Self> {
        Self::begin(None, network, purpose)
    }

    /// The same, of another release of Debian; what runs the containers is the machine's own.
    pub fn start_of(release: &str, network: &str, purpose: &str) -> Result<Self> {
        let programs = package_of(release, "containerd")?.join("usr/bin");
        Self::begin(Some(programs), network, purpose)
    }

    fn begin(programs: Option<PathBuf>, network: &str, purpose: &str) -> Result<Self> {
        let folder = temp_folder("containerd")?;
        let cgroup = format!("tollgate-{purpose}-{}", std::process::id());
        fs::write(folder.path().join("config.toml"), config(folder.path()))?;
        let process = Mutex::new(spawn(folder.path(), programs.as_deref(), network, 0)?);
        let (network, starts) = (network.to_owned(), 1);
        let containerd = Self { process, folder, network, cgroup, starts, programs };
        containerd.ready()?;
        let pause = cached("pause", PAUSE_SOURCE, |folder| {
            fs::create_dir_all(folder.join("root"))?;
            fs::write(folder.join("pause.c"), PAUSE_SOURCE)?;
            let mut compiler = Command::new("cc");
            compiler.args(["-Os", "-static", "-o"]).arg(folder.join("root/pause"));
            run(compiler.arg(folder.join("pause.c"))).map(drop)
        })?;
        containerd.import(PAUSE, &pause.join("root"), &["/pause"])?;
        Ok(containerd)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("containerd.sock")
    }

    /// The cgroup that pods get theirs in.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.cgroup)
    }

    /// A client of its CRI.
    pub fn cri(&self) -> Result<Cri> {
        Cri::connect(&self.socket())
    }

    /// Runs a command of `ctr` in a namespace.
    pub fn ctr(&self, namespace: &str, arguments: &[&str]) -> Result<String> {
        let socket = self.socket().display().to_string();
        let place = ["--address", &socket, "--namespace", namespace];
        let mut ctr = with_programs(Command::new("ctr"), self.programs.as_deref())?;
        let told = run(ctr.args(place).args(arguments))?;
        Ok(String::from_utf8_lossy(&told.stdout).into_owned())
    }

    /// Makes an image of a folder, for pods and for others.
    pub fn import(&self, name: &str, root: &Path, entry: &[&str]) -> Result<()> {
        let work = Self::archive(name, root, entry)?;
        let image = work.path().join("image.tar").display().to_string();
        for namespace in ["k8s.io", "default"] {
            self.ctr(namespace, &["images", "import", &image])?;
        }
        Ok(())
    }

    /// Makes an image of a folder, as `image.tar` in a folder of its own.
    pub fn archive(name: &str, root: &Path, entry: &[&str]) -> Result<TempDir> {
        let work = temp_folder("image")?;
        let at = |name: &str| work.path().join(name).display().to_string();
        let (root, layer) = (root.display().to_string(), at("layer.tar"));
        let owner = ["--owner=0", "--group=0", "--numeric-owner"];
        let rest = ["-C", &root, "-f", &layer, "."];
        run_args("tar", ["--create"].into_iter().chain(owner).chain(rest))?;
        let sum = run_args("sha256sum", [&layer])?;
        let sum = sum.split_whitespace().next().context("no sum")?;
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Entrypoint": entry, "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
        });
        let manifest =
            json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
        fs::write(at("config.json"), config.to_string())?;
        fs::write(at("manifest.json"), manifest.to_string())?;
        let (place, image) = (work.path().display().to_string(), at("image.tar"));
        let names = ["layer.tar", "config.json", "manifest.json"];
        run_args("tar", ["--create", "-C", &place, "-f", &image].into_iter().chain(names))?;
        Ok(work)
    }

    /// Kills it and starts it again; its containers run on.
    pub fn restart(&mut self) -> Result<()> {
        self.process().kill();
        let programs = self.programs.as_deref();
        *self.process() = spawn(self.folder.path(), programs, &self.network, self.starts)?;
        self.starts = self.starts.saturating_add(1);
        self.ready()
    }

    /// What it says of itself.
    pub fn log(&self) -> String {
        self.process().errors()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Result<()> {
        let answers = || self.cri().ok().filter(Cri::answers).map(drop);
        wait_until(DEADLINE, "containerd to answer", answers).with_context(|| self.log())
    }

    /// Processes that it has started for its containers, which know it by its socket.
    fn shims(&self) -> Vec<Pid> {
        let socket = self.socket().display().to_string();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_own = |pid: &i32| {
            let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.contains("containerd-shim") && text.contains(&socket)
        };
        pids.filter(is_own).filter_map(Pid::from_raw).collect()
    }

    /// Its cgroups, the innermost first.
    fn cgroups(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let places = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
        let mut found = Vec::new();
        places.for_each(|place| folders(&place.join(&self.cgroup), &mut found));
        found
    }
}

/// Takes away what a runtime has mounted in a folder, so that the folder can be removed.
pub fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = folder.display().to_string();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| point.starts_with(&own)) {
        drop(run_args("umount", ["--lazy", point]));
    }
}

fn folders(folder: &Path, found: &mut Vec<PathBuf>) {
    if !folder.is_dir() {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        folders(&entry.path(), found);
    }
    found.push(folder.to_owned());
}

fn config(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "{socket}"
[ttrpc]
address = "{socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{runc}"
"#,
        root = at("root"),
        state = at("state"),
        socket = at("containerd.sock"),
        opt = at("opt"),
        cni = at("cni"),
        runc = at("runc"),
    )
}

/// Has a command look for programs in a folder before it looks where programs usually are.
fn with_programs(mut command: Command, programs: Option<&Path>) -> Result<Command> {
    if let Some(programs) = programs {
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let places = [programs.to_owned()].into_iter().chain(std::env::split_paths(&usual));
        command.env("PATH", std::env::join_paths(places)?);
    }
    Ok(command)
}

fn spawn(folder: &Path, programs: Option<&Path>, network: &str, start: u32) -> Result<Process> {
    // `ip netns exec` would hide the cgroups of version 1.
    let mut command = with_programs(Command::new("nsenter"), programs)?;
    command.arg(format!("--net=/run/netns/{network}"));
    command.args(["containerd", "--config"]).arg(folder.join("config.toml"));
    Process::start(&mut command, &folder.join(format!("log.{start}")))
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.process().kill();
        // The end of a shim is the end of its containers.
        for shim in self.shims() {
            let _ended = kill_process(shim, Signal::KILL);
        }
        let left = self.cgroups();
        for procs in left.iter().map(|folder| folder.join("cgroup.procs")) {
            let text = fs::read_to_string(procs).unwrap_or_default();
            let pids = text.lines().filter_map(|line| line.parse().ok());
            for pid in pids.filter_map(Pid::from_raw) {
                let _ended = kill_process(pid, Signal::KILL);
            }
        }
        let gone = wait_until(DEADLINE, "the cgroups of pods", || {
            self.cgroups().into_iter().all(|folder| fs::remove_dir(folder).is_ok()).then_some(())
        });
        unmount_below(self.folder.path());
        assert!(gone.is_ok() || std::thread::panicking(), "left: {:?}", self.cgroups());
    }
}
