//! Files that take long to read come in; their plans go out, made on a thread that nobody waits for.

use std::collections::HashSet;
use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender};

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

/// Searches files until nobody asks any more.
pub fn run(requests: &Receiver<Request>, answers: &SyncSender<Answer>) {
    while let Ok(Request { identity, file }) = requests.recv() {
        let parts = bare::parts(&file, bare::searched);
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
