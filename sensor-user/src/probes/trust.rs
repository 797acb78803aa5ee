//! What the connections of a file turned out to be comes in; whether places that no symbol names are right goes out.

use std::collections::HashMap;

/// Files whose trust is remembered; beyond it the memory begins anew.
const FILES_MAX: usize = 4096;
/// Connections that are no HTTP, before one that is, after which the places of a file are taken for wrong.
const STRANGE_MAX: u32 = 3;

/// Device and inode, as the memory map shows them.
pub(super) type File = (String, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// So many connections were no HTTP, and none was.
    Strange(u32),
    /// A connection was HTTP: what others are is their own affair.
    Proven,
    /// Nothing is attached to it any more.
    Rejected,
}

/// Which files have proven that what is captured there is plaintext.
#[derive(Debug, Default)]
pub(super) struct Trust {
    files: HashMap<File, Standing>,
}

impl Trust {
    /// Whether the file's places were found to be wrong.
    pub(super) fn is_rejected(&self, file: &File) -> bool {
        self.files.get(file) == Some(&Standing::Rejected)
    }

    /// Forgets a file, whose places are found anew.
    pub(super) fn forget(&mut self, file: &File) {
        self.files.remove(file);
    }

    /// Notes what a connection was; says whether the file is rejected by it.
    pub(super) fn judge(&mut self, file: &File, http: bool) -> bool {
        if self.files.len() >= FILES_MAX && !self.files.contains_key(file) {
            self.files.clear();
        }
        let standing = self.files.entry(file.clone()).or_insert(Standing::Strange(0));
        *standing = match *standing {
            Standing::Strange(_) if http => Standing::Proven,
            Standing::Strange(before) if before.saturating_add(1) < STRANGE_MAX => {
                Standing::Strange(before.saturating_add(1))
            }
            Standing::Strange(_) => {
                *standing = Standing::Rejected;
                return true;
            }
            other => other,
        };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_rejected_after_several_strange_connections_unless_one_was_http() {
        let (wrong, right) = (("08:01".to_owned(), 1), ("08:01".to_owned(), 2));
        let mut trust = Trust::default();
        assert!(!trust.judge(&wrong, false) && !trust.judge(&wrong, false));
        assert!(!trust.is_rejected(&wrong));
        assert!(trust.judge(&wrong, false) && trust.is_rejected(&wrong));
        // Said once: the probes are gone already.
        assert!(!trust.judge(&wrong, false) && trust.is_rejected(&wrong));
        assert!(!trust.judge(&right, false) && !trust.judge(&right, true));
        for _ in 0..10 {
            assert!(!trust.judge(&right, false) && !trust.is_rejected(&right));
        }
    }
}
