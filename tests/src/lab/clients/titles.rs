//! A client of the lab comes in; what people call it and its version, as the table of clients has them, go out.
//!
//! A version is told where the lab pins it. Of what a machine brings along, the table holds on every machine.

use crate::lab::clients::golang::Build;
use crate::lab::clients::install::{NODE_PACKAGES, PYTHON_PACKAGES};
use crate::lab::clients::rust::{self, Provider};
use crate::lab::clients::spec::{Client, Program};
use crate::lab::clients::websocket::{PACKAGES, WebSocketClient};

/// The version of what comes with the distribution.
pub const OF_DISTRIBUTION: &str = "Debian's";
/// The version of Node, which may be the distribution's or another one.
const OF_MACHINE: &str = "the machine's";

/// Name and version.
pub type Title = (String, String);

/// A client by its own name, as it comes with the distribution.
pub fn of_distribution(name: &str) -> Title {
    (name.to_owned(), OF_DISTRIBUTION.to_owned())
}

/// Clients that differ in the version of HTTP alone have one title.
pub fn of_client(client: &Client) -> Title {
    let name = client.name.trim_end_matches("-h1").trim_end_matches("-h2");
    match client.program {
        Program::Python | Program::Grpc => {
            let (package, way) = match name.rsplit_once('-') {
                Some((package, "sync")) => (package, ""),
                Some((package, "async")) => (package, ", async"),
                _ => (name, ""),
            };
            (format!("{package} (Python){way}"), pinned(PYTHON_PACKAGES, package))
        }
        Program::Node => {
            let package = match name {
                "node-openai" => "openai",
                "node-anthropic" => "@anthropic-ai/sdk",
                "node-undici" => "undici",
                own => {
                    let own = own.trim_start_matches("node-");
                    return (format!("{own} of Node"), OF_MACHINE.to_owned());
                }
            };
            (format!("{package} (npm)"), pinned(NODE_PACKAGES, package))
        }
        Program::Curl => of_distribution(name),
        Program::Rust(provider) => of_rust(name, provider, ""),
        Program::RustBare(provider) => of_rust(name, provider, ", stripped"),
    }
}

fn of_rust(name: &str, provider: Provider, stripped: &str) -> Title {
    let chacha = if name.contains("-chacha") { ", ChaCha20" } else { "" };
    let old = if name.contains("-tls12") { ", TLS 1.2" } else { "" };
    let package = if name.starts_with("async-openai") { "async-openai" } else { "reqwest" };
    let client = format!("{package} on rustls with {}{old}{chacha}{stripped}", provider.as_str());
    (client, rust::locked(package))
}

/// A Go program, by its toolchain and how it was linked.
pub fn of_go(build: &Build) -> Title {
    let has = |flag: &str| build.flags.iter().any(|flags| flags.contains(flag));
    let pie = if has("pie") { ", PIE" } else { "" };
    let stripped = if has("-s -w") { ", stripped" } else { "" };
    let linked = if has("external") { ", linked by cc" } else { "" };
    ("net/http of Go".to_owned(), format!("{}{pie}{stripped}{linked}", build.version))
}

/// A client that opens sessions.
pub fn of_websocket(client: &WebSocketClient) -> Title {
    let plain = if client.kind == "raw-plain" { ", uncompressed" } else { "" };
    let kind = client.kind;
    match (client.node, kind.starts_with("raw")) {
        (false, false) => (format!("openai (Python), {kind}"), pinned(PYTHON_PACKAGES, "openai")),
        // It comes with the SDK, in the version that the SDK wants.
        (false, true) => {
            let with = format!("with openai {}", pinned(PYTHON_PACKAGES, "openai"));
            (format!("websockets (Python){plain}"), with)
        }
        (true, false) => (format!("openai (npm), {kind}"), pinned(&PACKAGES, "openai")),
        (true, true) => (format!("ws (npm){plain}"), pinned(&PACKAGES, "ws")),
    }
}

/// The version of a package in a list of pinned ones (`name[extras]==version`, `name@version`).
fn pinned(packages: &[&str], name: &str) -> String {
    let version = packages.iter().find_map(|package| {
        let rest = package.strip_prefix(name)?;
        let (extras, version) = rest.rsplit_once(['=', '@'])?;
        let extras = extras.trim_end_matches('=');
        (extras.is_empty() || extras.starts_with('[')).then_some(version)
    });
    version.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::clients::golang::BUILDS;
    use crate::lab::clients::spec::CLIENTS;
    use crate::lab::clients::websocket::WEBSOCKET_CLIENTS;

    #[test]
    fn every_client_has_a_version() {
        let titles = CLIENTS.iter().map(of_client).chain(BUILDS.iter().map(of_go));
        let titles: Vec<_> = titles.chain(WEBSOCKET_CLIENTS.iter().map(of_websocket)).collect();
        for (name, version) in &titles {
            assert!(!version.is_empty() && !version.contains("unknown"), "{name} {version}");
        }
        let named = |name: &str| of_client(CLIENTS.iter().find(|row| row.name == name).unwrap());
        // Those that differ in the version of HTTP alone are one.
        assert_eq!(named("httpx-h1"), named("httpx-h2"));
        assert_ne!(named("reqwest-h1"), named("reqwest-bare-h1"));
    }

    #[test]
    fn versions_are_those_of_the_package_itself() {
        const LIST: [&str; 4] = ["a-b==2", "a[x,y]==1.0", "@c/d@3.4", "e==5"];
        for (name, version) in
            [("a", "1.0"), ("a-b", "2"), ("@c/d", "3.4"), ("e", "5"), ("d", "unknown")]
        {
            assert_eq!(pinned(&LIST, name), version, "{name}");
        }
    }
}
