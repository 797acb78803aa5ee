//! A kind of WebSocket client comes in; the command that runs it, with its packages installed, goes out.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::harness::run;
use crate::lab::Lab;
use crate::lab::clients::install::cached;
use crate::lab::clients::run::set_environment;
use crate::lab::clients::spec::{OPENAI_KEY, PROMPT};
use crate::lab::net::command_in;

/// npm packages: the SDK, and the library that it opens sessions with.
pub(super) const PACKAGES: [&str; 2] = ["openai@6.49.0", "ws@8.23.0"];
/// Scripts, carried in the harness so that it works where the source is not.
const PYTHON: &str = include_str!("../../../clients/websocket.py");
const NODE: &str = include_str!("../../../clients/websocket.mjs");

/// One client that opens sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketClient {
    /// Whether Node runs it; otherwise Python does.
    pub node: bool,
    /// `realtime`, `responses`, `raw` or `raw-plain`.
    pub kind: &'static str,
}

const fn client(node: bool, kind: &'static str) -> WebSocketClient {
    WebSocketClient { node, kind }
}

/// Every such client of the lab.
pub const WEBSOCKET_CLIENTS: [WebSocketClient; 7] = [
    client(false, "realtime"),
    client(false, "responses"),
    client(false, "raw"),
    client(false, "raw-plain"),
    client(true, "realtime"),
    client(true, "raw"),
    client(true, "raw-plain"),
];

impl WebSocketClient {
    /// Builds the command that asks `count` times over one session, with its files in `folder`.
    pub fn command(
        &self,
        lab: &Lab,
        folder: &Path,
        model: &str,
        (knobs, count): (&str, usize),
    ) -> Result<Command> {
        let kit = lab.kit();
        let (program, name, text) = if self.node {
            (&kit.node, "websocket.mjs", NODE)
        } else {
            (&kit.python, "websocket.py", PYTHON)
        };
        let script = folder.join(name);
        fs::write(&script, text).context("writing the script")?;
        let mut command = command_in(lab.net().client(0)?, program);
        set_environment(&mut command, folder, &lab.ca_file());
        if self.node {
            command.env("LAB_MODULES", modules()?);
        }
        command.arg(script).args([self.kind, model, PROMPT, OPENAI_KEY, knobs]);
        command.arg(count.to_string());
        Ok(command)
    }
}

fn modules() -> Result<std::path::PathBuf> {
    cached("node-websocket", &PACKAGES.join("\n"), |folder| {
        fs::create_dir_all(folder).context("making the folder for Node's packages")?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        run(npm.arg(folder).args(PACKAGES)).context("installing Node's WebSocket clients").map(drop)
    })
}
