//! What the operator wants to see, and a call, come in; whether it is shown goes out.

use crate::report::call::CallEvent;
use crate::report::words;
use crate::workload::Workload;

/// Shows a call where every list that is not empty matches it. A pattern may hold `*`; case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `gen_ai.provider.name`.
    pub provider: Vec<String>,
    /// Model asked for, or model that answered.
    pub model: Vec<String>,
    /// File name of the executable, its path, or the process id.
    pub process: Vec<String>,
    /// User, by the id where it has no name, or login user.
    pub user: Vec<String>,
    /// Container id, or its beginning; or its name.
    pub container: Vec<String>,
    /// Name of the pod, or `namespace/name`.
    pub pod: Vec<String>,
    /// Namespace of the pod.
    pub namespace: Vec<String>,
    /// systemd unit, with or without `.service`.
    pub unit: Vec<String>,
    /// Fingerprint of the key, or its beginning.
    pub key: Vec<String>,
    /// Smallest amount in pico-dollars; a call without a known amount is not shown then.
    pub min_cost: Option<i64>,
    /// Only calls that failed or were cut.
    pub errors: bool,
}

impl Filter {
    /// Whether the call is shown.
    pub fn matches(&self, event: &CallEvent) -> bool {
        let (call, workload) = (&event.call, event.process.workload.as_deref());
        let executable = workload.map(|workload| workload.executable.as_str());
        let pid = event.process.pid.map(|pid| pid.to_string());
        let unit = workload.and_then(|workload| workload.systemd_unit.as_deref());
        let users = [
            workload.map(Workload::user_name),
            workload.and_then(|workload| workload.login_user.as_deref()),
        ];
        let container = workload.and_then(|workload| workload.container.as_ref());
        let called = container.and_then(|one| one.about()?.name.as_deref());
        let pod = container.and_then(|one| one.pod());
        let path = pod.map(|pod| format!("{}/{}", pod.namespace, pod.name));
        let key = event.identity.as_ref().map(|key| key.fingerprint.as_str());
        any(&self.provider, &[Some(&call.provider)])
            && any(&self.model, &[call.request_model.as_deref(), call.response_model.as_deref()])
            && any(&self.process, &[executable, executable.map(words::file_name), pid.as_deref()])
            && any(&self.user, &users)
            && (begins(&self.container, container.map(|one| one.id.as_str()))
                || any(&self.container, &[called]))
            && any(&self.pod, &[pod.map(|pod| pod.name.as_str()), path.as_deref()])
            && any(&self.namespace, &[pod.map(|pod| pod.namespace.as_str())])
            && any(&self.unit, &[unit, unit.and_then(|unit| unit.strip_suffix(".service"))])
            && begins(&self.key, key)
            && self
                .min_cost
                .is_none_or(|least| event.cost.picodollars.is_some_and(|amount| amount >= least))
            && (!self.errors || call.error_type.is_some() || call.failed())
    }
}

fn any(patterns: &[String], values: &[Option<&str>]) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| values.iter().flatten().any(|value| wildcard(pattern, value)))
}

fn begins(patterns: &[String], value: Option<&str>) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| value.is_some_and(|value| wildcard(&format!("{pattern}*"), value)))
}

/// Whether the pattern stands for the whole value; `*` stands for any characters.
pub(crate) fn wildcard(pattern: &str, value: &str) -> bool {
    let (pattern, value) = (pattern.to_ascii_lowercase(), value.to_ascii_lowercase());
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == value };
    let Some(mut rest) = value.strip_prefix(head) else { return false };
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sinks::sample;

    #[test]
    fn star_stands_for_any_characters() {
        const CASES: &[(&str, &str, bool)] = &[
            ("gpt-4o", "GPT-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-*", "gpt-4o", true),
            ("*mini*", "gpt-4o-mini-2024", true),
            ("*-mini", "gpt-4o-mini-2024", false),
            ("g*4*i", "gpt-4o-mini", true),
            ("aa*aa", "aaa", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "x", false),
            ("*a*b", "xaxb", true),
        ];
        for (pattern, value, is_match) in CASES {
            assert_eq!(wildcard(pattern, value), *is_match, "{pattern} {value}");
        }
    }

    #[test]
    fn every_list_must_match() {
        let event = sample::call();
        let list = |text: &str| vec!["nothing".to_owned(), text.to_owned()];
        let all = Filter {
            provider: list("openai"),
            model: list("gpt-4o*"),
            process: list("python3*"),
            user: list("ana"),
            container: list("3f2a"),
            pod: Vec::new(),
            namespace: Vec::new(),
            unit: Vec::new(),
            key: list("9f3c"),
            min_cost: Some(1),
            errors: false,
        };
        assert!(Filter::default().matches(&event));
        assert!(all.matches(&event));
        let others: [fn(&mut Filter); 8] = [
            |filter| filter.provider = vec!["anthropic".to_owned()],
            |filter| filter.model = vec!["gpt".to_owned()],
            |filter| filter.process = vec!["node".to_owned()],
            |filter| filter.user = vec!["root".to_owned()],
            |filter| filter.container = vec!["f2a".to_owned()],
            |filter| filter.unit = vec!["*".to_owned()],
            |filter| filter.min_cost = Some(i64::MAX),
            |filter| filter.errors = true,
        ];
        for change in others {
            let mut filter = all.clone();
            change(&mut filter);
            assert!(!filter.matches(&event), "{filter:?}");
        }
        let mut cut = event.clone();
        cut.call.error_type = Some("aborted".to_owned());
        assert!(!cut.call.failed());
        assert!(Filter { errors: true, ..all }.matches(&cut), "it is shown nevertheless");
        for (event, is_shown) in [(sample::in_pod(), true), (event.clone(), false)] {
            let list = |text: &str| vec![text.to_owned()];
            for filter in [
                Filter { pod: list("web-*"), ..Filter::default() },
                Filter { pod: list("shop/web-7f9c"), ..Filter::default() },
                Filter { namespace: list("shop"), ..Filter::default() },
                Filter { container: list("nginx"), ..Filter::default() },
            ] {
                assert_eq!(filter.matches(&event), is_shown, "{filter:?}");
            }
            let other = Filter { pod: list("shop/*-db"), ..Filter::default() };
            assert!(!other.matches(&event));
        }
        let mut nameless = event.clone();
        let mut workload = nameless.process.workload.as_deref().cloned().unwrap();
        (workload.user, workload.login_user) = (None, None);
        nameless.process.workload = Some(workload.into());
        let by_uid = Filter { user: vec!["1000".to_owned()], ..Filter::default() };
        assert_eq!([&nameless, &event].map(|event| by_uid.matches(event)), [true, false]);
        let by_pid = Filter { process: vec!["4711".to_owned()], ..Filter::default() };
        assert!(by_pid.matches(&event));
    }
}
