//! A panic command comes in; what it stopped, or what is stopped, goes out as text. No agent has to run.

use anyhow::{Context, bail};
use sensor_common::gate::RuleKey;

use crate::cli::PanicAction;
use crate::cli::PanicScope;
use crate::config::Config;
use crate::enforce;
use crate::enforce::{Panic, Scope};
use crate::provider::Catalogue;
use crate::report::escape;

use super::clock::Clock;
use super::{catalogues, gate};

/// Nanoseconds in a second.
const NS_PER_SEC: u64 = 1_000_000_000;

fn scope(chosen: &PanicScope) -> Scope {
    let PanicScope { provider, key, model, workload } = chosen;
    provider
        .clone()
        .map(Scope::Provider)
        .or_else(|| key.clone().map(Scope::Key))
        .or_else(|| model.clone().map(Scope::Model))
        .or_else(|| workload.clone().map(Scope::Workload))
        .unwrap_or(Scope::Everything)
}

/// What a command is about, as the gate knows it; and the catalogue by which that was found.
struct Wanted {
    scopes: Vec<Scope>,
    keys: Vec<RuleKey>,
    catalogue: Catalogue,
    /// What was left out to find it, for people; nothing where all is right.
    warnings: String,
}

impl Wanted {
    fn new(config: &Config, chosen: &PanicScope) -> anyhow::Result<Self> {
        let (catalogue, refused) = catalogues::configured(config)?;
        let mut warnings = warnings(&refused);
        let typed = scope(chosen);
        let scopes = match typed.clone().resolve(&catalogue) {
            Ok(scopes) => scopes,
            Err(unknown) if refused.is_empty() => return Err(anyhow::Error::msg(unknown)),
            // A name may be unknown only because what tells of it could not be read; an emergency does not wait for that.
            Err(unknown) => {
                warnings.push_str("warning: ");
                warnings.push_str(&unknown);
                warnings.push_str("; it is taken as the id of a row\n");
                vec![typed]
            }
        };
        let keys: Result<_, _> = scopes.iter().map(Scope::key).collect();
        Ok(Self { scopes, keys: keys.map_err(anyhow::Error::msg)?, catalogue, warnings })
    }

    /// The rows of the catalogue that a panic is about, for people; empty where it is about something else.
    fn rows(&self) -> String {
        let row = |scope: &Scope| match scope {
            Scope::Provider(id) => Some(id.clone()),
            _ => None,
        };
        let rows: Vec<_> = self.scopes.iter().filter_map(row).collect();
        if rows.is_empty() { String::new() } else { format!(" ({})", rows.join(", ")) }
    }
}

/// Says for people what of the configuration's providers is left out.
fn warnings(refused: &[String]) -> String {
    let line = |why: &String| {
        let why = escape::lines(why);
        format!("warning: providers of the configuration are refused: {why}\n")
    };
    refused.iter().map(line).collect()
}

/// Runs `tollgate panic`.
pub fn alarm(config: &Config, action: &PanicAction) -> anyhow::Result<String> {
    let now = Clock::monotonic_ns();
    match action {
        PanicAction::On { scope, seconds, reason } => on(config, scope, (now, *seconds), reason),
        PanicAction::Off { scope, all } => off(config, Some(scope).filter(|_| !*all), now),
        PanicAction::Status => status(config, now),
    }
}

fn on(
    config: &Config,
    chosen: &PanicScope,
    (now, seconds): (u64, u64),
    reason: &str,
) -> anyhow::Result<String> {
    if reason.trim().is_empty() {
        bail!("a panic needs a reason");
    }
    let wanted = Wanted::new(config, chosen)?;
    if wanted.scopes.iter().any(Scope::is_about_content) {
        gate::check_judging(config)?;
    }
    let mut maps = gate::maps_or_new(config, &wanted.catalogue)?;
    let until = now.saturating_add(seconds.saturating_mul(NS_PER_SEC));
    for named in wanted.scopes.iter().zip(wanted.keys.iter().copied()) {
        Panic::on(&mut maps, named, until, reason).context("putting the panic on")?;
    }
    let open: Vec<_> = maps
        .sockets()
        .into_iter()
        .filter(|(_, socket)| {
            let class = (socket.class, maps.scope(socket.class));
            let leads = maps.whole(socket.destination);
            wanted.keys.iter().any(|key| Panic::stops(key, class, leads))
        })
        .map(|(cookie, socket)| (cookie, socket.tgid))
        .collect();
    let done = enforce::cut(&open);
    Ok(format!(
        "{}panic is on for {seconds} s{}; {} open connections cut, {} gone before\n",
        wanted.warnings,
        wanted.rows(),
        done.cut,
        done.missed
    ))
}

/// Lifts the panics of a scope, or all.
fn off(config: &Config, chosen: Option<&PanicScope>, now: u64) -> anyhow::Result<String> {
    let wanted = chosen.map(|chosen| Wanted::new(config, chosen)).transpose();
    let Some(mut maps) = gate::maps(config)? else {
        let warnings = wanted?.map(|wanted| wanted.warnings).unwrap_or_default();
        return Ok(format!("{warnings}0 panics lifted\n"));
    };
    // A row may have left the catalogue since its panic was put on: it is lifted by the id that it had.
    let typed = chosen.and_then(|chosen| scope(chosen).key().ok());
    let is_on = Panic::all(&maps).iter().any(|panic| Some(panic.key) == typed);
    let (keys, warnings) = match wanted {
        Ok(None) => (None, String::new()),
        Ok(Some(Wanted { keys, warnings, .. })) => {
            (Some(keys.into_iter().chain(typed).collect::<Vec<_>>()), warnings)
        }
        Err(_) if is_on => (typed.map(|key| vec![key]), String::new()),
        Err(error) => return Err(error),
    };
    let lifted = Panic::off(&mut maps, keys.as_deref(), now)?;
    gate::leave_nothing(config);
    Ok(format!("{warnings}{lifted} panics lifted\n"))
}

