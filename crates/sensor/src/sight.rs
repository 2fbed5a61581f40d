//! What the sensor does not see and has said so, kept over its restarts: a state that is known is said once. What must stay
//! out: why a source is blind (`source`), and how that is said (`finding`, `health`).

use crate::{collect::Source, store::Folder};
use std::{collections::BTreeMap, io, path::Path};

/// Its file in the sensor's folder.
const FILE: &str = "blind.json";

/// What was said.
pub struct Sight {
    folder: Folder,
    said: BTreeMap<Source, String>,
    is_kept: bool,
}

impl Sight {
    /// As the sensor before left it. Without a readable file nothing was said, so all is said again.
    pub fn open(root: &Path) -> Self {
        let folder = Folder::look(root);
        let left = folder.read(FILE).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut said: BTreeMap<Source, String> = left.unwrap_or_default();
        // Perhaps the restart was to mend that: whether it did is news.
        said.retain(|source, _| !matches!(source, Source::Collector | Source::Evaluator));
        Sight { folder, said, is_kept: true }
    }

    /// Sources that were said to see nothing, and why.
    pub fn said(&self) -> &BTreeMap<Source, String> {
        &self.said
    }

    /// What sees nothing now; what of it has to be said. What sees again is said again when it is blind the next time.
    pub fn look(&mut self, now: BTreeMap<Source, String>) -> Vec<(Source, String)> {
        let news = now.iter().filter(|(source, why)| self.said.get(source) != Some(why));
        let news = news.map(|(source, why)| (*source, why.clone())).collect();
        self.is_kept &= now == self.said;
        self.said = now;
        news
    }

    /// Leaves it for the next start. To be called once it lies in the spool: said twice is better than never.
    pub fn keep(&mut self) -> io::Result<()> {
        if !self.is_kept {
            self.folder.leave(FILE, &serde_json::to_vec(&self.said)?)?;
            self.is_kept = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blind(sources: &[(Source, &str)]) -> BTreeMap<Source, String> {
        sources.iter().map(|(source, why)| (*source, why.to_string())).collect()
    }

    #[test]
    fn what_is_known_is_said_once_and_what_was_seen_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let start = |now: &[(Source, &str)]| {
            let mut sight = Sight::open(folder.path());
            let news = sight.look(blind(now));
            sight.keep().expect("it is written");
            (sight, news.into_iter().map(|(source, _)| source).collect::<Vec<_>>())
        };
        let denied = (Source::Inotify, "/root/.ssh: Permission denied");
        let (mut sight, news) = start(&[denied, (Source::Evaluator, "none can be started")]);
        assert_eq!(news, [Source::Inotify, Source::Evaluator]);
        assert_eq!(sight.look(sight.said().clone()), []);
        // A process that can't be started is no such state.
        assert_eq!(start(&[denied, (Source::Evaluator, "none can be started")]).1, [Source::Evaluator]);
        let another = (Source::Inotify, "/etc: Permission denied; /root/.ssh: Permission denied");
        assert_eq!(
            start(&[another, (Source::Authentication, "no such file")]).1,
            [Source::Inotify, Source::Authentication]
        );
        let (mut sight, news) = start(&[another]);
        assert_eq!(news, []);
        assert_eq!(sight.look(blind(&[(Source::Authentication, "no such file")])).len(), 1, "it was seen in between");
        // What did not get as far as the spool is not kept.
        drop(sight);
        assert_eq!(start(&[another, (Source::Authentication, "no such file")]).1, [Source::Authentication]);
        std::fs::write(folder.path().join(FILE), "{").expect("written");
        assert_eq!(start(&[another]).1, [Source::Inotify]);
    }
}
