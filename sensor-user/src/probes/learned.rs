//! Programs that made AI calls come in; they are remembered on disk, so that their next start is probed at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Programs remembered; the same bound as the kernel's table.
const PROGRAMS_MAX: usize = sensor_common::limits::PROGRAMS_MAX as usize;
/// TLS libraries, and file names, remembered of one program.
const NAMES_MAX: usize = 8;
/// Executables that run scripts: for these the script is part of the program.
const INTERPRETERS: [&str; 7] = ["python", "node", "ruby", "perl", "php", "deno", "bun"];

/// What makes two processes the same program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// Path of the executable.
    pub executable: String,
    /// File name of the script that an interpreter runs (or `-c`, `-m name`); empty for other executables.
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
            script_of(arguments)
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
        let called =
            arguments.first().and_then(|name| name.rsplit('/').next()).unwrap_or(&own).to_owned();
        let names = if called == own { vec![own] } else { vec![own, called] };
        Some((program, names))
    }

    /// File name of the executable.
    pub fn file_name(&self) -> &str {
        self.executable.rsplit('/').next().unwrap_or(&self.executable)
    }
}

/// First argument that is no option; for `-m` and `-c`, the option (with the module's name).
fn script_of(arguments: &[String]) -> String {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-m" => return rest.next().map_or_else(String::new, |module| format!("-m {module}")),
            "-c" | "-e" | "--eval" | "-p" | "-" => return argument.clone(),
            option if option.starts_with('-') => {}
            // The folder does not count: the same script is run from a new container or a copy the next time.
            script => return script.rsplit('/').next().unwrap_or(script).to_owned(),
        }
    }
    String::new()
}

#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    program: Program,
    #[serde(flatten)]
    known: Known,
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
        let rows = rows.into_iter().take(PROGRAMS_MAX);
        Ok(Self {
            programs: rows.map(|row| (row.program, row.known)).collect(),
            path: Some(path.to_owned()),
        })
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
        const CASES: [(&str, &[&str], &str); 5] = [
            ("/usr/bin/python3.11", &["python3", "-u", "/srv/app.py", "x"], "app.py"),
            ("/usr/bin/python3.11", &["python3", "-m", "llm", "x"], "-m llm"),
            ("/usr/bin/node", &["node", "-e", "code"], "-e"),
            ("/usr/bin/node", &["node"], ""),
            ("/usr/bin/curl", &["curl", "https://x"], ""),
        ];
        for (executable, arguments, script) in CASES {
            assert_eq!(program(executable, arguments).script, script, "{arguments:?}");
        }
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
