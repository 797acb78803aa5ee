//! DNS answers come in; the name under which a process knows an address goes out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::dns::Answer;

/// Pairs of process and address that are remembered; the oldest gives way.
const PAIRS_MAX: usize = 16_384;
/// Names kept of one pair: shared front ends have many.
const NAMES_MAX: usize = 8;
/// Shortest time an answer counts, in nanoseconds: programs use addresses beyond their time to live.
const KEPT_NS_MIN: u64 = 300 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;

/// A name and the time until which it counts.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    until_ns: u64,
}

/// Who was told what.
#[derive(Debug, Default)]
pub struct Resolved {
    told: HashMap<(u32, IpAddr), Vec<Known>>,
    order: VecDeque<(u32, IpAddr)>,
}

impl Resolved {
    /// Notes an answer that a process received; `0` where it is not known which.
    pub fn note(&mut self, pid: u32, answer: &Answer, now_ns: u64) {
        for (address, ttl) in &answer.addresses {
            let kept = u64::from(*ttl).saturating_mul(SECOND_NS).max(KEPT_NS_MIN);
            let known = Known { name: answer.name.clone(), until_ns: now_ns.saturating_add(kept) };
            self.add((pid, *address), known);
        }
    }

    fn add(&mut self, pair: (u32, IpAddr), known: Known) {
        if let Some(names) = self.told.get_mut(&pair) {
            names.retain(|older| older.name != known.name);
            if names.len() >= NAMES_MAX {
                names.remove(0);
            }
            names.push(known);
            return;
        }
        if self.order.len() >= PAIRS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
        self.order.push_back(pair);
        self.told.insert(pair, vec![known]);
    }

    /// The name that a process asked for to get this address: the one that the connection says itself, where it is among
    /// them, else the last. What nobody in particular was told only ever confirms: it may have been another's answer.
    pub fn name_of(
        &self,
        pid: u32,
        address: IpAddr,
        said: Option<&str>,
        now_ns: u64,
    ) -> Option<&str> {
        let names = |pid| {
            let names = self.told.get(&(pid, address)).map(Vec::as_slice).unwrap_or_default();
            names.iter().filter(|known| known.until_ns > now_ns).map(|known| known.name.as_str())
        };
        let own = if pid == 0 { None } else { names(pid).next_back() };
        let is_said = |name: &&str| Some(*name) == said;
        names(pid).find(is_said).or_else(|| names(0).find(is_said)).or(own)
    }

    /// The last of the names that a process itself asked for to get this address of which something holds.
    pub fn asked_for(
        &self,
        pid: u32,
        address: IpAddr,
        now_ns: u64,
        holds: impl Fn(&str) -> bool,
    ) -> Option<&str> {
        let names = self.told.get(&(pid, address)).filter(|_| pid != 0)?;
        let known = names.iter().rev().filter(|known| known.until_ns > now_ns);
        known.map(|known| known.name.as_str()).find(|&name| holds(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, last: u8) -> Answer {
        Answer { name: name.to_owned(), addresses: vec![(address(last), 60)] }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn own_answers_count_and_those_of_nobody_only_confirm() {
        let mut resolved = Resolved::default();
        resolved.note(7, &answer("api.openai.com", 1), 0);
        resolved.note(7, &answer("api.groq.com", 1), 1);
        resolved.note(0, &answer("cdn.example", 2), 1);
        let name = |pid, last, said| resolved.name_of(pid, address(last), said, 2);
        assert_eq!(name(7, 1, None), Some("api.groq.com"));
        assert_eq!(name(7, 1, Some("api.openai.com")), Some("api.openai.com"));
        assert_eq!(name(7, 1, Some("evil.example")), Some("api.groq.com"));
        assert_eq!(name(8, 1, Some("api.openai.com")), None);
        assert_eq!(name(7, 2, Some("cdn.example")), Some("cdn.example"));
        assert_eq!(name(7, 2, Some("api.openai.com")), None);
        assert_eq!(name(0, 2, None), None);
    }

    #[test]
    fn name_that_was_asked_for_before_another_is_found_by_what_holds_of_it() {
        let mut resolved = Resolved::default();
        resolved.note(7, &answer("api.openai.com", 1), 0);
        resolved.note(7, &answer("www.example.com", 1), 1);
        resolved.note(0, &answer("api.groq.com", 2), 1);
        let is_api = |name: &str| name.starts_with("api.");
        let asked = |pid, last, now| resolved.asked_for(pid, address(last), now, is_api);
        assert_eq!(asked(7, 1, 2), Some("api.openai.com"));
        assert_eq!((asked(8, 1, 2), asked(0, 2, 2)), (None, None));
        assert_eq!(asked(7, 1, KEPT_NS_MIN), None);
    }

    #[test]
    fn answer_is_forgotten_after_its_time() {
        let mut resolved = Resolved::default();
        resolved.note(7, &answer("api.openai.com", 1), 0);
        assert!(resolved.name_of(7, address(1), None, KEPT_NS_MIN - 1).is_some());
        assert_eq!(resolved.name_of(7, address(1), None, KEPT_NS_MIN), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut resolved = Resolved::default();
        for pid in 0..u32::try_from(PAIRS_MAX).unwrap() + 100 {
            resolved.note(pid, &answer("api.openai.com", 1), 0);
        }
        for number in 0..100 {
            resolved.note(9_999, &answer(&format!("a{number}.example"), 1), 0);
        }
        assert_eq!((resolved.told.len(), resolved.order.len()), (PAIRS_MAX, PAIRS_MAX));
        assert!(resolved.told.values().all(|names| names.len() <= NAMES_MAX));
    }
}
