//! Programs that made AI calls come in; they are remembered on disk, so that their next start is probed at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::redact::is_key;

/// Programs remembered; the same bound as the kernel's table.
const PROGRAMS_MAX: usize = sensor_common::limits::PROGRAMS_MAX as usize;
/// TLS libraries, and file names, remembered of one program.
const NAMES_MAX: usize = 8;
/// Bytes of a name that is remembered; what is longer is hardly one.
const NAME_BYTES_MAX: usize = 128;
/// Executables that run scripts: for these the script is part of the program.
const INTERPRETERS: [&str; 7] = ["python", "node", "ruby", "perl", "php", "deno", "bun"];
/// Long options that are followed by code, or by what is run in its place.
const CODE_OPTIONS: [&str; 6] =
    ["--eval", "--print", "--run", "--process-begin", "--process-code", "--process-end"];

/// What makes two processes the same program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// Path of the executable.
    pub executable: String,
    /// File name of the script that an interpreter runs (or `-c`, `-m name`); empty for other executables, and where
    /// the name may be a key or a prompt.
    #[serde(default)]
    pub script: String,
}

/// What is remembered of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Paths of the files that were probed in it: TLS libraries, and what they write through.
    pub libraries: Vec<String>,
    /// File names it was started under: what the kernel calls its processes.
    pub commands: Vec<String>,
}

impl Program {
    /// Tells the program from an executable's path and its arguments.
    pub fn of(executable: &str, arguments: &[String]) -> Self {
        let name = executable.rsplit('/').next().unwrap_or(executable);
        let script = if INTERPRETERS.iter().any(|known| name.starts_with(known)) {
            script_of(arguments, name.starts_with("python"))
        } else {
            String::new()
        };
        Self { executable: executable.to_owned(), script }
    }

    /// Reads the program of a running process, and the file names it goes by; `None` where it has ended.
    pub fn of_process(pid: u32) -> Option<(Self, Vec<String>)> {
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let executable = executable.to_string_lossy();
        let executable = executable.strip_suffix(" (deleted)").unwrap_or(&executable);
        let arguments: Vec<_> = fs::read(format!("/proc/{pid}/cmdline"))
            .ok()?
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        let program = Self::of(executable, &arguments);
        let own = program.file_name().to_owned();
        let called = arguments.first().map(|name| plain_name(name)).unwrap_or_default();
        let names = if called.is_empty() || called == own { vec![own] } else { vec![own, called] };
        Some((program, names))
    }

    /// File name of the executable.
    pub fn file_name(&self) -> &str {
        self.executable.rsplit('/').next().unwrap_or(&self.executable)
    }
}

/// First argument that is no option; where code or a module stands in its place, the option (with the module's name).
fn script_of(arguments: &[String], is_python: bool) -> String {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        let Some(options) = argument.strip_prefix('-') else { return plain_name(argument) };
        if options.is_empty() {
            return argument.clone();
        }
        if options.starts_with('-') {
            let option = argument.split('=').next().unwrap_or_default();
            if CODE_OPTIONS.contains(&option) {
                return option.to_owned();
            }
            continue;
        }
        match Letter::of(options, is_python) {
            Some(Letter::Code(letter)) => return format!("-{letter}"),
            Some(Letter::Module("")) => return module(rest.next().map_or("", String::as_str)),
            Some(Letter::Module(name)) => return module(name),
            Some(Letter::Value("")) => {
                rest.next();
            }
            Some(Letter::Value(_)) | None => {}
        }
    }
    String::new()
}

