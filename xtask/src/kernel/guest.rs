//! `tollgate` and the test of preemption come in; a file system that boots, runs them and makes TLS calls goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::kernel::cpio::Archive;
use crate::shell::{find, output, root};

/// The first process of the guest.
const INIT: &str = include_str!("init.sh");

/// The program whose threads make TLS calls with bytes of their own, from the root of the workspace.
const PATTERNS: &str = "tests/clients/patterns.c";

/// What the client asks and the server answers: one chat of 19 and 7 tokens.
const REQUEST_HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\
                            Authorization: Bearer sk-FAKE-of-the-kernel-matrix\r\n";
const REQUEST_BODY: &str =
    r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"guest test"}]}"#;
const ANSWER_HEAD: &str = "HTTP/1.1 200 OK\r\n";
const ANSWER_BODY: &str = concat!(
    r#"{"id":"chatcmpl-guest","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,"#,
    r#""message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":19,"completion_tokens":7,"total_tokens":26}}"#,
);

/// Writes the file system and returns its path.
pub fn build(tollgate: &Path, checker: &Path, folder: &Path) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for path in ["/proc", "/sys", "/dev", "/tmp", "/root"] {
        archive.folder(path)?;
    }
    archive.file("/init", INIT.as_bytes())?;
    archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.file("/etc/openssl.cnf", b"")?;
    archive.file("/etc/hosts", b"127.0.0.1 localhost api.openai.com\n")?;
    archive.file("/root/request", &message(REQUEST_HEAD, REQUEST_BODY))?;
    archive.file("/root/answer", &message(ANSWER_HEAD, ANSWER_BODY))?;
    for (name, content) in certificate(folder)? {
        archive.file(&format!("/root/{name}"), &content)?;
    }
    let busybox = find("busybox").context("no busybox")?;
    add(&mut archive, &busybox, "/bin/busybox")?;
    archive.link("/bin/sh", "busybox")?;
    let openssl = find("openssl").context("no openssl")?;
    let mut libraries = Vec::new();
    let (patterns, checker) = (compile(folder)?, strip(checker, folder)?);
    let programs = [
        (tollgate, "/bin/tollgate"),
        (checker.as_path(), "/bin/preemption"),
        (patterns.as_path(), "/bin/patterns"),
        (openssl.as_path(), "/bin/openssl"),
    ];
    for (program, place) in programs {
        add(&mut archive, program, place)?;
        libraries.extend(libraries_of(program)?);
    }
    libraries.sort();
    libraries.dedup();
    for library in &libraries {
        add(&mut archive, Path::new(library), library)?;
    }
    let path = folder.join("guest.cpio");
    fs::write(&path, archive.finish()?).context("writing the guest's file system")?;
    Ok(path)
}

/// What a debugger wants would fill the guest's memory.
fn strip(program: &Path, folder: &Path) -> Result<PathBuf> {
    let stripped = folder.join("preemption");
    output(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
    Ok(stripped)
}

fn compile(folder: &Path) -> Result<PathBuf> {
    let (source, program) = (root()?.join(PATTERNS), folder.join("patterns"));
    let mut compiler = Command::new("cc");
    compiler.arg("-O2").arg("-o").arg(&program).arg(&source);
    output(compiler.args(["-lssl", "-lcrypto", "-lpthread"]))?;
    Ok(program)
}

fn message(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn add(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    archive.file(to, &content)
}

/// The loader and every shared library of a program, as the loader itself finds them.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let mut ldd = Command::new("ldd");
    let told = output(ldd.arg(program).env_remove("LD_LIBRARY_PATH"))?;
    Ok(paths_in(&told).map(str::to_owned).collect())
}

/// Lines are `name => /path (address)`, and `/path (address)` of the loader.
fn paths_in(told: &str) -> impl Iterator<Item = &str> {
    told.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// A key and a certificate that nobody trusts, made once.
fn certificate(folder: &Path) -> Result<[(&'static str, Vec<u8>); 2]> {
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    if !(key.is_file() && cert.is_file()) {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]);
        openssl.args(["-days", "3650", "-subj", "/CN=api.openai.com", "-batch"]);
        output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert))?;
    }
    let key = fs::read(key).context("reading the guest's key")?;
    Ok([("key.pem", key), ("cert.pem", fs::read(cert).context("reading the guest's certificate")?)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_found_and_the_kernels_own_is_not() {
        let told = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibssl.so.3 => /lib/libssl.so.3 (0x00007f)\n\t/lib64/ld.so.2 (0x7f)\n";
        let paths: Vec<_> = paths_in(told).collect();
        assert_eq!(paths, ["/lib/libssl.so.3", "/lib64/ld.so.2"]);
    }
}
