//! The text of `/proc/PID/cgroup` comes in; the process's cgroup, container and systemd unit go out.

pub(in crate::workload) mod tree;

use crate::workload::Container;

/// Hexadecimal digits of a full container id.
const ID_LEN: usize = 64;

/// Prefixes that a runtime puts before the id, with the runtime's name.
const PREFIXES: [(&str, &str); 6] = [
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
];

/// Folders that a runtime puts its containers into, with the runtime's name.
const FOLDERS: [(&str, &str); 3] =
    [("docker", "docker"), ("default", "containerd"), ("k8s.io", "containerd")];

/// Ends of names that are systemd units which hold processes.
const UNITS: [&str; 6] = [".service", ".scope", ".socket", ".mount", ".swap", ".busname"];

/// Where a process stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Path in the v2 hierarchy, or in a v1 one where that says more.
    pub cgroup: String,
    /// Innermost container.
    pub container: Option<Container>,
    /// Outermost systemd unit within the container, or of the host where there is none or one of systemd-nspawn; that of a
    /// user's manager is `user@1000.service/app.service`: whoever is logged in may give it any name.
    pub unit: Option<String>,
}

impl Place {
    /// Reads the lines `id:controllers:path` of a v2, hybrid or v1 machine.
    pub fn parse(text: &str) -> Self {
        let mut paths: Vec<(u8, &str)> = text.lines().filter_map(ranked).collect();
        paths.sort_by_key(|(rank, _)| *rank);
        let informative = |path: &&str| !path.is_empty() && *path != "/";
        let first = || paths.iter().map(|(_, path)| *path).find(informative);
        let found = paths.iter().find_map(|(_, path)| container(path).map(|found| (*path, found)));
        let Some((path, (container, inside))) = found else {
            let cgroup = first().unwrap_or("/");
            let (container, unit) = (machine(cgroup), unit(cgroup));
            return Self { cgroup: cgroup.to_owned(), container, unit };
        };
        Self { cgroup: path.to_owned(), container: Some(container), unit: unit(inside) }
    }
}

/// Path of a line, and how much it is trusted to say where the process stands: v2, systemd's own, then controllers.
fn ranked(line: &str) -> Option<(u8, &str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let rank = match controllers {
        "" => 0,
        "name=systemd" => 1,
        "pids" => 2,
        _ => 3,
    };
    Some((rank, clean(path)))
}

/// Takes off ` (deleted)` and, from a path seen out of another cgroup namespace, the leading `/..`.
fn clean(path: &str) -> &str {
    let mut path = path.strip_suffix(" (deleted)").unwrap_or(path);
    while let Some(rest) = path.strip_prefix("/..") {
        if !rest.is_empty() && !rest.starts_with('/') {
            break;
        }
        path = rest;
    }
    path
}

/// The innermost container of a path, and the path below it.
fn container(path: &str) -> Option<(Container, &str)> {
    let mut above = path;
    while let Some((parent, name)) = above.rsplit_once('/') {
        let folder = parent.rsplit('/').next().unwrap_or_default();
        if let Some(container) = of_name(folder, name) {
            let inside = path.get(above.len()..).unwrap_or_default();
            return Some((container, inside));
        }
        above = parent;
    }
    None
}

fn of_name(folder: &str, name: &str) -> Option<Container> {
    let made = |id: &str, runtime| Some(Container::new(id, runtime));
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    // A slice given to the cgroupfs driver: `kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`.
    if let Some((before, id)) = bare.rsplit_once(':') {
        let prefix = before.rsplit(':').next().unwrap_or_default();
        let runtime = PREFIXES.iter().find(|(known, _)| known.trim_end_matches('-') == prefix);
        return is_id(id)
            .then(|| made(id, runtime.map_or("unknown", |(_, runtime)| *runtime)))
            .flatten();
    }
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_id(id)) {
            return made(id, runtime);
        }
    }
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return made(name, "lxc");
    }
    if folder == "lxc" {
        return made(name, "lxc");
    }
    if is_id(bare) {
        let runtime = FOLDERS.iter().find(|(known, _)| *known == folder);
        return made(bare, runtime.map_or("unknown", |(_, runtime)| *runtime));
    }
    // ECS on Fargate: `<task id>-<number>` below the task's folder.
    let (task, number) = bare.split_once('-')?;
    let fargate = task == folder
        && task.len() == 32
        && is_hex(task)
        && number.bytes().all(|byte| byte.is_ascii_digit());
    if fargate { made(bare, "unknown") } else { None }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The container of systemd-nspawn that a path is in, by the outermost unit: what is below it is its owner's.
fn machine(path: &str) -> Option<Container> {
    let mut names = path.split('/').skip_while(|name| !is_unit(name));
    let unit = names.next()?;
    let named = |start: &str, end: &str| unit.strip_prefix(start)?.strip_suffix(end);
    let name = named("systemd-nspawn@", ".service").or_else(|| named("machine-", ".scope"))?;
    let name = unescaped(name);
    // A virtual machine of libvirt, `qemu-1-web`, is no container; nor is what watches over one in it.
    let number = name.strip_prefix("qemu-").and_then(|rest| rest.bytes().next());
    let is_virtual = number.is_some_and(|digit| digit.is_ascii_digit());
    let is_inside = !name.is_empty() && !is_virtual && names.next() != Some("supervisor");
    is_inside.then(|| Container::new(name, "systemd-nspawn"))
}

/// A name as it was before systemd escaped it: `my\x2dweb` is `my-web`.
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part.split_at_checked(2);
        let byte = escaped.and_then(|(hex, _)| u8::from_str_radix(hex, 16).ok());
        if let (Some(byte), Some((_, rest))) = (byte, escaped) {
            bytes.push(byte);
            bytes.extend_from_slice(rest.as_bytes());
        } else {
            bytes.extend_from_slice(b"\\x");
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The outermost unit of a path, which systemd made: who owns a unit may call what is below it like any other. Below the
/// manager of a user's units it is the first one behind that. systemd puts `_` before names that the kernel could take for
/// its own files.
fn unit(path: &str) -> Option<String> {
    let mut units = path.split('/').filter(|name| is_unit(name));
    let plain = |name: &str| name.strip_prefix('_').unwrap_or(name).to_owned();
    let first = units.next()?;
    if !is_manager(first) {
        return Some(plain(first));
    }
    Some(units.next().map_or_else(|| first.to_owned(), |name| format!("{first}/{}", plain(name))))
}

/// Whether a unit is the manager of a user's own units: `user@1000.service`.
fn is_manager(name: &str) -> bool {
    let user = name.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service"));
    user.is_some_and(|user| !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a name is that of a systemd unit which holds processes, by its end.
pub fn is_unit(name: &str) -> bool {
    UNITS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests;
