//! The name of a Debian suite comes in; that suite's kernel image, fetched with an apt state of its own, goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::kernel::Options;
use crate::shell::{output, run, step};

/// The package that depends on a suite's newest kernel for virtual machines.
const LATEST: &str = "linux-image-cloud-amd64";

/// Keys that Debian signs its archives with, where the machine has them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel that can be booted.
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// What `uname -r` will say.
    pub release: String,
}

/// Returns a suite's kernel, fetched now where it is not there yet or a newer one was asked for.
pub fn image(suite: &str, folder: &Path, options: &Options) -> Result<Image> {
    let home = folder.join(suite);
    let release = home.join("release");
    let path = home.join("vmlinuz");
    if options.update || !(release.is_file() && path.is_file()) {
        step(&format!("fetching the kernel of {suite}"), || fetch(suite, &home, options))?;
    }
    let release = fs::read_to_string(&release).context("reading the kernel's release")?;
    Ok(Image { path, release: release.trim().to_owned() })
}

fn fetch(suite: &str, home: &Path, options: &Options) -> Result<()> {
    let apt = Apt::new(suite, home, options)?;
    run(apt.command("apt-get").arg("update"))?;
    let image = apt.depends_on(LATEST, "linux-image-")?;
    let image = image.with_context(|| format!("{LATEST} of {suite} names no kernel"))?;
    // Newer suites have the kernel itself in a package under the image's.
    let package = apt.depends_on(&image, "linux-binary-")?.unwrap_or_else(|| image.clone());
    run(apt.command("apt-get").args(["download", &package]).current_dir(home))?;
    let archive = find_file(home, &|path| path.extension().is_some_and(|end| end == "deb"))?;
    let tree = home.join("tree");
    run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&tree))?;
    let is_kernel = |path: &Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    fs::copy(find_file(&tree, &is_kernel)?, home.join("vmlinuz")).context("keeping the kernel")?;
    fs::remove_dir_all(&tree).context("removing the rest of the package")?;
    fs::remove_file(&archive).context("removing the package")?;
    // Written last, so that an interrupted fetch is done again.
    let release = image.trim_start_matches("linux-image-");
    fs::write(home.join("release"), release).context("noting the release")
}

/// apt with lists, caches and sources of its own: the machine's are neither used nor changed.
struct Apt {
    settings: Vec<String>,
}

impl Apt {
    fn new(suite: &str, home: &Path, options: &Options) -> Result<Self> {
        let apt = home.join("apt");
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(folder)).context("making apt's folders")?;
        }
        fs::write(apt.join("status"), "").context("writing an empty list of packages")?;
        let uri = archive_of(suite, options)?;
        let signed =
            if Path::new(KEYS).exists() { format!("[signed-by={KEYS}] ") } else { String::new() };
        let source = format!("deb {signed}{uri} {suite} main\n");
        fs::write(apt.join("sources"), source).context("writing apt's sources")?;
        let at = |name: &str| apt.join(name).display().to_string();
        let settings = vec![
            format!("Dir::State={}", at("")),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        Ok(Self { settings })
    }

    /// The versioned package with a prefix that the newest version of another depends on.
    fn depends_on(&self, package: &str, prefix: &str) -> Result<Option<String>> {
        let mut show = self.command("apt-cache");
        let shown = output(show.args(["show", "--no-all-versions", package]))?;
        Ok(dependency(&shown, prefix).map(str::to_owned))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--quiet=2").stdin(Stdio::null());
        for setting in &self.settings {
            command.args(["-o", setting]);
        }
        command
    }
}

/// Where a suite is found: what was told, else what the machine's own sources say.
fn archive_of(suite: &str, options: &Options) -> Result<String> {
    let is_security = suite.ends_with("-security");
    let told = if is_security { &options.security_archive } else { &options.archive };
    if let Some(uri) = told {
        return Ok(uri.clone());
    }
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]);
    let targets = output(&mut targets)?;
    let found = archive_in(&targets, is_security);
    let Some(uri) = found else {
        let option = if is_security { "--security-archive" } else { "--archive" };
        bail!(
            "this machine's apt knows no archive of Debian; what to do: name a mirror with {option} URI"
        );
    };
    Ok(uri.to_owned())
}

/// Debian's archive has a release `NAME` for which another archive has `NAME-security`.
fn archive_in(targets: &str, is_security: bool) -> Option<&str> {
    let rows: Vec<_> = targets.lines().filter_map(|line| line.split_once(' ')).collect();
    rows.iter().find_map(|(uri, release)| {
        let name = release.strip_suffix("-security")?;
        let (main, _) = rows.iter().find(|(_, release)| *release == name)?;
        Some(if is_security { *uri } else { *main })
    })
}

/// A dependency with a version in its name.
fn dependency<'a>(shown: &'a str, prefix: &str) -> Option<&'a str> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    depends.split([' ', ',']).find(|name| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })
}

fn find_file(folder: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Result<PathBuf> {
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("listing {}", next.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else if is_wanted(&path) {
                return Ok(path);
            }
        }
    }
    bail!("the package has changed its form: nothing to take in {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "https://packages.example/apt/ tools-bookworm\n\
        http://mirror.example/security/ bookworm-security\n\
        http://mirror.example/debian/ bookworm\n\
        http://mirror.example/debian/ bookworm-updates\n";

    #[test]
    fn archives_are_told_by_their_pair_of_releases() {
        assert_eq!(archive_in(TARGETS, true), Some("http://mirror.example/security/"));
        assert_eq!(archive_in(TARGETS, false), Some("http://mirror.example/debian/"));
        assert_eq!(archive_in("https://packages.example/apt/ tools\n", false), None);
    }

    #[test]
    fn kernel_is_found_among_the_dependencies() {
        let shown = "Package: linux-image-cloud-amd64\n\
                     Depends: linux-image-common, linux-image-6.12.117+deb13-cloud-amd64 (= 6.12.117-1)\n";
        let found = dependency(shown, "linux-image-");
        assert_eq!(found, Some("linux-image-6.12.117+deb13-cloud-amd64"));
        assert_eq!(dependency(shown, "linux-binary-"), None);
    }
}
