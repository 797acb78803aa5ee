//! The shipped systemd unit and the documents come in; whether an agent with the defaults may do there what it does is compared.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use toml::Table;
use toml::Value;

use super::*;

const UNIT: &str = include_str!("../../../deploy/tollgate.service");
const SECURITY: &str = include_str!("../../../SECURITY.md");
/// Keys with paths that the agent only reads, or asks.
const READ: [&str; 3] = ["runtimes.cri", "runtimes.docker", "runtimes.podman"];
/// What `ProtectSystem=strict` leaves as it is (systemd.exec(5)).
const LEFT: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The words that the unit says of a directive.
fn words(directive: &str) -> Vec<&'static str> {
    let values = UNIT.lines().filter_map(|line| line.split_once('='));
    values
        .filter(|(name, _)| *name == directive)
        .flat_map(|(_, words)| words.split_whitespace())
        .collect()
}

/// Every absolute path among the values of a key.
fn paths(key: &str, value: &Value, found: &mut Vec<(String, PathBuf)>) {
    match value {
        Value::String(text) if text.starts_with('/') => found.push((key.to_owned(), text.into())),
        Value::Array(values) => {
            for value in values {
                paths(key, value, found);
            }
        }
        Value::Table(values) => {
            for (name, value) in values {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                paths(&key, value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn unit_lets_the_agent_write_where_it_writes_by_default() {
    assert_eq!(words("ProtectSystem"), ["strict"]);
    let below = |root: &'static str, directive| {
        words(directive).into_iter().map(move |name| Path::new(root).join(name))
    };
    let writable: Vec<_> = below("/run", "RuntimeDirectory")
        .chain(below("/var/lib", "StateDirectory"))
        .chain(below("/", "ReadWritePaths"))
        .chain(LEFT.map(PathBuf::from))
        .collect();
    let mut found = Vec::new();
    let defaults = Table::try_from(Config::default()).unwrap();
    paths("", &Value::Table(defaults), &mut found);
    let written: Vec<_> =
        found.into_iter().filter(|(key, _)| !READ.contains(&key.as_str())).collect();
    let keys: Vec<_> = written.iter().map(|(key, _)| key.as_str()).collect();
    for key in ["files.state", "control.socket", "enforce.pins"] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    for (key, path) in &written {
        let is_writable = writable.iter().any(|folder| path.starts_with(folder));
        assert!(is_writable, "{key} = {}", path.display());
    }
}

#[test]
fn unit_grants_the_capabilities_that_are_documented_and_no_other() {
    let rows = SECURITY.lines().filter_map(|line| line.strip_prefix("| `CAP_")?.split_once('`'));
    let documented: BTreeSet<_> = rows.map(|(name, _)| format!("CAP_{name}")).collect();
    let granted = words("CapabilityBoundingSet");
    assert_eq!(granted.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), documented);
}

/// Connections are cut within the network of their process (`setns`), and an output that ends well is no wish to stop.
#[test]
fn unit_lets_the_agent_enter_networks_and_starts_it_again_in_any_case() {
    assert_eq!(words("RestrictNamespaces"), ["net"]);
    assert_eq!(words("Restart"), ["always"]);
    assert!(words("RestrictAddressFamilies").contains(&"AF_NETLINK"));
}
