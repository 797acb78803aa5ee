//! Made-up events for the tests of this stage, and the comparison with golden files, which `TOLLGATE_BLESS=1` renews.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::credential::Identity;
use crate::destination::Names;
use crate::provider::Call;
use crate::provider::CredentialPlace;
use crate::provider::Operation;
use crate::provider::PriceContext;
use crate::provider::Usage;
use crate::provider::UsageQuality;
use crate::redact::Redacted;
use crate::report::CallEvent;
use crate::report::Event;
use crate::report::coverage::Estimate;
use crate::report::coverage::Missing;
use crate::report::coverage::Provider;
use crate::report::coverage::Scope;
use crate::report::event::Agent;
use crate::report::event::Connection;
use crate::report::event::Coverage;
use crate::report::event::Decision;
use crate::report::event::Loss;
use crate::report::event::Process;
use crate::report::event::Ruled;
use crate::report::event::Seen;
use crate::report::event::Server;
use crate::report::event::Tls;
use crate::report::names::Finding;
use crate::report::names::Named;
use crate::spend::Basis;
use crate::spend::Cost;
use crate::spend::Gap;
use crate::spend::Tokens;
use crate::workload::About;
use crate::workload::Ancestor;
use crate::workload::Container;
use crate::workload::Labels;
use crate::workload::Pod;
use crate::workload::Workload;

const MILLI: u64 = 1_000_000;

fn time() -> Timestamp {
    "2030-01-02T03:04:05.678901Z".parse().unwrap()
}

pub(crate) fn credential() -> CredentialPlace {
    CredentialPlace {
        location: "header",
        name: "authorization".to_owned(),
        scheme: Some("Bearer".to_owned()),
        secret: Redacted::new("sk-proj-FAKEFAKEFAKEFAKEa1B2"),
    }
}

pub(crate) fn process() -> Process {
    let workload = Workload {
        pid: 4711,
        start_ticks: 98_765,
        executable: "/usr/bin/python3.13".to_owned(),
        command_line: ["python3", "agent.py", "--api-key", "[redacted]"]
            .map(str::to_owned)
            .to_vec(),
        ancestors: vec![Ancestor { pid: 4700, executable: "/usr/bin/bash".to_owned() }],
        uid: "1000".to_owned(),
        user: Some("ana".to_owned()),
        login_user: Some("ana".to_owned()),
        login_session: Some(7),
        cgroup: "/system.slice/docker-3f2a.scope".to_owned(),
        container: Some(Container::new("3f2a91bc".repeat(8), "docker")),
        systemd_unit: None,
    };
    Process {
        pid: Some(4711),
        started: Some("2030-01-02T03:00:00Z".parse().unwrap()),
        workload: Some(Arc::new(workload)),
    }
}

/// A streamed call of which all is known.
pub(crate) fn call() -> CallEvent {
    let call = Call {
        provider: "openai".to_owned(),
        price_provider: "openai".to_owned(),
        listed: true,
        operation: Operation::Chat,
        server_address: "api.openai.com".to_owned(),
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        protocol_version: "1.1",
        request_model: Some("gpt-4o-mini".to_owned()),
        response_model: Some("gpt-4o-mini-2024-07-18".to_owned()),
        response_id: Some("chatcmpl-123".to_owned()),
        stream: true,
        status: Some(200),
        rpc_status: None,
        error_type: None,
        usage: Usage {
            input_uncached: Some(180),
            cache_read: Some(1024),
            output: Some(312),
            output_reasoning: Some(128),
            ..Usage::default()
        },
        usage_quality: UsageQuality::Reported,
        context: PriceContext::default(),
        credential: None,
        retry_count: Some(0),
        started_ns: 1_000 * MILLI,
        first_byte_ns: Some(1_310 * MILLI),
        first_token_ns: Some(1_412 * MILLI),
        ended_ns: 3_131 * MILLI + 123_456,
        complete: true,
        repeated: false,
        category: None,
        head_complete: true,
    };
    CallEvent {
        time: time(),
        call,
        cost: Cost {
            picodollars: Some(291_000_000),
            basis: Basis::Reported,
            gap: None,
            table: Some(Arc::from("prices-1@2030-01-01#0011aabb")),
        },
        identity: Some(Identity {
            fingerprint: "9f3c2e1a00112233445566778899aabb".to_owned(),
            kind: "openai.project_key",
            hint: "sk-proj-…a1B2".to_owned(),
        }),
        process: process(),
        server: Server {
            name: Some("api.openai.com".to_owned()),
            peer: Some("192.0.2.7:443".parse().unwrap()),
        },
        binding: Some("client_random"),
        tls: Tls { library: Some("openssl"), resolved_by: Some("symbols") },
        name_hidden: None,
        decision: None,
    }
}

