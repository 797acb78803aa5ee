//! Host names and patterns of AI providers come in; the keys by which the kernel half knows a name go out.

use std::collections;

use aya::maps::{HashMap, MapData};
use sensor_common::gate::{NAME_HEAD_AND_TAIL, name_key};
use sensor_common::names;
use sensor_common::state::{NAME_EXACT, NAME_HASH_START, NAME_MAYBE, NAME_SUFFIX, name_hash_step};

use super::Error;
use super::maps::failed;

/// Names of AI providers, by hash of the name from its last byte to its first.
pub struct NameMap(pub(super) HashMap<MapData, u64, u32>);

impl NameMap {
    /// Holds these host names, and patterns with `*`, and no others. New ones are there before old ones go.
    pub fn hold(&mut self, patterns: &[&str]) -> Result<(), Error> {
        let mut wanted = collections::HashMap::new();
        for (hash, flag) in patterns.iter().copied().filter_map(name_entry) {
            *wanted.entry(hash).or_insert(0) |= flag;
        }
        let known: Result<collections::HashMap<_, _>, _> = self.0.iter().collect();
        let known = known.map_err(failed(names::MAP_NAMES))?;
        for (hash, flags) in &wanted {
            if known.get(hash) != Some(flags) {
                self.0.insert(hash, flags, 0).map_err(failed(names::MAP_NAMES))?;
            }
        }
        for hash in known.keys().filter(|hash| !wanted.contains_key(hash)) {
            self.0.remove(hash).map_err(failed(names::MAP_NAMES))?;
        }
        Ok(())
    }
}

/// Key and kind of a pattern. Of one that the kernel cannot match exactly it knows the tail, and the first label where that is
/// literal. `None` where no dot or hyphen is in the tail.
fn name_entry(pattern: &str) -> Option<(u64, u32)> {
    let backwards = |text: &str| text.bytes().rev().fold(NAME_HASH_START, name_hash_step);
    let Some((head, behind)) = pattern.split_once('*') else {
        return (!pattern.is_empty()).then(|| (backwards(pattern), NAME_EXACT));
    };
    let end = behind.rsplit_once('*').map_or(behind, |(_, end)| end);
    let tail = end.get(end.find(['.', '-'])?..)?;
    // The first label, with its dot, and what of the literal head is behind it.
    let (label, more) = head
        .find('.')
        .and_then(|dot| head.split_at_checked(dot.saturating_add(1)))
        .unwrap_or(("", head));
    let is_exact = behind == tail && more.is_empty();
    let kind = if is_exact { NAME_SUFFIX } else { NAME_MAYBE };
    let hash = backwards(tail);
    if label.is_empty() {
        return Some((hash, kind));
    }
    let label = label.bytes().fold(NAME_HASH_START, name_hash_step);
    Some((name_key(hash, NAME_HEAD_AND_TAIL, label), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of providers that come with the program.
    const PROVIDERS: &str = include_str!("../../data/providers.toml");

    fn all_hosts() -> Vec<String> {
        let rows: toml::Table = PROVIDERS.parse().unwrap();
        let rows = rows["provider"].as_array().unwrap().iter();
        rows.flat_map(|row| row["hosts"].as_array().unwrap())
            .map(|host| host.as_str().unwrap().to_owned())
            .collect()
    }

    fn keys(patterns: &[String]) -> collections::HashMap<u64, u32> {
        let mut keys = collections::HashMap::new();
        for (key, flag) in patterns.iter().filter_map(|pattern| name_entry(pattern)) {
            *keys.entry(key).or_insert(0) |= flag;
        }
        keys
    }

    /// What the kernel half says of a name, as `sensor-ebpf/src/names.rs` looks it up: `None` for one that is not AI.
    fn looked_up(keys: &collections::HashMap<u64, u32>, name: &str) -> Option<u32> {
        let flags = |key: u64| keys.get(&key).copied().unwrap_or(0);
        let label = name.find('.').map_or(name, |dot| name.split_at(dot.saturating_add(1)).0);
        let head = label.bytes().fold(NAME_HASH_START, name_hash_step);
        let (mut hash, mut found) = (NAME_HASH_START, None);
        for byte in name.bytes().rev() {
            hash = name_hash_step(hash, byte);
            if !matches!(byte, b'.' | b'-') {
                continue;
            }
            let seen = flags(hash) | flags(name_key(hash, NAME_HEAD_AND_TAIL, head));
            if seen & NAME_SUFFIX != 0 {
                return Some(NAME_SUFFIX);
            }
            found = found.or((seen & NAME_MAYBE != 0).then_some(NAME_MAYBE));
        }
        if flags(hash) & NAME_EXACT != 0 { Some(NAME_EXACT) } else { found }
    }

    #[test]
    fn every_host_of_the_rows_is_ai_and_only_what_the_kernel_cannot_match_is_unsure() {
        let hosts = all_hosts();
        let keys = keys(&hosts);
        for host in &hosts {
            let name = host.replace('*', "us-east-1");
            let unsure = ["runtime.sagemaker.*", "*.svc.*", "inference.generativeai.*"]
                .iter()
                .any(|head| host.starts_with(head));
            let found = looked_up(&keys, &name).unwrap_or_else(|| panic!("{host}"));
            assert_eq!(found == NAME_MAYBE, unsure, "{host}");
        }
    }

    #[test]
    fn other_services_of_a_domain_are_not_ai() {
        const OTHERS: [&str; 11] = [
            "s3.us-east-1.amazonaws.com",
            "bucket.s3.us-east-1.amazonaws.com",
            "sts.amazonaws.com",
            "s3.us-east-1.api.aws",
            "bedrock-runtime.example.com",
            "storage.googleapis.com",
            "oauth2.googleapis.com",
            "objectstorage.eu-frankfurt-1.oci.oraclecloud.com",
            "tos-cn-beijing.volces.com",
            "amazonaws.com",
            "openai.azure.com",
        ];
        let keys = keys(&all_hosts());
        for name in OTHERS {
            assert_eq!(looked_up(&keys, name), None, "{name}");
        }
    }

    #[test]
    fn pattern_is_matched_by_its_tail_and_first_label() {
        const CASES: [(&str, &str, Option<u32>); 14] = [
            ("api.openai.com", "API.openai.com", Some(NAME_EXACT)),
            ("api.openai.com", "eu.api.openai.com", None),
            ("*.openai.azure.com", "a.openai.azure.com", Some(NAME_SUFFIX)),
            ("*.openai.azure.com", "aopenai.azure.com", None),
            ("*-ai.example.com", "eu-ai.example.com", Some(NAME_SUFFIX)),
            ("*-ai.example.com", "storage.example.com", None),
            ("q.*.example.com", "q.us.example.com", Some(NAME_SUFFIX)),
            ("q.*.example.com", "qq.us.example.com", None),
            ("a.b.*.example.com", "a.b.us.example.com", Some(NAME_MAYBE)),
            ("a.b.*.example.com", "b.a.us.example.com", None),
            ("*.svc.*.example.com", "a.svc.b.example.com", Some(NAME_MAYBE)),
            ("llm-*.example.com", "llm-1.example.com", Some(NAME_MAYBE)),
            ("llm*x.example.com", "llm-x.example.com", Some(NAME_MAYBE)),
            ("*.example.com", "example.com", None),
        ];
        for (pattern, name, expected) in CASES {
            let keys = keys(&[pattern.to_owned()]);
            assert_eq!(looked_up(&keys, name), expected, "{pattern} {name}");
        }
        assert_eq!((name_entry("*"), name_entry("")), (None, None));
    }
}
