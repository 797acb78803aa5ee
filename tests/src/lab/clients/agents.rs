//! Names of coding agents and runtimes come in; their native programs, installed as npm serves them, go out, ready to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::harness::run;
use crate::lab::clients::install::{Kit, cache_folder, locked, stamped};
use crate::lab::clients::run::set_environment;
use crate::lab::clients::spec::ANTHROPIC_KEY;
use crate::lab::net::command_in;

/// How an agent is asked for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// `claude -p PROMPT`.
    ClaudeCode,
    /// `opencode run PROMPT`.
    OpenCode,
    /// A script that fetches twice: whole and streamed.
    Bun,
}

/// A program that carries its own TLS library without symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
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

const fn agent(
    package: &'static str,
    version: &'static str,
    program: &'static str,
    (asking, always): (Asking, bool),
) -> Agent {
    Agent { package, version, program, asking, always }
}

const CLAUDE: &str = "@anthropic-ai/claude-code-linux-x64";
const BUN: &str = "@oven/bun-linux-x64";

/// Every such program of the lab.
pub const AGENTS: &[Agent] = &[
    agent(BUN, "1.4.5", "bin/bun", (Asking::Bun, true)),
    agent(CLAUDE, "2.1.332", "claude", (Asking::ClaudeCode, true)),
    agent(CLAUDE, "2.1.331", "claude", (Asking::ClaudeCode, false)),
    agent(CLAUDE, "2.1.330", "claude", (Asking::ClaudeCode, false)),
    agent(CLAUDE, "2.1.319", "claude", (Asking::ClaudeCode, false)),
    agent(CLAUDE, "2.1.302", "claude", (Asking::ClaudeCode, false)),
    agent("opencode-linux-x64", "1.18.33", "bin/opencode", (Asking::OpenCode, false)),
    agent(BUN, "1.3.14", "bin/bun", (Asking::Bun, false)),
    agent(BUN, "1.2.23", "bin/bun", (Asking::Bun, false)),
    agent(BUN, "1.1.45", "bin/bun", (Asking::Bun, false)),
];

/// What Bun runs: a call whole, then one streamed.
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
        let cache = cache_folder();
        let _held = locked(&cache)?;
        let title = self.title();
        let folder = cache.join("agents").join(title.replace(['@', '/'], "_"));
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
            Asking::Bun => {
                let script = folder.join("fetch.mjs");
                fs::write(&script, SCRIPT).context("writing Bun's script")?;
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
    /// The programs that a test run takes: those of every run, or all.
    pub fn agents(all: bool) -> impl Iterator<Item = &'static Agent> {
        AGENTS.iter().filter(move |agent| all || agent.always)
    }
}
