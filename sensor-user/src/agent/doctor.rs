//! This machine comes in; what the agent can see here, what not, why, and what to do about it goes out.

use std::collections::{BTreeMap, BTreeSet};

use crate::bpf::features::{self, Level};
use crate::bpf::{Gate, Kernel, Settings, has_lasting_probes};
use crate::config::Config;
use crate::probes::learned::Program;
use crate::probes::{Mapping, Planner, connections, executable_mappings, is_likely};
use crate::report::Finding;
use crate::report::doctor::State;
use crate::workload::runtime::Source;

use super::runtimes;

/// TLS libraries that are recognised by their file name and not yet probed.
const UNSUPPORTED: [(&str, &str); 1] = [("libjvm.so", "Java's own TLS (JSSE)")];
/// Programs named in one finding.
const NAMED_MAX: usize = 8;

/// Looks at everything; loads the kernel half, attaches it to the machine, and takes it away again.
pub fn examine(config: &Config) -> Vec<Finding> {
    let facts = features::survey();
    let fatal = facts.iter().any(|fact| fact.level == Level::Fatal);
    let mut findings: Vec<_> = facts.into_iter().map(of_fact).collect();
    if fatal {
        findings.push(finding(
            "kernel half",
            State::Blind,
            "not tried",
            "something above is missing",
            "",
        ));
    } else {
        findings.push(kernel_half(config));
        findings.extend(enforcement(config));
    }
    findings.extend(libraries(config));
    findings.extend(containers(config));
    findings
}

/// Which container runtimes answer here.
fn containers(config: &Config) -> Vec<Finding> {
    let sources = runtimes::examine(&config.runtimes);
    let why = "calls out of its containers carry an id only, and policies do not know their pod, labels or image";
    let action = "see `[runtimes]` in the configuration: the agent needs the runtime's socket";
    let told = |source: &Source| {
        let well = source.is_connected();
        let (state, why, action) =
            if well { (State::Ok, "", "") } else { (State::Limited, why, action) };
        Some(finding("containers", state, runtimes::line(source)?, why, action))
    };
    let found: Vec<_> = sources.iter().filter_map(told).collect();
    if found.is_empty() {
        let what = "no container runtime on this machine";
        return vec![finding("containers", State::Ok, what, "", "")];
    }
    found
}

/// Fails where this machine lacks what the agent cannot do without, and says what, why and what to do about it.
pub fn check_machine() -> anyhow::Result<()> {
    let fatal = features::survey().into_iter().filter(|fact| fact.level == Level::Fatal);
    let told: Vec<_> = fatal.map(|fact| refusal(&fact)).collect();
    if told.is_empty() {
        return Ok(());
    }
    anyhow::bail!("the sensor cannot run here\n{}", told.join("\n"))
}

fn refusal(fact: &features::Fact) -> String {
    let features::Fact { what, found, why, action, .. } = fact;
    format!("  {what}: {found}\n    why: {why}\n    do:  {action}")
}

fn finding(area: &str, state: State, what: impl Into<String>, why: &str, action: &str) -> Finding {
    Finding {
        area: area.to_owned(),
        state,
        what: what.into(),
        why: why.to_owned(),
        action: action.to_owned(),
    }
}

fn of_fact(fact: features::Fact) -> Finding {
    let state = match fact.level {
        Level::Fine => State::Ok,
        Level::Limited => State::Limited,
        Level::Fatal => State::Blind,
    };
    finding(fact.what, state, fact.found, fact.why, fact.action)
}

fn kernel_half(config: &Config) -> Finding {
    let settings = Settings {
        data_ring_bytes: config.capture.ring_bytes,
        hold_client_hello: config.capture.hold_client_hello,
    };
    let loaded =
        Kernel::load(&settings).and_then(|mut kernel| kernel.attach_machine().map(|()| kernel));
    match loaded {
        Ok(kernel) if kernel.has_multi_links() => finding(
            "kernel half",
            State::Ok,
            "loads, attaches; probes by uprobe_multi links",
            "",
            "",
        ),
        Ok(_) => finding(
            "kernel half",
            State::Limited,
            "loads, attaches; probes by perf events",
            "taking such a probe away takes up to a quarter of a second each: stopping the agent is slow",
            "boot Linux 6.10 or newer",
        ),
        Err(error) => finding(
            "kernel half",
            State::Blind,
            super::chain(&error),
            "without it nothing is seen",
            "report this with the kernel's version",
        ),
    }
}