/// A call out of a pod.
pub(crate) fn in_pod() -> CallEvent {
    let pod =
        Pod { namespace: "shop".to_owned(), name: "web-7f9c".to_owned(), uid: "7f1d".to_owned() };
    let pairs = vec![("app".to_owned(), "web".to_owned()), ("team".to_owned(), "a".to_owned())];
    let about = About {
        runtime: "containerd",
        name: Some("nginx".to_owned()),
        image: Some("registry.example/nginx:1.27".to_owned()),
        pod: Some(pod.into()),
        labels: Some(Labels { pairs, is_whole: true }.into()),
        is_whole: true,
    };
    let mut event = call();
    let mut workload = event.process.workload.as_deref().cloned().unwrap();
    workload.cgroup = "/kubepods/pod7f1d/3f2a".to_owned();
    workload.container = Some(Container::new("3f2a91bc".repeat(8), "unknown").with(about));
    event.process.workload = Some(Arc::new(workload));
    event
}

/// A call of which almost nothing is known: it was cut, and nobody could be named.
pub(crate) fn bare() -> Event {
    let full = call();
    let call = Call {
        request_model: None,
        response_model: None,
        response_id: None,
        status: None,
        error_type: Some("aborted".to_owned()),
        usage: Usage::default(),
        usage_quality: UsageQuality::Missing,
        retry_count: None,
        first_byte_ns: None,
        first_token_ns: None,
        complete: false,
        ..full.call
    };
    Event::Call(Box::new(CallEvent {
        call,
        cost: Cost::unknown(Gap::Usage),
        identity: None,
        process: Process::default(),
        server: Server::default(),
        binding: None,
        tls: Tls::default(),
        name_hidden: None,
        time: full.time,
        decision: None,
    }))
}

/// A call that a policy would refuse.
fn judged() -> Event {
    Event::Decision(Decision {
        time: time(),
        process: process(),
        server: Server { name: Some("api.groq.com".to_owned()), peer: None },
        provider: Some("groq".to_owned()),
        decision: "deny",
        ruling: Some(Ruled {
            policy: Arc::from("approved-providers"),
            rule: Some(Arc::from("not-approved")),
            mode: "warn",
        }),
        enforced: false,
        layer: "call",
        error: None,
        reason: "no contract".to_owned(),
        bytes_sent: 0,
    })
}

fn anthropic() -> Provider {
    Provider { name: "anthropic".to_owned(), category: "llm-api", presumed: false }
}

/// A connection of which a part was seen.
pub(crate) fn truncated() -> Coverage {
    Coverage {
        time: time(),
        process: process(),
        server: Server { name: Some("api.anthropic.com".to_owned()), peer: None },
        provider: Some(anthropic()),
        named: Box::new(named("api.anthropic.com")),
        scope: Scope::Connection,
        seen: Seen::Truncated,
        reason: "no_room",
        missing: Some(Missing { bytes: 32_768, exact: true }),
        estimate: None,
        ruling: None,
        duration_ns: Some(61_000 * MILLI),
        bytes_sent: Some(5_120),
        bytes_received: Some(70_001),
    }
}