/// The letter that ends a group of single-letter options.
enum Letter<'a> {
    /// Code follows, or what is run in its place.
    Code(char),
    /// The name of a module follows.
    Module(&'a str),
    /// A value that says nothing of the program follows.
    Value(&'a str),
}

impl<'a> Letter<'a> {
    /// Reads letters that stand together: `-uc` is `-u -c`. Where the languages differ, an option ends the search
    /// rather than that code is taken for a name.
    fn of(letters: &'a str, is_python: bool) -> Option<Self> {
        letters.char_indices().find_map(|(at, letter)| {
            let behind = letters.get(at.saturating_add(1)..).unwrap_or_default();
            match letter {
                'm' if is_python => Some(Self::Module(behind)),
                'W' | 'X' if is_python => Some(Self::Value(behind)),
                'M' if !is_python => Some(Self::Value(behind)),
                'c' | 'e' | 'r' | 'p' => Some(Self::Code(letter)),
                // Perl's and PHP's; Python's are switches.
                'E' | 'R' | 'B' if !is_python => Some(Self::Code(letter)),
                _ => None,
            }
        })
    }
}

fn module(name: &str) -> String {
    let name = plain_name(name);
    if name.is_empty() { name } else { format!("-m {name}") }
}

/// The file name of a path; nothing where it may be a key or a prompt: the memory is a file in clear.
fn plain_name(path: &str) -> String {
    // The folder does not count: the same script is run from a new container or a copy the next time.
    let name = path.rsplit('/').next().unwrap_or(path);
    let sign = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '`' | '=' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>')
    };
    // A blank anywhere makes it a text, of which the last part is as secret as the first; a folder of a real path may be
    // called by a hash.
    let word = if path.starts_with(['/', '.']) { name } else { path };
    let plain = name.len() <= NAME_BYTES_MAX && !path.contains(sign) && !is_key(word);
    if plain { name.to_owned() } else { String::new() }
}

#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    program: Program,
    #[serde(flatten)]
    known: Known,
}

impl Row {
    fn is_plain(&self) -> bool {
        let script = &self.program.script;
        let name = script.strip_prefix("-m ").unwrap_or(script);
        let own = self.program.file_name();
        plain_name(name) == name
            && self.known.commands.iter().all(|name| name == own || plain_name(name) == *name)
    }
}

/// The programs that made AI calls, with the TLS libraries they did it through.
#[derive(Debug, Default)]
pub struct Learned {
    programs: BTreeMap<Program, Known>,
    path: Option<PathBuf>,
}

impl Learned {
    /// Reads the memory; a file that is missing is an empty memory, a broken one is an error that names it.
    pub fn open(path: &Path) -> Result<Self, io::Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => "[]".to_owned(),
            Err(error) => return Err(error),
        };
        let rows: Vec<Row> = serde_json::from_str(&text).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })?;
        // Earlier versions took code and prompts for names.
        let (rows, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(Row::is_plain);
        let rows = rows.into_iter().take(PROGRAMS_MAX);
        let memory = Self {
            programs: rows.map(|row| (row.program, row.known)).collect(),
            path: Some(path.to_owned()),
        };
        if !others.is_empty() {
            memory.save()?;
        }
        Ok(memory)
    }

    /// What is known of a program that made AI calls before.
    pub fn get(&self, program: &Program) -> Option<&Known> {
        self.programs.get(program)
    }

    /// File names under which the kernel reports the start of a learnt program.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.programs.values().flat_map(|known| known.commands.iter().map(String::as_str))
    }

    /// Adds a program; says whether that is news. The file is written anew, or the error returned and the news kept.
    pub fn add(&mut self, program: Program, news: &Known) -> Result<bool, io::Error> {
        let full = self.programs.len() >= PROGRAMS_MAX && !self.programs.contains_key(&program);
        if news.libraries.is_empty() || full {
            return Ok(false);
        }
        let known = self.programs.entry(program).or_default();
        let libraries = extend(&mut known.libraries, &news.libraries);
        let commands = extend(&mut known.commands, &news.commands);
        if !libraries && !commands {
            return Ok(false);
        }
        self.save().map(|()| true)
    }

    /// Writes beside the file and renames, so that a full disk or a crash never leaves half a memory.
    fn save(&self) -> Result<(), io::Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let rows: Vec<_> = self
            .programs
            .iter()
            .map(|(program, known)| Row { program: program.clone(), known: known.clone() })
            .collect();
        let beside = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(serde_json::to_string_pretty(&rows)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(beside, path)
    }
}

