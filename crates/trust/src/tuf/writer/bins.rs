//! Hashed bins: which delegated role lists a target.
//!
//! Classic bins by delegation: the hexadecimal SHA-256 of the target path begins with one of the bin's prefixes. The short
//! form of TAP 15 is not written, because not every client knows it and one that ignores it finds nothing. Reading and
//! writing files does not belong here.

use sha2::{Digest, Sha256};

use super::WriterError;
use crate::tuf::metadata::{Authority, DelegatedRole, Delegations, Extra};

/// Most bins a repository may have. Their list in `targets.json` is 2.7 MB then; clients, ours and python-tuf alike, stop
/// reading at 5 MB.
pub const MAXIMUM_BINS: u32 = 16_384;

/// How targets are divided into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinLayout {
    count: u32,
    /// Hexadecimal digits of a prefix, 1 to 4.
    digits: u32,
}

impl BinLayout {
    /// `count` is a power of two from 1 to [`MAXIMUM_BINS`].
    pub fn new(count: u32) -> Result<Self, WriterError> {
        if !count.is_power_of_two() || count > MAXIMUM_BINS {
            let reason = format!("{count} is no power of two from 1 to {MAXIMUM_BINS}");
            return Err(WriterError::Option { option: "bins", reason });
        }
        Ok(Self { count, digits: count.ilog2().div_ceil(4).max(1) })
    }

    /// Recognises the layout that an existing repository delegates to, and refuses one that this writer would not write.
    pub(super) fn from_delegations(delegations: &Delegations) -> Result<Self, WriterError> {
        let refuse = |reason: &str| WriterError::Inconsistent { file: "targets.json".into(), reason: reason.into() };
        let bins: Vec<_> = delegations.roles.iter().filter(|role| role.path_hash_prefixes.is_some()).collect();
        let layout = u32::try_from(bins.len()).ok().and_then(|count| Self::new(count).ok());
        let layout = layout.ok_or_else(|| refuse("the number of bins is no power of two"))?;
        let fits = (0..layout.count).zip(&bins).all(|(index, role)| {
            role.name == layout.name(index) && role.path_hash_prefixes.as_ref() == Some(&layout.prefixes(index))
        });
        if fits { Ok(layout) } else { Err(refuse("bins are divided in a way that this writer does not know")) }
    }

    /// How many bins.
    pub fn count(self) -> u32 {
        self.count
    }

    /// How many prefixes one bin has.
    fn width(self) -> u32 {
        16_u32.pow(self.digits) / self.count
    }

    fn name(self, index: u32) -> String {
        format!("bin-{:0width$x}", index * self.width(), width = self.digits as usize)
    }

    fn prefixes(self, index: u32) -> Vec<String> {
        let first = index * self.width();
        (first..first + self.width()).map(|prefix| format!("{prefix:0width$x}", width = self.digits as usize)).collect()
    }

    /// The role names of all bins, in order.
    pub fn names(self) -> impl Iterator<Item = String> {
        (0..self.count).map(move |index| self.name(index))
    }

    /// The role name of the bin that lists `path`.
    pub fn role_of(self, path: &str) -> String {
        let hash = Sha256::digest(path.as_bytes());
        let first = u32::from(u16::from_be_bytes([hash[0], hash[1]]));
        let prefix = first >> (16 - 4 * self.digits);
        self.name(prefix / self.width())
    }

    /// The delegations to all bins.
    pub(super) fn delegated_roles(self, authority: &Authority) -> Vec<DelegatedRole> {
        let role = |index| DelegatedRole {
            name: self.name(index),
            keyids: authority.keyids.clone(),
            threshold: authority.threshold,
            terminating: false,
            paths: None,
            path_hash_prefixes: Some(self.prefixes(index)),
            extra: Extra::new(),
        };
        (0..self.count).map(role).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn prefixes_cover_everything_once() {
        for count in [1, 2, 8, 16, 32, 256, 4096] {
            let layout = BinLayout::new(count).unwrap();
            let all: Vec<String> = (0..count).flat_map(|index| layout.prefixes(index)).collect();
            let distinct: BTreeSet<_> = all.iter().collect();
            assert_eq!(all.len(), 16_usize.pow(layout.digits), "{count}");
            assert_eq!(distinct.len(), all.len(), "{count}");
            assert!(all.iter().all(|prefix| prefix.len() == layout.digits as usize), "{count}");
        }
    }

    #[test]
    fn a_path_is_in_the_bin_whose_prefix_its_hash_has() {
        for count in [1, 4, 16, 64, 4096, 16_384] {
            let layout = BinLayout::new(count).unwrap();
            for path in ["a", "content/1/rules.bin", "ü"] {
                let hash = hex::encode(Sha256::digest(path));
                let name = layout.role_of(path);
                let index = (0..count).find(|index| layout.name(*index) == name).unwrap();
                assert!(layout.prefixes(index).iter().any(|prefix| hash.starts_with(prefix)), "{count} {path}");
            }
        }
    }

    #[test]
    fn counts_out_of_range_are_refused() {
        for count in [0, 3, 100, MAXIMUM_BINS * 2] {
            assert!(matches!(BinLayout::new(count), Err(WriterError::Option { option: "bins", .. })), "{count}");
        }
        assert_eq!(BinLayout::new(4096).unwrap().names().nth(10).unwrap(), "bin-00a");
    }
}
