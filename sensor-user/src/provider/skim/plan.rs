//! A list of JSON paths comes in; the tree that `skim` walks to know which values to keep goes out.

/// What to keep of the value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The text of a string, number or boolean.
    Text,
    /// The JSON of an object, to be parsed as a whole.
    Json,
    /// How many values stand there that are neither null, false nor an empty string.
    Filled,
    /// How many different strings stand there, empty ones left out.
    Distinct,
    /// How often each of these strings stands there.
    Tally(&'static [&'static str]),
}

/// Place of a node in `Plan::nodes`.
pub(super) type NodeId = u8;

/// No path leads through this value.
pub(super) const NOWHERE: NodeId = NodeId::MAX;
/// The node of the whole document.
pub(super) const ROOT: NodeId = 0;

/// One step on the way to a wanted value.
#[derive(Debug, Default)]
struct Node {
    /// Short keys first, so that only those of the same length are compared.
    keys: Vec<(&'static str, NodeId)>,
    /// One bit a length: most keys of a document are told apart by it.
    lengths: u64,
    element: Option<NodeId>,
    slot: Option<usize>,
}

/// The wanted paths, ready to be walked.
///
/// A path is written `choices[].delta.content`; `[]` is any element of an array, and `**.` in front lets the first key
/// stand at any depth.
#[derive(Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    anywhere: Vec<(&'static str, NodeId)>,
    paths: Vec<(&'static str, Want)>,
}

impl Plan {
    /// Builds the tree; paths beyond 254 nodes are left out, which a test of each plan would show.
    pub fn new(paths: &[(&'static str, Want)]) -> Self {
        let mut plan =
            Self { nodes: vec![Node::default()], anywhere: Vec::new(), paths: Vec::new() };
        for (path, want) in paths {
            plan.add(path, *want);
        }
        plan
    }

    fn add(&mut self, path: &'static str, want: Want) {
        let (inner, mut anywhere) = path.strip_prefix("**.").map_or((path, false), |p| (p, true));
        let mut at = ROOT;
        for part in inner.split('.') {
            let name = part.trim_end_matches("[]");
            if !name.is_empty() {
                at = self.child(at, name, std::mem::take(&mut anywhere));
            }
            for _ in 0..part.matches("[]").count() {
                at = self.element_or_new(at);
            }
        }
        let slot = self.paths.len();
        self.paths.push((path, want));
        if let Some(node) = self.nodes.get_mut(usize::from(at)) {
            node.slot = Some(slot);
        }
    }

    fn child(&mut self, at: NodeId, name: &'static str, anywhere: bool) -> NodeId {
        let found =
            if anywhere { find(&self.anywhere, name.as_bytes()) } else { self.key(at, name) };
        if let Some(id) = found {
            return id;
        }
        let id = self.new_node();
        if anywhere {
            self.anywhere.push((name, id));
        } else if let Some(node) = self.nodes.get_mut(usize::from(at)) {
            let at = node.keys.partition_point(|(key, _)| key.len() <= name.len());
            node.keys.insert(at, (name, id));
            node.lengths |= bit(name.len());
        }
        id
    }

    fn key(&self, at: NodeId, name: &str) -> Option<NodeId> {
        find(&self.nodes.get(usize::from(at))?.keys, name.as_bytes())
    }

    fn element_or_new(&mut self, at: NodeId) -> NodeId {
        if let Some(id) = self.nodes.get(usize::from(at)).and_then(|n| n.element) {
            return id;
        }
        let id = self.new_node();
        if let Some(node) = self.nodes.get_mut(usize::from(at)) {
            node.element = Some(id);
        }
        id
    }

    fn new_node(&mut self) -> NodeId {
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NOWHERE);
        self.nodes.push(Node::default());
        id
    }

    /// Node of the value under `key` in the object at `at`.
    pub(super) fn member(&self, at: NodeId, key: &[u8]) -> NodeId {
        self.nodes
            .get(usize::from(at))
            .filter(|node| node.lengths & bit(key.len()) != 0)
            .and_then(|node| find_by_length(&node.keys, key))
            .or_else(|| find(&self.anywhere, key))
            .unwrap_or(NOWHERE)
    }

    /// Node of the elements of the array at `at`.
    pub(super) fn element(&self, at: NodeId) -> NodeId {
        self.nodes.get(usize::from(at)).and_then(|node| node.element).unwrap_or(NOWHERE)
    }

    /// Slot of the value at `at`, and what to keep of it.
    pub(super) fn slot(&self, at: NodeId) -> Option<(usize, Want)> {
        let slot = self.nodes.get(usize::from(at))?.slot?;
        Some((slot, self.paths.get(slot)?.1))
    }

    /// Whether nothing below `at` can be wanted, so that the container may be skipped.
    pub(super) fn is_leaf(&self, at: NodeId) -> bool {
        self.anywhere.is_empty()
            && self
                .nodes
                .get(usize::from(at))
                .is_none_or(|node| node.keys.is_empty() && node.element.is_none())
    }

    /// The paths in the order of their slots.
    pub(super) fn paths(&self) -> &[(&'static str, Want)] {
        &self.paths
    }
}

/// The bit of a length; lengths from 63 on share one.
fn bit(length: usize) -> u64 {
    1 << length.min(63)
}

fn find_by_length(keys: &[(&'static str, NodeId)], name: &[u8]) -> Option<NodeId> {
    let from = keys.partition_point(|(key, _)| key.len() < name.len());
    let same = keys.get(from..)?.iter().take_while(|(key, _)| key.len() == name.len());
    same.into_iter().find(|(key, _)| key.as_bytes() == name).map(|(_, id)| *id)
}

fn find(keys: &[(&'static str, NodeId)], name: &[u8]) -> Option<NodeId> {
    keys.iter().find(|(key, _)| key.as_bytes() == name).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_prefixes_share_nodes() {
        let plan = Plan::new(&[("a.b", Want::Text), ("a.c[].d", Want::Filled)]);
        let a = plan.member(ROOT, b"a");
        assert_eq!(plan.slot(plan.member(a, b"b")), Some((0, Want::Text)));
        let d = plan.member(plan.element(plan.member(a, b"c")), b"d");
        assert_eq!(plan.slot(d), Some((1, Want::Filled)));
        assert!(plan.is_leaf(d) && !plan.is_leaf(a));
    }

    #[test]
    fn a_key_anywhere_is_found_below_unknown_keys() {
        let plan = Plan::new(&[("**.x.y", Want::Text)]);
        let x = plan.member(NOWHERE, b"x");
        assert_eq!(plan.slot(plan.member(x, b"y")), Some((0, Want::Text)));
        assert_eq!(plan.member(NOWHERE, b"y"), NOWHERE);
    }
}