/// Adds what is new, as far as there is room; says whether there was anything.
fn extend(known: &mut Vec<String>, news: &[String]) -> bool {
    let before = known.len();
    for item in news {
        if known.len() < NAMES_MAX && !known.contains(item) {
            known.push(item.clone());
        }
    }
    known.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(executable: &str, arguments: &[&str]) -> Program {
        Program::of(
            executable,
            &arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn script_is_part_of_an_interpreted_program() {
        const CASES: [(&str, &[&str], &str); 9] = [
            ("/usr/bin/python3.11", &["python3", "-u", "/srv/app.py", "x"], "app.py"),
            ("/usr/bin/python3.11", &["python3", "-m", "llm", "x"], "-m llm"),
            ("/usr/bin/python3.11", &["python3", "-W", "ignore", "-Xdev", "app.py"], "app.py"),
            ("/usr/bin/python3.11", &["python3", "-", "x"], "-"),
            ("/usr/bin/python3.11", &["python3", "/opt/0123456789abcdef01234567/llm"], "llm"),
            ("/usr/bin/perl", &["perl", "-Mstrict", "-w", "--", "/srv/app.pl"], "app.pl"),
            ("/usr/bin/node", &["node", "-e", "code"], "-e"),
            ("/usr/bin/node", &["node"], ""),
            ("/usr/bin/curl", &["curl", "https://x"], ""),
        ];
        for (executable, arguments, script) in CASES {
            assert_eq!(program(executable, arguments).script, script, "{arguments:?}");
        }
    }

    #[test]
    fn code_keys_and_prompts_are_no_names() {
        const CASES: [(&str, &[&str], &str); 16] = [
            ("python3", &["-uc", "hunter2"], "-c"),
            ("python3", &["-Bc", "hunter2"], "-c"),
            ("python3", &["-Ic", "hunter2"], "-c"),
            ("python3", &["-chunter2"], "-c"),
            ("python3", &["-mllm", "hunter2"], "-m llm"),
            ("python3", &["-um", "llm", "hunter2"], "-m llm"),
            ("python3", &["my hunter2/prompt"], ""),
            ("python3", &["-m", "llm hunter2"], ""),
            ("php", &["-r", "hunter2"], "-r"),
            ("node", &["-pe", "hunter2"], "-p"),
            ("node", &["--print", "hunter2"], "--print"),
            ("node", &["--eval=hunter2"], "--eval"),
            ("perl", &["-we", "hunter2"], "-e"),
            ("perl", &["-E", "hunter2"], "-E"),
            ("bun", &["sk-test-not-a-real-key-1234"], ""),
            ("deno", &["x=hunter2"], ""),
        ];
        for (name, arguments, script) in CASES {
            let all: Vec<_> = [name].iter().chain(arguments).copied().collect();
            assert_eq!(program(name, &all).script, script, "{all:?}");
        }
        let long = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(plain_name(&long), long);
        assert_eq!(plain_name(&format!("{long}x")), "");
    }

    #[test]
    fn names_that_are_none_leave_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        let row = |script: &str, command: &str| {
            serde_json::json!({
                "executable": "/usr/bin/python3",
                "script": script,
                "libraries": ["/lib/libssl.so.3"],
                "commands": [command],
            })
        };
        let rows = [row("ask('hunter2')", "a"), row("b.py", "ask hunter2"), row("-m llm", "c")];
        fs::write(&path, serde_json::to_string(&rows).unwrap()).unwrap();
        let memory = Learned::open(&path).unwrap();
        assert_eq!(memory.commands().collect::<Vec<_>>(), ["c"]);
        assert!(!fs::read_to_string(&path).unwrap().contains("hunter2"));
    }

    #[test]
    fn memory_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        let curl = program("/usr/bin/curl", &["curl"]);
        let known = Known {
            libraries: vec!["/lib/libssl.so.3".to_owned()],
            commands: vec!["curl".to_owned()],
        };
        let mut first = Learned::open(&path).unwrap();
        assert!(first.add(curl.clone(), &known).unwrap());
        assert!(!first.add(curl.clone(), &known).unwrap());
        let second = Learned::open(&path).unwrap();
        assert_eq!(second.get(&curl), Some(&known));
        assert_eq!(second.commands().collect::<Vec<_>>(), ["curl"]);
    }

    #[test]
    fn broken_memory_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        fs::write(&path, "[{").unwrap();
        assert!(Learned::open(&path).unwrap_err().to_string().contains("learned.json"));
    }
}
