//! A cgroup path as a process sees it comes in; the ids by which the kernel knows that cgroup, and those above it, go out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Where the v2 hierarchy is mounted, and which of its folders stands there, as this process sees it.
static MOUNT: LazyLock<Option<(PathBuf, PathBuf)>> =
    LazyLock::new(|| mount(&fs::read_to_string("/proc/self/mountinfo").ok()?));

/// The path in the v2 hierarchy.
pub(in crate::workload) fn path_of(cgroups: &str) -> Option<&str> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path))
}

/// Id of a cgroup by its path: its inode is the kernel's id.
pub(in crate::workload) fn id_of(path: &str) -> Option<u64> {
    ids_of(path).next()
}

/// Ids of a cgroup and of those above it, the innermost first; the root is not among them.
pub(in crate::workload) fn ids_of(path: &str) -> impl Iterator<Item = u64> {
    let place = MOUNT.as_ref().and_then(|(point, root)| {
        let below = below(root, Path::new(path))?;
        Some((point, point.join(below)))
    });
    let folders = place.into_iter().flat_map(|(point, folder)| {
        let inside = |folder: &&Path| folder.starts_with(point) && *folder != point.as_path();
        let folders: Vec<_> =
            folder.ancestors().take_while(inside).map(Path::to_path_buf).collect();
        folders
    });
    folders.filter_map(|folder| Some(fs::metadata(folder).ok()?.ino()))
}

/// Mount point and root of the first v2 hierarchy in a mount table (`proc(5)`, mountinfo).
fn mount(table: &str) -> Option<(PathBuf, PathBuf)> {
    table.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let root = PathBuf::from(fields.next()?);
        Some((PathBuf::from(fields.next()?), root))
    })
}

/// The path below a mount's root. In a cgroup namespace of its own a process sees the host's root as `/../..`, and what is
/// beside it as `/../../x`; what lies outside of the mount cannot be reached.
fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(root).ok()?;
    let is_inside = rest.components().all(|part| matches!(part, Component::Normal(_)));
    is_inside.then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_is_found_on_hybrid_machines_and_in_containers() {
        let hybrid = "30 25 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      31 25 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 none rw\n";
        assert_eq!(mount(hybrid), Some(("/sys/fs/cgroup/unified".into(), "/".into())));
        let inside = "31 25 0:28 /../../.. /host/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(mount(inside), Some(("/host/cgroup".into(), "/../../..".into())));
        assert_eq!(mount("31 25 0:28 / /x rw - bpf cgroup2 rw\n"), None);
        assert_eq!(mount(""), None);
    }

    #[test]
    fn path_is_taken_below_the_root_that_is_mounted() {
        const CASES: &[(&str, &str, Option<&str>)] = &[
            ("/", "/default/web", Some("default/web")),
            ("/", "/", Some("")),
            ("/../..", "/../../default/web", Some("default/web")),
            ("/../..", "/../../..", None),
            // Seen from a private namespace without the host's mount: not to be reached.
            ("/", "/../web", None),
            ("/a", "/ab/web", None),
        ];
        for (root, path, expected) in CASES {
            let found = below(Path::new(root), Path::new(path));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{root} {path}");
        }
    }

    #[test]
    fn own_cgroup_has_the_kernels_id() {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        let Some(path) = path_of(&text).filter(|path| *path != "/") else { return };
        let Some((point, _)) = MOUNT.as_ref() else { return };
        let folder = point.join(path.trim_start_matches('/'));
        assert_eq!(id_of(path), Some(fs::metadata(folder).unwrap().ino()));
    }

    #[test]
    fn deleted_cgroup_keeps_its_path() {
        assert_eq!(path_of("5:pids:/x\n0::/a/b (deleted)\n"), Some("/a/b"));
        assert_eq!(path_of("5:pids:/x\n"), None);
    }
}
