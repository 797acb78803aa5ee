//! Files that take long to read come in; their plans go out, made on a thread that nobody waits for.

use std::collections::HashSet;
use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::Error;
use super::bare;
use super::plan::{Identity, Part};

/// A file to be searched.
#[derive(Debug)]
pub struct Request {
    pub(super) identity: Identity,
    pub(super) file: File,
}

/// What was found in a file.
#[derive(Debug)]
pub struct Answer {
    pub(super) identity: Identity,
    pub(super) parts: Result<Vec<Part>, Error>,
}

/// What a search has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether a library was found.
    pub found: bool,
}

/// Searches files until nobody asks any more; tells of each what it cost.
pub fn run(requests: &Receiver<Request>, answers: &SyncSender<Answer>, tell: impl Fn(Spent)) {
    while let Ok(Request { identity, file }) = requests.recv() {
        let began = Instant::now();
        let parts = bare::all(&file);
        let found = parts.as_ref().is_ok_and(|parts| !parts.is_empty());
        tell(Spent { bytes: identity.2, took: began.elapsed(), found });
        if answers.send(Answer { identity, parts }).is_err() {
            return;
        }
    }
}

/// The way to the thread that searches.
#[derive(Debug)]
pub struct Searcher {
    requests: SyncSender<Request>,
    answers: Receiver<Answer>,
    under_way: HashSet<Identity>,
}

impl Searcher {
    /// Joins the ends of the two channels.
    pub fn new(requests: SyncSender<Request>, answers: Receiver<Answer>) -> Self {
        Self { requests, answers, under_way: HashSet::new() }
    }

    /// Asks for a file once; with the queue full, the caller asks again later.
    pub(super) fn ask(&mut self, identity: Identity, file: &File) {
        let Ok(file) = file.try_clone() else { return };
        if !self.under_way.contains(&identity)
            && self.requests.try_send(Request { identity, file }).is_ok()
        {
            self.under_way.insert(identity);
        }
    }

    /// What was found since the last time.
    pub(super) fn answers(&mut self) -> Vec<Answer> {
        let answers: Vec<_> = self.answers.try_iter().collect();
        for answer in &answers {
            self.under_way.remove(&answer.identity);
        }
        answers
    }
}
