//! Files and messages that the agent reads go out as inputs: a DNS answer, a small library, configurations, policies.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::Seed;

/// Functions as a TLS library has them: the first begins with an instruction that the kernel cannot emulate.
const LIBRARY: &str = "int work(void *s, const void *b, unsigned long n, unsigned long *w) { *w = n; return 1; }\n\
    int SSL_write(void *s, const void *b, int n) { unsigned long w; return n < 0 ? -1 : work(s, b, n, &w) ? (int)w : -1; }\n\
    int SSL_read(void *s, void *b, int n) { return SSL_write(s, b, n) + 1; }\n";

const SETTINGS: &str = "[capture]\nattach = \"eager\"\nring_bytes = 65536\nscan_ports = [443, 8443]\n\n\
    [files]\nstate = \"/tmp/state\"\n\n[report]\nlisten = \"127.0.0.1:9464\"\n\n[http]\nstreams_max = 5\n";

const PROVIDERS: &str = "[[provider]]\nid = \"corp\"\ncategory = \"gateway\"\nhosts = [\"llm.corp.example\"]\n\
    source = \"test\"\nchecked = 2026-11-23\n";

/// All seeds of this file.
pub(crate) fn seeds() -> io::Result<Vec<Seed>> {
    let mut all = vec![
        ("dns", "answer", answer()),
        ("elf", "library", library()?),
        ("config", "settings", SETTINGS.into()),
        ("config", "providers", PROVIDERS.into()),
        ("config", "unknown-key", b"[capture]\nring_byte = 65536\n".to_vec()),
    ];
    all.extend(policies()?);
    Ok(all)
}

/// The policies of the repository, their rows, and documents that are refused.
fn policies() -> io::Result<Vec<Seed>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seeds = Vec::new();
    for folder in ["policies", "tests/corpus/policies_invalid"] {
        for entry in fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let (Some(name), Some("yaml")) = (name, path.extension().and_then(OsStr::to_str)) {
                seeds.push(("policy", name.to_owned().leak() as &str, fs::read(&path)?));
            }
        }
    }
    Ok(seeds)
}

/// `API.example.` with a CNAME, an A and an AAAA record (RFC 1035, 4).
fn answer() -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
    message.extend(b"\x03API\x07example\x00\x00\x01\x00\x01");
    message.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x06\x03cdn\xc0\x10");
    message.extend(b"\xc0\x29\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x02\x03");
    message.extend(b"\xc0\x29\x00\x1c\x00\x01\x00\x00\x00\x1e\x00\x10");
    message.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    message
}

fn library() -> io::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let (source, built) = (folder.path().join("library.c"), folder.path().join("library.so"));
    fs::write(&source, LIBRARY)?;
    let flags =
        ["-shared", "-fPIC", "-O1", "-nostdlib", "-Wl,--build-id,-z,noseparate-code,-z,norelro"];
    let done = Command::new("cc").args(flags).arg("-o").arg(&built).arg(&source).status()?;
    if !done.success() {
        return Err(io::Error::other("the C compiler failed"));
    }
    fs::read(built)
}
