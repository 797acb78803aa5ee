//! Command lines as people type them come in; what is kept of them is compared.

use super::*;

/// Arguments joined by `|`, before and after.
const CASES: &[(&str, &str)] = &[
    // Nothing secret.
    ("python3|-m|http.server|8080", "python3|-m|http.server|8080"),
    ("node|/srv/app/server.js|--port=3000", "node|/srv/app/server.js|--port=3000"),
    (
        "llm|--model|gpt-4o-mini-2024-07-18|--max-tokens|512",
        "llm|--model|gpt-4o-mini-2024-07-18|--max-tokens|512",
    ),
    ("ssh|-p|2222|ana@example.org", "ssh|-p|2222|ana@example.org"),
    (
        "vim|/home/ana/src/long-file-name-with-many-words.rs",
        "vim|/home/ana/src/long-file-name-with-many-words.rs",
    ),
    ("tool|--author=ana|--keyboard|us", "tool|--author=ana|--keyboard|us"),
    ("nginx: worker process", "nginx: worker process"),
    (
        "java|-Xmx512m|-cp|/opt/a.jar:/opt/b.jar|Main",
        "java|-Xmx512m|-cp|/opt/a.jar:/opt/b.jar|Main",
    ),
    // Keys by their prefix.
    ("tool|sk-test-not-a-real-key-1234", "tool|[redacted]"),
    ("tool|--x=sk-proj-FAKEFAKEFAKEFAKE0000", "tool|--x=[redacted]"),
    ("tool|AIzaFAKE000000000000000000000000000000", "tool|[redacted]"),
    ("tool|key:ghp_FAKE00000000000000000000000000000000", "tool|key:[redacted]"),
    ("tool|/opt/hf_FAKE0000000000000000/x", "tool|/opt/[redacted]/x"),
    ("tool|AKIAFAKEFAKEFAKEFAKE|asia-northeast1", "tool|[redacted]|asia-northeast1"),
    // Keys by the name before them.
    ("tool|--api-key|hunter2|run", "tool|--api-key|[redacted]|run"),
    ("tool|--password=hunter2", "tool|--password=[redacted]"),
    ("env|OPENAI_API_KEY=hunter2|python3", "env|OPENAI_API_KEY=[redacted]|python3"),
    ("tool|--clientSecret=hunter2", "tool|--clientSecret=[redacted]"),
    ("tool|-Dapp.token=hunter2", "tool|-Dapp.token=[redacted]"),
    ("curl|-u|ana:hunter2|-HX-Api-Key:hunter2", "curl|-u|[redacted]|-HX-Api-Key:[redacted]"),
    ("tool|--token|--verbose|x", "tool|--token|--verbose|x"),
    // URLs.
    ("curl|https://ana:hunter2@example.org/v1/x", "curl|https://[redacted]@example.org/v1/x"),
    ("curl|https://example.org/v1/m?key=hunter2#part", "curl|https://example.org/v1/m?[redacted]"),
    (
        "x|HTTPS_PROXY=http://ana:hunter2@10.0.0.1:3128",
        "x|HTTPS_PROXY=http://[redacted]@10.0.0.1:3128",
    ),
    ("x|--base-url=https://a.example/v1", "x|--base-url=https://a.example/v1"),
    ("curl|--proxy=http://a,http://ana:hunter2@h", "curl|--proxy=http://a,http://[redacted]@h"),
    (
        "curl|https://a.example/https://ana:hunter2@h/?x=https://b&token=hunter2",
        "curl|https://a.example/https://[redacted]@h/?[redacted]",
    ),
    ("curl|http://ana:hunter2://x@h", "curl|http://ana:[redacted]://[redacted]@h"),
    (
        "x|--password=hunter2://x|--auth-url=https://a",
        "x|--password=[redacted]|--auth-url=https://a",
    ),
    // Users with a password.
    (
        "curl|--user|ana:hunter2|--proxy-user|ana:hunter2",
        "curl|--user|[redacted]|--proxy-user|[redacted]",
    ),
    ("curl|-U|ana:hunter2|--user=ana:hunter2", "curl|-U|[redacted]|--user=[redacted]"),
    ("curl|-uana:hunter2|-Uana:hunter2", "curl|-u[redacted]|-U[redacted]"),
    ("sudo|--user|ana|psql|-U|ana|-uroot", "sudo|--user|ana|psql|-U|ana|-uroot"),
    ("curl|ana:hunter2@example.org/v1", "curl|[redacted]@example.org/v1"),
    ("x|--to=ana:hunter2@10.0.0.1:80", "x|--to=[redacted]@10.0.0.1:80"),
    ("git|clone|git@example.org:ana/app", "git|clone|git@example.org:ana/app"),
    // Names and values, whichever of `=` and `:` comes first.
    ("http|X-Api-Key:aHVudGVyMg==", "http|X-Api-Key:[redacted]"),
    (
        "http|Authorization:abc=d|x:token=hunter2",
        "http|Authorization:[redacted]|x:token=[redacted]",
    ),
    ("http|Zm9vYmFy0aB1cD2eF3gH4iJ5kL6mN7oP==", "http|[redacted]=="),
    ("curl|-HAuthorization:hunter2|-Hhunter2", "curl|-HAuthorization:[redacted]|-H[redacted]"),
    ("curl|-dhunter2|-d@hunter2|-d3", "curl|-d[redacted]|-d[redacted]|-d3"),
    // A title has options too.
    ("tool --api-key hunter2 run", "tool --api-key [redacted] run"),
    ("tool -p tell hunter2|run", "tool -p [redacted] [redacted]|run"),
    ("-dash|x", "-dash|x"),
    // Prompts, bodies, headers, code.
    (
        "claude|-p|tell|hunter2|--model|opus|--verbose|now",
        "claude|-p|[redacted]|[redacted]|--model|opus|--verbose|[redacted]",
    ),
    ("llm|--prompt=tell|hunter2", "llm|--prompt=[redacted]|[redacted]"),
    ("docker|-p|8080:80|nginx", "docker|-p|[redacted]|nginx"),
    ("llm|日本/語の質問", "llm|[redacted]"),
    ("x|--file=/home/zoë/app|~zoë/app", "x|--file=/home/zoë/app|~zoë/app"),
    ("claude|-p|hunter2", "claude|-p|[redacted]"),
    ("llm|tell me a story", "llm|[redacted]"),
    ("curl|-d|{\"input\":1}|--data=hunter2", "curl|-d|[redacted]|--data=[redacted]"),
    ("curl|-H|Authorization: Bearer hunter2", "curl|-H|[redacted]"),
    ("python3|-c|import os", "python3|-c|[redacted]"),
    ("bash|-c|exec\u{a0}x", "bash|-c|[redacted]"),
    ("llm|日本語の質問", "llm|[redacted]"),
    ("x|/home/zoë/app", "x|/home/zoë/app"),
    // A password behind a group of letters, with or without a blank, and behind others of curl's and of httpie's.
    ("curl|-sSu|ana:hunter2|https://h", "curl|-sSu|[redacted]|https://h"),
    ("curl|-sSuana:hunter2|-kHX-Api-Key:hunter2", "curl|-sSu[redacted]|-kHX-Api-Key:[redacted]"),
    (
        "curl|-sSd|hunter2|-sF|a=hunter2|-sFa=hunter2",
        "curl|-sSd|[redacted]|-sF|[redacted]|-sF[redacted]",
    ),
    ("http|-a|ana:hunter2|-aana:hunter2|GET", "http|-a|[redacted]|-a[redacted]|GET"),
    (
        "curl|--cert|c.pem:hunter2|-E|c.pem:hunter2|-Ec.pem:hunter2|--cert=c.pem:hunter2",
        "curl|--cert|[redacted]|-E|[redacted]|-E[redacted]|--cert=[redacted]",
    ),
    ("curl|--cert|/etc/c.pem|-sSfL|https://h", "curl|--cert|/etc/c.pem|-sSfL|https://h"),
    ("tool|-passwd|12345|-agentlib:jdwp=x", "tool|-passwd|[redacted]|-agentlib:jdwp=x"),
    ("sshpass|-phunter2|ssh|h", "sshpass|-p[redacted]|ssh|h"),
    ("mysql|-uroot|-phunter2", "mysql|-uroot|-p[redacted]"),
    ("x|-p2222|-p8080:80|-pv|-print|-port=3000", "x|-p2222|-p8080:80|-pv|-print|-port=3000"),
    // Names run together, and numbers for passwords.
    ("env|PGPASSWORD=hunter2|x", "env|PGPASSWORD=[redacted]|x"),
    (
        "x|--authtoken|hunter2|--dbpassword=hunter2|--pat|hunter2|--path|/x",
        "x|--authtoken|[redacted]|--dbpassword=[redacted]|--pat|[redacted]|--path|/x",
    ),
    ("tool|--password|12345|--message|12345", "tool|--password|[redacted]|--message|12345"),
    ("tool|--max-tokens|512|--n-tokens=7", "tool|--max-tokens|512|--n-tokens=7"),
    // Prompts without quotes: of programs that take them, whatever the words; of others, where they read like a sentence.
    ("/usr/bin/llm|merger", "/usr/bin/llm|[redacted]"),
    ("llm|-m|gpt-4o|tell|me|list", "llm|-m|gpt-4o|[redacted]|[redacted]|[redacted]"),
    ("python3|-m|llm|acme|merger", "python3|-m|llm|[redacted]|[redacted]"),
    ("node|/usr/bin/codex|exec|acme", "node|/usr/bin/codex|exec|[redacted]"),
    (
        "node|/usr/lib/node_modules/@google/gemini-cli/dist/index.js|acme",
        "node|/usr/lib/node_modules/@google/gemini-cli/dist/index.js|[redacted]",
    ),
    ("claude|mcp|list", "claude|mcp|list"),
    (
        "ollama|run|llama3.2:1b|--verbose|acme|run",
        "ollama|run|llama3.2:1b|--verbose|[redacted]|[redacted]",
    ),
    ("ollama|serve", "ollama|serve"),
    ("llm tell merger|acme", "llm [redacted] [redacted]|[redacted]"),
    (
        "ask|--fast|tell|me|about|the|3|mergers,|now",
        "ask|--fast|[redacted]|[redacted]|[redacted]|[redacted]|[redacted]|[redacted]|[redacted]",
    ),
    (
        "ask|raconte|moi|une|longue|histoire",
        "ask|[redacted]|[redacted]|[redacted]|[redacted]|[redacted]",
    ),
    ("ask|Write|a|poem|x.txt", "ask|[redacted]|[redacted]|[redacted]|x.txt"),
    // Commands stay readable.
    ("python3|-m|pkg.mod|run|all", "python3|-m|pkg.mod|run|all"),
    ("npm|run|build", "npm|run|build"),
    ("java|-cp|a|Main|x|y", "java|-cp|a|Main|x|y"),
    ("docker|compose|up|web|db", "docker|compose|up|web|db"),
    ("git|push|origin|main", "git|push|origin|main"),
    ("cp|a|b|c", "cp|a|b|c"),
    ("docker|compose|up|web|db|cache|worker", "docker|compose|up|web|db|cache|worker"),
    (
        "sudo|/usr/bin/npm|install|react|vite|eslint|prettier",
        "sudo|/usr/bin/npm|install|react|vite|eslint|prettier",
    ),
    ("npm install react vite eslint prettier", "npm install react vite eslint prettier"),
    (
        "docker|exec|box|ask|tell|merger|acme",
        "docker|[redacted]|[redacted]|[redacted]|[redacted]|[redacted]|[redacted]",
    ),
    (
        "npm|run|install|tell|merger|acme",
        "npm|[redacted]|[redacted]|[redacted]|[redacted]|[redacted]",
    ),
    ("git|add|tell|me|about", "git|[redacted]|[redacted]|[redacted]|[redacted]"),
    // What daemons say of themselves; a key among it is none of theirs.
    ("nginx: worker process is shutting down", "nginx: worker process is shutting down"),
    ("postgres: parallel worker for PID 1234", "postgres: parallel worker for PID 1234"),
    (
        "postgres: ana shop 10.0.0.1(5432) idle in transaction",
        "postgres: ana shop [redacted] idle in transaction",
    ),
    ("daemon: works with --token hunter2 now", "daemon: works with --token [redacted] now"),
    // Commands of programs that take prompts.
    (
        "ollama|runner|--model|/var/models/a.gguf|--port|4321",
        "ollama|runner|--model|/var/models/a.gguf|--port|4321",
    ),
    ("ollama|rm|llama3", "ollama|rm|llama3"),
    ("codex|mcp-server", "codex|mcp-server"),
    ("codex|app-server|acme", "codex|app-server|[redacted]"),
    ("gemini|extensions|list", "gemini|extensions|list"),
    // Options of one dash that only look like those of curl, httpie and mysql.
    ("java|-javaagent:/opt/otel.jar|-jar|app.jar", "java|-javaagent:/opt/otel.jar|-jar|app.jar"),
    ("gateway|-addr=:8080", "gateway|-addr=:8080"),
    ("prometheus|-alertmanager.url=http://am:9093", "prometheus|-alertmanager.url=http://am:9093"),
    ("docker|run|-itd|ubuntu|bash", "docker|run|-itd|ubuntu|bash"),
    ("consul|agent|-bind|10.0.0.1", "consul|agent|-bind|10.0.0.1"),
    ("go|run|-mod|readonly", "go|run|-mod|readonly"),
    ("qemu|-cpu|host", "qemu|-cpu|host"),
    ("rsync|-avzH|src/|host:dst/", "rsync|-avzH|src/|host:dst/"),
    ("rsync|-au|src/|dst/", "rsync|-au|src/|dst/"),
    ("ffmpeg|-preset|fast|-pix_fmt|yuv420p", "ffmpeg|-preset|fast|-pix_fmt|yuv420p"),
    ("find|-printf|x|-platform|y|-progress|z", "find|-printf|x|-platform|y|-progress|z"),
    ("nginx|-pidfile|/run/x.pid|-proxy|h:3128", "nginx|-pidfile|/run/x.pid|-proxy|h:3128"),
    ("openssl|-passin|pass:hunter2", "openssl|-passin|pass:[redacted]"),
    ("curl|-4sSLu|ana:hunter2|-OJd|hunter2", "curl|-4sSLu|[redacted]|-OJd|[redacted]"),
    ("http|-aana:hunter2=x|mysql|-phunter2=x", "http|-a[redacted]|mysql|-p[redacted]"),
    // Random looking words.
    ("tool|0123456789abcdef0123456789abcdef", "tool|[redacted]"),
    ("tool|Zm9vYmFy_0aB1cD2eF3-gH4iJ5kL6mN7oP8", "tool|[redacted]"),
    ("/nix/store/0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f-node/bin/node", "/nix/store/[redacted]/bin/node"),
    ("tool|12345678901234567890123", "tool|12345678901234567890123"),
];

#[test]
fn secrets_and_texts_are_taken_out_and_the_rest_stays() {
    for (before, after) in CASES {
        let mut bytes = before.replace('|', "\0").into_bytes();
        bytes.push(0);
        assert_eq!(redact(&bytes).join("|"), *after, "{before}");
    }
}

#[test]
fn count_and_length_are_bounded() {
    let many = b"a\0b\0".repeat(1000);
    let kept = redact(&many);
    assert!(kept.len() <= ARGUMENTS_MAX + 2);
    let long = format!("{}\0{}\0", "é/".repeat(1000), "x".repeat(5000));
    for argument in redact(long.as_bytes()) {
        assert!(argument.len() <= ARGUMENT_BYTES_MAX + '…'.len_utf8());
    }
}

#[test]
fn empty_and_broken_bytes_do_no_harm() {
    assert_eq!(redact(b""), Vec::<String>::new());
    assert_eq!(redact(b"\0"), [""]);
    assert_eq!(redact(b"a\0\0b"), ["a", "", "b"]);
    assert_eq!(redact(b"\xff\xfe").len(), 1);
}