/// What can be refused here, and what not: the gate is loaded, without taking the place of one that stands.
fn enforcement(config: &Config) -> Vec<Finding> {
    let area = "enforcement";
    // In a folder of its own, a gate that stands is not touched.
    let pins =
        config.enforce.pins.with_file_name(format!("tollgate-doctor-{}", std::process::id()));
    let loaded = Gate::load(&pins).and_then(|gate| gate.attach());
    let _gone = std::fs::remove_dir_all(&pins);
    if let Err(error) = loaded {
        let why = "nothing can be refused on this machine";
        let action = "mount the bpf file system, and grant CAP_SYS_ADMIN";
        return vec![finding(area, State::Limited, super::chain(&error), why, action)];
    }
    let by = "refuses by address, by name, and on open connections";
    let mut findings = vec![finding(area, State::Ok, by, "", "")];
    findings.push(if has_lasting_probes() {
        let what = "judges requests over HTTP/1.1 by path, host and key before they leave";
        finding(area, State::Ok, what, "", "")
    } else {
        finding(
            area,
            State::Limited,
            "no request is judged by its content",
            "before Linux 6.10 probes cannot be kept to one process; an agent with such orders is not ready",
            "boot Linux 6.10 or newer",
        )
    });
    let not = "requests over HTTP/2, QUIC, kTLS and TLS libraries without probes are not judged by content: orders say \
               whether they are refused (refuse_opaque, refuse_quic); MPTCP sockets are refused";
    findings.push(finding(area, State::Limited, not, "they cannot be seen before they leave", ""));
    findings
}

/// Whether a file is read: the same files that get probes first, or what is seen would be told as unseen.
fn may_carry(mapping: &Mapping, program: &Program) -> bool {
    mapping.path == program.executable || is_likely(mapping.file_name())
}

/// Which programs that run now can be seen, and which not.
fn libraries(config: &Config) -> Vec<Finding> {
    let mut planner = Planner::default();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut blind: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    let connected: BTreeSet<_> =
        connections::processes_connected_to(&config.capture.scan_ports).into_iter().collect();
    let own = std::process::id();
    for pid in connections::process_ids().into_iter().filter(|pid| *pid != own) {
        let Some((program, _)) = Program::of_process(pid) else { continue };
        let mappings = executable_mappings(pid).unwrap_or_default();
        let mut found = false;
        for mapping in &mappings {
            let plan = may_carry(mapping, &program)
                .then(|| mapping.open(pid).ok().and_then(|file| planner.plan(&file).ok()))
                .flatten();
            if plan.is_some_and(|plan| plan.carries_data()) {
                found = true;
                let path = mapping.path.clone();
                seen.entry(path).or_default().insert(program.file_name().to_owned());
            }
        }
        let name = |(file, library): &(&str, &'static str)| {
            mappings.iter().any(|mapping| mapping.file_name().starts_with(file)).then_some(*library)
        };
        let unsupported = UNSUPPORTED.iter().find_map(name);
        let unknown = connected.contains(&pid).then_some("a TLS library that was not recognised");
        if let (false, Some(library)) = (found, unsupported.or(unknown)) {
            blind.entry(library).or_default().insert(program.file_name().to_owned());
        }
    }
    let list = |programs: BTreeSet<String>| {
        let more = programs.len().saturating_sub(NAMED_MAX);
        let named = programs.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        if more == 0 { named } else { format!("{named} and {more} more") }
    };
    let ok = seen.into_iter().map(|(library, programs)| {
        finding("tls", State::Ok, format!("{library}: {}", list(programs)), "", "")
    });
    let limited = blind.into_iter().map(|(library, programs)| {
        let why = "calls of these programs are seen as connections only";
        finding("tls", State::Limited, format!("{library}: {}", list(programs)), why, "")
    });
    ok.chain(limited).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_get_probes_are_read() {
        let program = Program::of("/usr/bin/app", &[]);
        let is_read = |path: &str| {
            let mapping = Mapping {
                range: String::new(),
                device: String::new(),
                inode: 1,
                path: path.to_owned(),
            };
            may_carry(&mapping, &program)
        };
        // NSS is read and written through NSPR.
        for path in
            ["/usr/bin/app", "/usr/lib/libnspr4.so", "/usr/lib/libnss3.so", "/x/libnode.so.108"]
        {
            assert!(is_read(path), "{path}");
        }
        assert!(!is_read("/opt/ssl/libz.so.1"));
        assert!(UNSUPPORTED.iter().all(|(file, _)| !is_likely(file)), "seen, and told as unseen");
    }
}
