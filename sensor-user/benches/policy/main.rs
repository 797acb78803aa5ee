//! Policies of several sizes come in; how long they take to be read, to decide a call, and to settle a subject goes out.
//!
//! `cargo bench --bench policy`. What counts is that a decision takes as long with many rules as with few.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use anyhow::anyhow;
use criterion::Criterion;
use jiff::Timestamp;
use sensor_user::policy::Attribute;
use sensor_user::policy::Engine;
use sensor_user::policy::Fact;
use sensor_user::policy::Facts;
use sensor_user::policy::Set;
use sensor_user::policy::Source;
use sensor_user::policy::Transport;

/// Rules of the sets that are compared.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// One policy with this many rules about models of providers, the last of which is about the call.
fn documents(rules: usize) -> anyhow::Result<Source> {
    let mut text = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: many}\nspec:\n  mode: enforce\n  \
                    default: allow\n  rules:\n"
        .to_owned();
    for number in 1..rules {
        writeln!(
            text,
            "    - {{name: r{number}, action: deny, match: {{provider: p{number}, model: \"m-{number}-*\"}}}}"
        )?;
    }
    text.push_str("    - {name: last, action: deny, match: {provider: openai, model: \"gpt-4o*\", user: intern}}\n");
    Ok(Source { file: "many.yaml".to_owned(), text })
}

fn read(source: &Source) -> anyhow::Result<Set> {
    let sources = std::slice::from_ref(source);
    Set::read(sources).map(|(set, _)| set).map_err(|problems| anyhow!("{problems:?}"))
}

/// A call of which everything is known.
fn call() -> Facts<'static> {
    let mut facts = Facts::default();
    for (attribute, value) in [
        (Attribute::Executable, "/usr/bin/python3.11"),
        (Attribute::User, "intern"),
        (Attribute::Cgroup, "/system.slice/batch.service"),
        (Attribute::Unit, "batch.service"),
        (Attribute::Provider, "openai"),
        (Attribute::Host, "api.openai.com"),
        (Attribute::Operation, "chat"),
        (Attribute::Model, "gpt-4o-mini"),
        (Attribute::Credential, "00112233445566778899aabbccddeeff"),
        (Attribute::CredentialKind, "openai-project"),
    ] {
        facts.set(attribute, Fact::Known(value));
    }
    facts.set_transport(Transport::Opaque, Fact::Known(false));
    facts.rest_absent();
    facts
}

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    let (facts, now) = (call(), Timestamp::UNIX_EPOCH);
    for rules in SIZES {
        let source = documents(rules)?;
        let engine = Engine::new(read(&source)?);
        let ruling = engine.decide(&facts, now).ruling;
        anyhow::ensure!(ruling.rule.as_deref() == Some("last"), "another rule decides: {ruling:?}");
        let mut group = criterion.benchmark_group(format!("policy-{rules}"));
        group.bench_function("decide", |bencher| {
            bencher.iter(|| engine.decide(black_box(&facts), now));
        });
        group.bench_function("outlook", |bencher| {
            let mut subject = facts.clone();
            for attribute in [Attribute::Operation, Attribute::Model, Attribute::Credential] {
                subject.forget(attribute);
            }
            bencher.iter(|| engine.outlook(black_box(&subject), now));
        });
        group.bench_function("read", |bencher| bencher.iter(|| read(black_box(&source))));
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
