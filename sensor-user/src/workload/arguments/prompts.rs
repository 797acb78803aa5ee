//! Words of a command line come in; which of them may be a prompt that was typed without quotes goes out.

use std::borrow::Cow;

use crate::workload::arguments::REDACTED;
use crate::workload::arguments::is_text;
use crate::workload::arguments::options::is_number;

/// Programs whose words are prompts.
const PROGRAMS: [&str; 15] = [
    "aichat",
    "aider",
    "claude",
    "codex",
    "cursor-agent",
    "fabric",
    "gemini",
    "llm",
    "mods",
    "ollama",
    "opencode",
    "qwen",
    "sgpt",
    "shell-gpt",
    "tgpt",
];

/// Folders of `node_modules` in which such programs lie.
const PACKAGES: [&str; 5] = ["claude-code", "codex", "gemini-cli", "opencode-ai", "qwen-code"];

/// Commands of these programs: words of a closed set say nothing of anybody's.
const COMMANDS: [&str; 34] = [
    "app-server",
    "auth",
    "chat",
    "config",
    "cp",
    "create",
    "doctor",
    "embed",
    "exec",
    "extensions",
    "help",
    "install",
    "keys",
    "list",
    "login",
    "logout",
    "logs",
    "ls",
    "mcp",
    "mcp-server",
    "models",
    "prompt",
    "ps",
    "pull",
    "push",
    "resume",
    "rm",
    "run",
    "runner",
    "serve",
    "show",
    "stop",
    "update",
    "version",
];

/// Programs whose words name packages, services, files: many of them may stand in a row.
const TOOLS: [&str; 20] = [
    "apt",
    "apt-get",
    "brew",
    "cargo",
    "dnf",
    "docker",
    "docker-compose",
    "git",
    "go",
    "helm",
    "kubectl",
    "make",
    "npm",
    "pip",
    "pip3",
    "pnpm",
    "podman",
    "systemctl",
    "terraform",
    "yarn",
];

/// What may stand before such a program.
const STARTERS: [&str; 6] = ["env", "nice", "node", "python", "python3", "sudo"];

/// Commands of such programs behind which names stand.
const VERBS: [&str; 20] = [
    "add",
    "build",
    "delete",
    "disable",
    "down",
    "enable",
    "get",
    "install",
    "kill",
    "logs",
    "pull",
    "push",
    "remove",
    "restart",
    "rm",
    "stop",
    "uninstall",
    "up",
    "update",
    "upgrade",
];

/// Commands that start another program, whose words may be anything.
const RUNNERS: [&str; 3] = ["exec", "run", "x"];

/// Plain words in a row that are a text whatever they say: few commands name as many things by a plain word each.
const WORDS_MIN: usize = 5;
/// Plain words in a row that are a text where one of them joins others.
const JOINED_WORDS_MIN: usize = 3;
/// Letters of the longest of them at least: `cp a b c` is none.
const LETTERS_MIN: usize = 3;

/// Words that join others in a sentence, and hardly ever stand alone in a command.
const JOINTS: [&str; 44] = [
    "a", "about", "an", "and", "are", "as", "at", "be", "but", "by", "can", "do", "does", "for",
    "from", "how", "i", "if", "in", "is", "it", "me", "my", "not", "of", "on", "or", "our",
    "please", "that", "the", "their", "this", "to", "us", "we", "what", "when", "where", "who",
    "why", "with", "you", "your",
];

/// What a program that takes prompts expects next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expects {
    /// No such program was named so far.
    #[default]
    Anything,
    /// One of its commands, or a prompt.
    Command,
    /// One of the commands of ollama, behind which a model stands.
    OllamaCommand,
    /// A model.
    Model,
    /// A prompt.
    Prompt,
}

impl Expects {
    /// Takes a word that is no option; says whether it may be one of a prompt.
    pub(super) fn take(&mut self, word: &str, is_behind_option: bool) -> bool {
        let (next, is_prompt) = match *self {
            Self::Anything => (Self::of(word), false),
            Self::Command if COMMANDS.contains(&word) => (Self::Command, false),
            Self::OllamaCommand if COMMANDS.contains(&word) => (Self::Model, false),
            // It may be the option's value: a command may come yet.
            same @ (Self::Command | Self::OllamaCommand) if is_behind_option => (same, true),
            Self::Model => (Self::Prompt, false),
            Self::Command | Self::OllamaCommand | Self::Prompt => (Self::Prompt, true),
        };
        *self = next;
        is_prompt
    }

    /// What a program expects, by its path.
    fn of(path: &str) -> Self {
        let file = file_of(path);
        let in_package = path
            .split_once("node_modules/")
            .is_some_and(|(_, inside)| inside.split('/').any(|folder| PACKAGES.contains(&folder)));
        if file == "ollama" {
            Self::OllamaCommand
        } else if in_package || PROGRAMS.contains(&file) {
            Self::Command
        } else {
            Self::Anything
        }
    }
}

fn file_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Takes out rows of plain words that read like a sentence, whatever the program; each word comes with what is kept of it.
pub(super) fn take_out_sentences(program: &str, words: &mut [(Cow<'_, str>, String)]) {
    let is_list = is_list(program, words);
    let mut is_behind_option = false;
    for row in words.chunk_by_mut(|(one, _), (next, _)| is_spoken(one) == is_spoken(next)) {
        // Behind an option its value may stand: that makes no sentence, but goes with one.
        let own = row.get(usize::from(is_behind_option)..).unwrap_or_default();
        let is_row = own.first().is_some_and(|(word, _)| is_spoken(word));
        if is_row && is_sentence(own, is_list) {
            for (_, kept) in row.iter_mut() {
                REDACTED.clone_into(kept);
            }
        }
        is_behind_option = row.last().is_some_and(|(word, _)| word.starts_with('-'));
    }
}

/// Whether a command names things one by one: `docker compose up web db cache worker`.
fn is_list(program: &str, words: &[(Cow<'_, str>, String)]) -> bool {
    let mut files = std::iter::once(program)
        .chain(words.iter().map(|(word, _)| word.as_ref()))
        .filter(|word| !word.starts_with('-'))
        .map(file_of)
        .skip_while(|file| STARTERS.contains(file));
    if !files.next().is_some_and(|tool| TOOLS.contains(&tool)) {
        return false;
    }
    let commands: Vec<_> = files.take(2).collect();
    commands.iter().any(|command| VERBS.contains(command))
        && !commands.iter().any(|command| RUNNERS.contains(command))
}

/// A plain word, a number or a text: what a sentence consists of.
fn is_spoken(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('-')
        && (plain(word).is_some() || is_number(word) || is_text(word))
}

/// A word of letters without the sign behind it; no name of a file, no setting, no address.
fn plain(word: &str) -> Option<&str> {
    let word = word.trim_end_matches(['.', ',', '?', '!', ':', ';']);
    let is_plain = word.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '-'));
    (is_plain && word.chars().any(char::is_alphabetic)).then_some(word)
}

fn is_sentence(words: &[(Cow<'_, str>, String)], is_list: bool) -> bool {
    let plain = words.iter().filter_map(|(word, _)| plain(word));
    let plain: Vec<_> = plain.map(str::to_lowercase).collect();
    let has_joint = plain.iter().any(|word| JOINTS.contains(&word.as_str()));
    let is_long = plain.iter().any(|word| word.chars().count() >= LETTERS_MIN);
    let enough = if has_joint { JOINED_WORDS_MIN } else { WORDS_MIN };
    is_long && plain.len() >= enough && (has_joint || !is_list)
}
