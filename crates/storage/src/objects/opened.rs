//! Small files that were read lately, kept open: to find one by its path and to close it costs more than to read it.
//!
//! Large ones are opened for each reader, which so has the kernel read ahead for itself alone.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

/// Larger ones are not kept.
pub(super) const KEPT_BYTES_MAX: u64 = 64 * 1024;

/// Of the young, and as many old ones: half of the files that are kept at most.
const GENERATION: usize = 256;

#[derive(Clone, Default)]
pub(super) struct Opened(Arc<Mutex<Generations>>);

/// What is used moves among the young. When there are too many of those, they become the old, and what was old goes.
#[derive(Default)]
struct Generations {
    young: HashMap<String, Arc<File>>,
    old: HashMap<String, Arc<File>>,
}

impl Opened {
    pub(super) fn get(&self, key: &str) -> Option<Arc<File>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.young.get(key) {
            return Some(Arc::clone(file));
        }
        let (key, file) = files.old.remove_entry(key)?;
        let found = Arc::clone(&file);
        let gone = files.insert(key, file);
        drop(files);
        drop(gone);
        Some(found)
    }

    /// Whoever deletes the file forgets it then, so whoever keeps it looks afterwards whether it was deleted meanwhile.
    pub(super) fn keep(&self, key: &str, file: &Arc<File>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = files.insert(key.to_owned(), Arc::clone(file));
        // Not under the lock, since that closes files.
        drop(files);
        drop(gone);
    }

    pub(super) fn forget(&self, key: &str) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = (files.young.remove(key), files.old.remove(key));
        drop(files);
        drop(gone);
    }
}

impl Generations {
    /// What has to go for it.
    fn insert(&mut self, key: String, file: Arc<File>) -> HashMap<String, Arc<File>> {
        let gone = match self.young.len() < GENERATION {
            true => HashMap::new(),
            false => std::mem::replace(&mut self.old, std::mem::take(&mut self.young)),
        };
        self.young.insert(key, file);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_closed() {
        let opened = Opened::default();
        let file = |_| Arc::new(tempfile::tempfile().unwrap());
        let files: Vec<Arc<File>> = (0..4 * GENERATION).map(file).collect();
        for (n, file) in files.iter().enumerate() {
            opened.keep(&n.to_string(), file);
            assert!(Arc::ptr_eq(&opened.get("0").unwrap(), &files[0]), "used all the time");
        }
        let kept = files.iter().filter(|file| Arc::strong_count(file) > 1).count();
        assert!((GENERATION..=2 * GENERATION).contains(&kept), "{kept}");
        assert!(opened.get("1").is_none());
        let last = (files.len() - 1).to_string();
        assert!(opened.get(&last).is_some());
        opened.forget(&last);
        opened.forget("0");
        opened.forget("never there");
        assert!(opened.get(&last).is_none() && opened.get("0").is_none());
        assert_eq!(Arc::strong_count(&files[0]), 1);
    }
}
