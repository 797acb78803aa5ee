//! An answer of a container runtime comes in; what is kept of it stays within its bounds, however it is cut.

use sensor_user::workload::About;
use sensor_user::workload::runtime;

/// Bytes of the longest text that is kept, and of all labels of one container.
const TEXT_MAX: usize = 512;
const LABELS_MAX: usize = 8 * 1024;

/// Runs one input; its first byte says where the stream of events is cut.
pub(crate) fn run(data: &[u8]) {
    let Some((at, bytes)) = data.split_first() else { return };
    for (_, about) in runtime::said(bytes) {
        assert_bounded(&about);
    }
    let [whole, cut] = runtime::named(bytes, usize::from(*at));
    assert!(whole.ends_with(&cut), "{whole:?} {cut:?}");
}

fn assert_bounded(about: &About) {
    let pod = about.pod.as_deref();
    let texts = [about.name.as_deref(), about.image.as_deref()];
    let of_pod = [
        pod.map(|pod| pod.namespace.as_str()),
        pod.map(|pod| pod.name.as_str()),
        pod.map(|pod| pod.uid.as_str()),
    ];
    for text in texts.into_iter().chain(of_pod).flatten() {
        assert!(text.len() <= TEXT_MAX);
    }
    assert!(pod.is_none_or(|pod| !pod.namespace.is_empty() && !pod.name.is_empty()));
    let labels = about.labels.iter().flat_map(|labels| &labels.pairs);
    assert!(labels.map(|(key, value)| key.len() + value.len()).sum::<usize>() <= LABELS_MAX);
}
