//! What a runtime says of a container comes in, however long; what is kept of it, bounded, goes out.

use std::sync::Arc;

/// Bytes of a name that is kept: an image with registry, tag and digest has fewer. What is longer is not known.
const TEXT_BYTES_MAX: usize = 512;
/// Labels kept of a pod; Kubernetes sets some ten.
const LABELS_MAX: usize = 64;
/// Bytes of all labels kept of a pod.
const LABELS_BYTES_MAX: usize = 8 * 1024;

/// What is known of a container. What is not there is absent, or not known where something was too long to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `containerd`, `cri-o`, `docker`, `podman`.
    pub runtime: &'static str,
    /// Name within its pod, or on its machine.
    pub name: Option<String>,
    /// Name of its image.
    pub image: Option<String>,
    /// Pod, where it is in one.
    pub pod: Option<Arc<Pod>>,
    /// Labels of the pod, or of a container in none; `None` where the runtime does not tell.
    pub labels: Option<Arc<Labels>>,
    /// Whether nothing was left out for its length.
    pub is_whole: bool,
}

/// A pod of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
}

/// Labels in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Keys and values.
    pub pairs: Vec<(String, String)>,
    /// Whether none was left out.
    pub is_whole: bool,
}

impl About {
    /// A container of which nothing is known but its runtime.
    pub(super) fn of(runtime: &'static str) -> Self {
        Self { runtime, is_whole: true, ..Self::default() }
    }

    /// The same with a name.
    pub(super) fn named(mut self, name: &str) -> Self {
        self.name = self.kept(name);
        self
    }

    /// The same with an image.
    pub(super) fn of_image(mut self, image: &str) -> Self {
        self.image = self.kept(image);
        self
    }

    /// The same in a pod.
    pub(super) fn in_pod(mut self, pod: Option<(Arc<Pod>, Arc<Labels>)>) -> Self {
        match pod {
            Some((pod, labels)) => (self.pod, self.labels) = (Some(pod), Some(labels)),
            // It is in one, and nobody says in which.
            None => self.is_whole = false,
        }
        self
    }

    /// The same with labels of its own.
    pub(super) fn labelled<'a>(mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        self.labels = Some(Arc::new(Labels::of(labels)));
        self
    }

    fn kept(&mut self, text: &str) -> Option<String> {
        self.is_whole &= text.len() <= TEXT_BYTES_MAX;
        kept(text)
    }
}

impl Pod {
    /// A pod, if its names are of a length that Kubernetes gives.
    pub(super) fn of(namespace: &str, name: &str, uid: &str) -> Option<Self> {
        let [namespace, name] = [kept(namespace)?, kept(name)?];
        Some(Self { namespace, name, uid: kept(uid).unwrap_or_default() })
    }
}

impl Labels {
    /// Labels up to their bounds. A label that is left out is not known, never cut: a part of a value is another value.
    pub(super) fn of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut kept = Self { pairs: Vec::new(), is_whole: true };
        let mut bytes = 0_usize;
        for (key, value) in labels {
            let more = bytes.saturating_add(key.len()).saturating_add(value.len());
            if kept.pairs.len() >= LABELS_MAX || more > LABELS_BYTES_MAX {
                kept.is_whole = false;
                continue;
            }
            bytes = more;
            kept.pairs.push((key.to_owned(), value.to_owned()));
        }
        kept
    }
}

fn kept(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= TEXT_BYTES_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_not_known_and_never_cut() {
        let long = "x".repeat(TEXT_BYTES_MAX.saturating_add(1));
        let about = About::of("docker").named("web").of_image(&long);
        assert_eq!((about.name.as_deref(), about.image.as_deref()), (Some("web"), None));
        assert!(!about.is_whole);
        assert!(About::of("docker").named("").is_whole, "an empty name is absent");
        assert_eq!(Pod::of(&long, "a", "b"), None);
        assert_eq!(Pod::of("", "a", "b"), None);
        assert!(!About::of("containerd").in_pod(None).is_whole);
    }

    #[test]
    fn labels_are_bounded_by_count_and_by_bytes() {
        let many: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
        let kept = Labels::of(many.iter().map(|key| (key.as_str(), "v")));
        assert_eq!((kept.pairs.len(), kept.is_whole), (LABELS_MAX, false));
        let large = "v".repeat(LABELS_BYTES_MAX);
        let kept = Labels::of([("a", "1"), ("b", large.as_str()), ("c", "3")].into_iter());
        let keys: Vec<_> = kept.pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!((keys, kept.is_whole), (vec!["a", "c"], false));
        assert!(Labels::of([("a", "")].into_iter()).is_whole);
    }
}
