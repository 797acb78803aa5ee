//! Manifests come in; members that do not inherit the house's settings, and dependencies without a reason, go out.

use crate::tidy::Finding;
use crate::tidy::tree::{File, Tree};

/// What a member takes from the workspace.
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// The package that stands outside the workspace, because it is built for another target.
const KERNEL_HALF: &str = "sensor-ebpf/Cargo.toml";

/// Checks every manifest.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let workspace = tree.file("Cargo.toml").map(|file| file.text.as_str()).unwrap_or_default();
    for file in tree.files().iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        let folder = file.path.trim_end_matches("/Cargo.toml");
        check_dependencies(file, &mut findings);
        if list(workspace, "members").any(|member| member == folder) {
            check_member(file, &mut findings);
        } else if !list(workspace, "exclude").any(|excluded| excluded == folder) {
            let action = "add it to `members` or, with a reason, to `exclude` of Cargo.toml";
            findings.push(Finding::new(
                &file.path,
                1,
                "a package that the workspace does not know",
                action,
            ));
        }
    }
    if let Some(file) = tree.file(KERNEL_HALF) {
        check_kernel_half(file, &mut findings);
    }
    findings
}

/// Names in a list of the workspace's manifest.
fn list<'a>(workspace: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let found =
        workspace.lines().find_map(move |line| line.strip_prefix(key)?.trim().strip_prefix('='));
    found.unwrap_or_default().split('"').skip(1).step_by(2)
}

fn check_member(file: &File, findings: &mut Vec<Finding>) {
    for key in INHERITED {
        let wanted = format!("{key}.workspace = true");
        if !section(file, "package").any(|(_, line)| line == wanted) {
            let what = format!("`{key}` is not inherited");
            findings.push(Finding::new(&file.path, 1, what, "write `KEY.workspace = true`"));
        }
    }
    if !section(file, "lints").any(|(_, line)| line == "workspace = true") {
        let action = "write `[lints]` and `workspace = true`";
        findings.push(Finding::new(&file.path, 1, "the lint table is not inherited", action));
    }
}

/// The kernel takes programs under the GPL, so its half says more than the workspace does.
fn check_kernel_half(file: &File, findings: &mut Vec<Finding>) {
    let licence = section(file, "package").find(|(_, line)| line.starts_with("license = "));
    if !licence.is_some_and(|(_, line)| line.contains("GPL-2.0") && line.contains("MIT")) {
        let action = "name MIT, Apache-2.0 and GPL-2.0";
        findings.push(Finding::new(&file.path, 1, "the kernel half's licence is not dual", action));
    }
}

fn check_dependencies(file: &File, findings: &mut Vec<Finding>) {
    let (mut inside, mut before) = (false, "");
    for (number, line) in file.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside
            && line.contains('=')
            && line.starts_with(|first: char| first.is_ascii_alphabetic())
        {
            let reason = before.strip_prefix('#').unwrap_or_default().trim();
            if reason.split(' ').count() < 2 {
                let action = "say in a comment above it what it is for";
                findings.push(Finding::new(
                    &file.path,
                    number,
                    "a dependency without a reason",
                    action,
                ));
            }
            if line.contains("\"*\"") {
                findings.push(Finding::new(&file.path, number, "any version", "name the version"));
            }
        }
        before = line;
    }
}

/// Numbered lines of one table.
fn section<'a>(file: &'a File, name: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let header = format!("[{name}]");
    let mut inside = false;
    file.lines().filter(move |(_, line)| {
        if line.starts_with('[') {
            inside = line.trim() == header;
        }
        inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "[workspace]\nmembers = [\"a\"]\nexclude = [\"sensor-ebpf\"]\n";
    const MEMBER: &str = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\
        [dependencies]\n# One error type.\nanyhow = \"1\"\n[lints]\nworkspace = true\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[("Cargo.toml", WORKSPACE), (path, text)]);
        check(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn member_that_inherits_everything_has_no_finding() {
        assert_eq!(found("a/Cargo.toml", MEMBER), [""; 0]);
    }

    #[test]
    fn each_setting_that_is_not_inherited_is_found() {
        let own = MEMBER.replace("edition.workspace = true", "edition = \"2024\"");
        assert_eq!(found("a/Cargo.toml", &own), ["`edition` is not inherited"]);
        let without = MEMBER.replace("[lints]", "[other]");
        assert_eq!(found("a/Cargo.toml", &without), ["the lint table is not inherited"]);
    }

    #[test]
    fn dependency_needs_a_reason_of_its_own() {
        let two = MEMBER.replace("anyhow = \"1\"", "anyhow = \"1\"\nclap = \"4\"");
        assert_eq!(found("a/Cargo.toml", &two), ["a dependency without a reason"]);
        let any = MEMBER.replace("anyhow = \"1\"", "anyhow = \"*\"");
        assert_eq!(found("a/Cargo.toml", &any), ["any version"]);
    }

    #[test]
    fn package_outside_the_workspace_is_found() {
        let package = "[package]\nname = \"b\"\n";
        assert_eq!(found("b/Cargo.toml", package), ["a package that the workspace does not know"]);
        let kernel_half = "[package]\nlicense = \"MIT\"\n";
        assert_eq!(found(KERNEL_HALF, kernel_half), ["the kernel half's licence is not dual"]);
    }
}