fn status(config: &Config, now: u64) -> anyhow::Result<String> {
    let maps = gate::maps(config)?;
    let all = maps.map(|maps| Panic::all(&maps)).unwrap_or_default();
    let on: Vec<_> = all.into_iter().filter(|panic| panic.until_ns > now).collect();
    if on.is_empty() {
        return Ok("no panic is on\n".to_owned());
    }
    let (catalogue, refused) = catalogues::configured(config)?;
    let lines: String = on.iter().map(|panic| line(panic, &catalogue, now)).collect();
    Ok(warnings(&refused) + &lines)
}

/// What a panic stops, until when and why; what it stops is named as the command lifts it.
fn line(panic: &Panic, catalogue: &Catalogue, now: u64) -> String {
    let left = panic.until_ns.saturating_sub(now).checked_div(NS_PER_SEC).unwrap_or(0);
    let (what, reason) = (panic.what(catalogue), &panic.reason);
    format!("on for {left} s more, {}: {}\n", escape::plain(&what), escape::plain(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_by_a_name_that_nobody_knows_is_refused_before_a_gate_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.enforce.pins = folder.path().to_owned();
        let scope = PanicScope { provider: Some("opnai".to_owned()), ..PanicScope::default() };
        let on = PanicAction::On { scope: scope.clone(), seconds: 1, reason: "a leak".to_owned() };
        for action in [on, PanicAction::Off { scope, all: false }] {
            let error = alarm(&config, &action).unwrap_err();
            assert!(error.to_string().contains("did you mean `openai`?"), "{error}");
        }
        let known = PanicScope { provider: Some("openai".to_owned()), ..PanicScope::default() };
        assert_eq!(
            Wanted::new(&config, &known).unwrap().rows(),
            " (openai, chatgpt, chatgpt_sites)"
        );
        let off = PanicAction::Off { scope: known, all: false };
        assert_eq!(alarm(&config, &off).unwrap(), "0 panics lifted\n");
    }

    #[test]
    fn status_names_what_each_panic_stops_as_the_option_that_lifts_it_does() {
        const FINGERPRINT: &str = "9f3c2e1a00112233445566778899aabb";
        let catalogue = Catalogue::bundled().unwrap();
        let of = |scope: &Scope, is_named: bool| {
            let key = scope.key().unwrap();
            let scope = Some(scope.clone()).filter(|_| is_named);
            let reason = "a \u{1b}[2Jleak".to_owned();
            let panic = Panic { key, until_ns: 9 * NS_PER_SEC, reason, scope };
            let line = line(&panic, &catalogue, NS_PER_SEC);
            let what = line.strip_prefix("on for 8 s more, ").unwrap();
            what.strip_suffix(": a \\u{1b}[2Jleak\n").unwrap().to_owned()
        };
        let cases = [
            (Scope::Everything, "everything", None),
            (Scope::Provider("openai".to_owned()), "provider openai", Some("provider openai")),
            (
                Scope::Provider("gone".to_owned()),
                "provider gone",
                Some("a provider whose name was not kept"),
            ),
            (Scope::Key(FINGERPRINT.to_owned()), "key 9f3c2e1a00112233445566778899aabb", None),
            (
                Scope::Model("gpt-4o".to_owned()),
                "model gpt-4o",
                Some("a model whose name was not kept"),
            ),
            (
                Scope::Workload("web".to_owned()),
                "workload web",
                Some("a workload whose name was not kept"),
            ),
        ];
        for (scope, named, nameless) in cases {
            assert_eq!(of(&scope, true), named);
            if let Some(nameless) = nameless {
                assert_eq!(of(&scope, false), nameless);
            }
        }
    }

    #[test]
    fn panic_does_not_depend_on_documents_that_are_right() {
        const CONTRADICTION: &str = "apiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: openai}\nspec: {category: gateway, hosts: [gw.corp.example]}\n";
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.enforce.pins = folder.path().join("pins");
        config.policy.folder = folder.path().join("policies");
        std::fs::create_dir(&config.policy.folder).unwrap();
        std::fs::write(config.policy.folder.join("openai.yaml"), CONTRADICTION).unwrap();
        let by =
            |name: &str| PanicScope { provider: Some(name.to_owned()), ..PanicScope::default() };
        for (name, rows, warned) in [
            ("openai", " (openai, chatgpt, chatgpt_sites)", "another `category`"),
            ("gateway", " (gateway)", "it is taken as the id of a row"),
        ] {
            let wanted = Wanted::new(&config, &by(name)).unwrap();
            assert_eq!(wanted.rows(), rows);
            assert!(wanted.warnings.contains(warned), "{}", wanted.warnings);
            let off = PanicAction::Off { scope: by(name), all: false };
            assert!(alarm(&config, &off).unwrap().ends_with("0 panics lifted\n"));
        }
        assert_eq!(alarm(&config, &PanicAction::Status).unwrap(), "no panic is on\n");
    }
}
