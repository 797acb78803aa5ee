//! A machine that lacks one thing comes in, made of mounts of its own; what the sensor says of it is compared.

use std::process::Command;

use tollgate_tests::harness::{copy_program, temp_folder};

use crate::sensor::binary;

/// What is done to the machine within mounts that only the sensor sees, and what it must then say: what, why, what to do.
const CASES: [(&str, [&str; 3]); 7] = [
    (
        "exec setpriv --reuid 65534 --regid 65534 --clear-groups",
        ["user: not root", "programs are loaded into the kernel", "as root"],
    ),
    (
        "exec setpriv --bounding-set -bpf",
        ["CAP_BPF: missing", "to load programs and maps", "grant the capability"],
    ),
    (
        "exec setpriv --bounding-set -sys_ptrace",
        ["CAP_SYS_PTRACE: missing", "to open the files that processes map", "grant the capability"],
    ),
    (
        "mount -t tmpfs none /sys/kernel/btf",
        ["btf: missing", "offsets of kernel structures", "CONFIG_DEBUG_INFO_BTF=y"],
    ),
    (
        "mount -t tmpfs none /sys/kernel/security && \
         echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown",
        ["lockdown: confidentiality", "forbids reading kernel memory", "lockdown=integrity"],
    ),
    (
        "echo 5.4.0-200-generic > \"$0/release\" && mount --bind \"$0/release\" /proc/sys/kernel/osrelease",
        ["kernel: 5.4.0-200-generic", "exist from Linux 5.10 on", "boot Linux 5.10 or newer"],
    ),
    (
        "for place in $(findmnt --raw --noheadings --types cgroup2 --output TARGET); do \
         umount --lazy \"$place\" || exit 9; done",
        ["cgroup2: ", "root of the cgroup v2 hierarchy", "mount -t cgroup2"],
    ),
];

#[test]
fn machine_that_lacks_something_is_told_what_why_and_what_to_do() {
    let folder = temp_folder("refused").unwrap();
    // The user that is not root reads no other folder than this one.
    let sensor = folder.path().join("tollgate");
    copy_program(&binary().unwrap(), &sensor).unwrap();
    run_in(&["chmod", "-R", "go+rX"], &folder);
    for (change, told) in CASES {
        for command in ["run", "doctor"] {
            let join = if change.starts_with("exec") { "" } else { "&& exec" };
            let script = format!("{change} {join} \"$0/tollgate\" {command}");
            let mut sensor = Command::new("unshare");
            sensor.args(["--mount", "--propagation=private", "sh", "-c", &script]);
            let output = sensor.arg(folder.path()).output().unwrap();
            let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            assert_eq!(output.status.code(), Some(1), "{change}, {command}: {text:?}");
            let said = if command == "run" { &text[1] } else { &text[0] };
            for part in told {
                // The doctor puts what is found into a column beside what was looked at.
                let words = part.split(": ").collect::<Vec<_>>();
                assert!(words.iter().all(|word| said.contains(word)), "{change}:\n{said}");
            }
            assert_told_once(command, said);
        }
    }
}

/// One thing is missing, and one is told; the doctor also tells that the kernel half was not tried then.
fn assert_told_once(command: &str, said: &str) {
    let (sign, count) = if command == "run" { ("    do:", 1) } else { ("blind ", 2) };
    let told = said.lines().filter(|line| line.starts_with(sign)).count();
    assert_eq!(told, count, "{command}:\n{said}");
}

fn run_in(words: &[&str], folder: &tempfile::TempDir) {
    let (program, rest) = words.split_first().unwrap();
    assert!(Command::new(program).args(rest).arg(folder.path()).status().unwrap().success());
}