/// A connection that nobody could read.
fn blind(server: Server) -> Coverage {
    Coverage {
        time: time(),
        process: process(),
        server,
        provider: Some(anthropic()),
        named: Box::new(named("api.anthropic.com")),
        scope: Scope::Connection,
        seen: Seen::Blind,
        reason: "jsse",
        missing: None,
        estimate: Some(Estimate {
            tokens: Tokens { input: 860, output: 17_000 },
            model: Some("claude-sonnet-4-5".to_owned()),
            cost: Cost {
                picodollars: Some(257_580_000_000),
                basis: Basis::Estimated,
                gap: Some(Gap::Unseen),
                table: None,
            },
        }),
        ruling: None,
        duration_ns: Some(61_000 * MILLI),
        bytes_sent: Some(5_120),
        bytes_received: Some(70_001),
    }
}

/// What a connection is called whose request names `host`.
fn named(host: &str) -> Named {
    let said = || Some("api.anthropic.com".to_owned());
    Named {
        names: Names {
            dns: said(),
            hello: said(),
            library: said(),
            authority: Some(host.to_owned()),
            has_encrypted_hello: false,
        },
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()),
        encrypted_hello: Some(false),
    }
}

/// A connection whose request names another host than its handshake.
fn fronted() -> Event {
    Event::Finding(Finding {
        time: time(),
        process: process(),
        server: Server {
            name: Some("api.groq.com".to_owned()),
            peer: Some("192.0.2.7:443".parse().unwrap()),
        },
        kind: "fronting",
        named: Box::new(named("api.groq.com")),
        imitates: None,
    })
}

/// One event of each kind.
pub(crate) fn events() -> Vec<Event> {
    let server = Server {
        name: Some("api.anthropic.com".to_owned()),
        peer: Some("[2001:db8::7]:443".parse().unwrap()),
    };
    vec![
        Event::Agent(Agent {
            time: time(),
            state: "ready",
            message: Some("42 processes looked at".to_owned()),
            version: "0.1.0",
            kernel: Some("6.12.0".to_owned()),
        }),
        Event::Call(Box::new(call())),
        Event::Call(Box::new(in_pod())),
        bare(),
        Event::Connection(Connection {
            time: time(),
            process: process(),
            server: server.clone(),
            provider: Some(anthropic()),
            named: Box::new(named("api.anthropic.com")),
            tls: Tls { library: Some("openssl"), resolved_by: Some("symbols") },
            binding: Some("client_random"),
            seen: Seen::Complete,
            ruling: None,
            calls: 3,
            duration_ns: Some(61_000 * MILLI),
            bytes_sent: Some(5_120),
            bytes_received: Some(70_001),
        }),
        Event::Coverage(Box::new(truncated())),
        Event::Coverage(Box::new(blind(server))),
        Event::Decision(Decision {
            time: time(),
            process: process(),
            server: Server { name: None, peer: Some("203.0.113.7:443".parse().unwrap()) },
            provider: Some("openai".to_owned()),
            decision: "deny",
            ruling: None,
            enforced: true,
            layer: "name",
            error: Some("EACCES"),
            reason: "not for this team".to_owned(),
            bytes_sent: 0,
        }),
        judged(),
        fronted(),
        Event::Loss(Loss {
            time: time(),
            reason: "payload_no_room",
            records: 12,
            bytes: Some(98_304),
        }),
    ]
}

/// Compares with a golden file; with `TOLLGATE_BLESS=1`, writes it anew instead.
#[expect(clippy::disallowed_methods, reason = "a developer's wish, not configuration")]
pub(crate) fn compare(name: &str, golden: &str, actual: &str) {
    if std::env::var("TOLLGATE_BLESS").is_ok() {
        fs::write(root().join("tests/golden").join(name), actual).unwrap();
        return;
    }
    assert_eq!(
        golden, actual,
        "tests/golden/{name} is not current: run the tests with TOLLGATE_BLESS=1 and look at the change"
    );
}

/// Root of the workspace: this file is `sensor-user/src/report/sinks/sample.rs` in it.
pub(crate) fn root() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(Path::new(file!()));
    file.ancestors().nth(5).unwrap().to_owned()
}
