//! Programs and users of one process come in, in the order of time; which of them it was at a time goes out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::workload::Workload;

/// Programs remembered of one process, each once more where its user has changed: the running one, and those before it
/// for calls that are just ending.
const IMAGES_MAX: usize = 3;

/// One program that a process executed, as one user.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) since_ns: u64,
    /// When it was last seen to be so.
    pub(super) seen_ns: u64,
    /// `None`: a program was executed, but the process ended before it could be read.
    pub(super) workload: Option<Arc<Workload>>,
}

/// What is remembered of one process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Oldest first.
    images: VecDeque<Image>,
    pub(super) touched_ns: u64,
    pub(super) ended_ns: Option<u64>,
}

impl Process {
    pub(super) fn push(&mut self, image: Image) {
        // A second reading of the same program replaces the first.
        if image.since_ns == 0
            && let Some(last) = self.images.back_mut()
        {
            last.workload = image.workload;
            last.seen_ns = last.seen_ns.max(image.seen_ns);
            return;
        }
        self.images.push_back(image);
        if self.images.len() > IMAGES_MAX {
            self.images.pop_front();
        }
    }

    pub(super) fn newest(&self) -> Option<Arc<Workload>> {
        self.images.back()?.workload.clone()
    }

    /// What a process that still runs was last, if it is this and was not seen to be so at that time or later.
    pub(super) fn unseen(&mut self, known: &Arc<Workload>, now: u64) -> Option<&mut Image> {
        if self.ended_ns.is_some() {
            return None;
        }
        let last = self.images.back_mut().filter(|image| image.seen_ns < now)?;
        let is_known = last.workload.as_ref().is_some_and(|one| Arc::ptr_eq(one, known));
        is_known.then_some(last)
    }

    /// The program at a time; the oldest that is remembered also stands for what was before it.
    pub(super) fn at(&self, at_ns: u64) -> Option<Arc<Workload>> {
        let then = self.images.iter().rev().find(|image| image.since_ns <= at_ns);
        then.or_else(|| self.images.front())?.workload.clone()
    }
}
