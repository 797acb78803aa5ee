//! The machine comes in; what a reader needs to know of it to judge the figures goes out.

use std::fs;
use std::process::Command;

use crate::shell::output;

/// Names and values, as rows of a table. What cannot be found out is left out.
pub fn describe() -> Vec<(&'static str, String)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| processor(&text));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let system = fs::read_to_string("/etc/os-release").ok().and_then(|text| system(&text));
    let first_line = |program: &str, argument: &str| {
        let told = Command::new(program).arg(argument).output().ok()?;
        let text = [told.stdout, told.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
    };
    let rows = [
        ("processor", cpu),
        ("kernel", kernel.map(|text| text.trim().to_owned())),
        ("system", system),
        ("memory", fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory(&text))),
        (
            "compiler",
            output(Command::new("rustc").arg("--version")).ok().map(|text| text.trim().to_owned()),
        ),
        ("OpenSSL", first_line("openssl", "version")),
        ("nginx", first_line("nginx", "-v")),
        ("wrk", first_line("wrk", "-v")),
        ("bpftrace", first_line("bpftrace", "--version")),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Load of the machine over the last 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn memory(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(format!("{} GiB", kib.div_ceil(1024 * 1024)))
}

fn processor(text: &str) -> Option<String> {
    let value = |line: &str| Some(line.split_once(':')?.1.trim().to_owned());
    let name = text.lines().find(|line| line.starts_with("model name")).and_then(value);
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    Some(format!("{}, {count} logical", name?))
}

fn system(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_and_system_are_read() {
        let text =
            "processor\t: 0\nmodel name\t: Some CPU\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        assert_eq!(processor(text).as_deref(), Some("Some CPU, 2 logical"));
        assert_eq!(memory("MemTotal:       25165824 kB\n").as_deref(), Some("24 GiB"));
        assert_eq!(system("NAME=x\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
    }

    #[test]
    fn kernel_of_this_machine_is_named() {
        assert!(describe().iter().any(|(name, value)| *name == "kernel" && !value.is_empty()));
    }
}
