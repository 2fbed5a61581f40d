//! Tiles and entry bundles as c2sp.org/tlog-tiles has them, as functions for a server to serve.
//!
//! Everything here is cacheable: a full tile never changes. No HTTP here.

use crate::entry::{Digest, Position};
use crate::error::StoreError;
use crate::log::Tree;
use tlog_tiles::stored_hash_index;

/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u64 = 256;

/// Levels of hashes that one tile spans.
const TILE_HEIGHT: u8 = 8;

/// Highest tile level that a tree of 2^63 leaves can have.
const MAX_LEVEL: u8 = 7;

/// Why there is no such tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// The path is not one of tlog-tiles.
    #[error("{path:?} is not a tile path")]
    Path {
        /// The path, shortened.
        path: String,
    },
    /// The tree is not (yet) large enough, or the level or width is out of bounds.
    #[error("{path} does not exist in a tree of size {size}")]
    NotThere {
        /// Path of the tile.
        path: String,
        /// Size of the tree.
        size: u64,
    },
    /// The log could not be read.
    #[error("read a tile")]
    Store(#[from] StoreError),
}

/// Which tile: hashes of a level, or entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileKind {
    /// Hashes of tile level 0 to 7.
    Hashes(u8),
    /// The leaf records themselves.
    Entries,
}

/// A tile by name, for example `tile/0/x001/234.p/17` or `tile/entries/000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TilePath {
    /// Hashes or entries.
    pub kind: TileKind,
    /// Which tile of its level, from 0.
    pub index: u64,
    /// Hashes or entries in it: 1 to 256.
    pub width: u64,
}

impl TilePath {
    /// Reads a path relative to the log's prefix, without a leading slash.
    ///
    /// # Errors
    /// [`TileError::Path`] for anything that is not written exactly as the specification says.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        Self::read(path)
            .filter(|tile| tile.to_string() == path)
            .ok_or_else(|| TileError::Path { path: path.chars().take(80).collect() })
    }

    fn read(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match level {
            "entries" => TileKind::Entries,
            number => TileKind::Hashes(number.parse().ok().filter(|level| *level <= MAX_LEVEL)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|w| (1..TILE_WIDTH).contains(w))?),
            None => (rest, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        Some(Self { kind, index, width })
    }

    /// The bytes of this tile.
    ///
    /// # Errors
    /// As [`tile`] and [`entry_bundle`].
    pub fn bytes(&self, tree: &dyn Tree) -> Result<Vec<u8>, TileError> {
        match self.kind {
            TileKind::Hashes(level) => tile(tree, level, self.index, self.width),
            TileKind::Entries => entry_bundle(tree, self.index, self.width),
        }
    }
}

impl std::fmt::Display for TilePath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(out, "tile/{level}/")?,
            TileKind::Entries => write!(out, "tile/entries/")?,
        }
        // Three digits a directory, all but the last one marked with an x.
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        out.write_str(&groups.join("/"))?;
        if self.width < TILE_WIDTH {
            write!(out, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// `width` hashes of tile `index` on tile level `level`, 32 bytes each.
///
/// # Errors
/// [`TileError::NotThere`] unless all these hashes exist, [`TileError::Store`] if they cannot be read.
pub fn tile(tree: &dyn Tree, level: u8, index: u64, width: u64) -> Result<Vec<u8>, TileError> {
    let name = TilePath { kind: TileKind::Hashes(level), index, width };
    let size = tree.head()?;
    let complete = if level > MAX_LEVEL { 0 } else { size >> (TILE_HEIGHT * level) };
    let first = in_range(name, complete, size)?;
    let indexes: Vec<u64> = (first..first + width).map(|n| stored_hash_index(TILE_HEIGHT * level, n)).collect();
    let hashes: Vec<Digest> = tree.hashes(&indexes)?;
    Ok(hashes.concat())
}

/// `width` leaf records of bundle `index`, each after its length in two bytes, big endian.
///
/// The records are the same after erasure, since they hold commitments instead of payloads.
///
/// # Errors
/// [`TileError::NotThere`] unless all these entries exist, [`TileError::Store`] if they cannot be read.
pub fn entry_bundle(tree: &dyn Tree, index: u64, width: u64) -> Result<Vec<u8>, TileError> {
    let name = TilePath { kind: TileKind::Entries, index, width };
    let size = tree.head()?;
    let first: Position = in_range(name, size, size)?;
    let mut bytes = Vec::new();
    for entry in tree.read(first, usize::try_from(width).unwrap_or(0))? {
        let record = entry.leaf_record();
        // A record is a kind of at most 128 bytes and some fixed text, far below the 65,535 that fit.
        let length = u16::try_from(record.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(record);
    }
    Ok(bytes)
}

/// The number of a tile's first item, if all of its items are among the `complete` ones of their level.
fn in_range(name: TilePath, complete: u64, size: u64) -> Result<u64, TileError> {
    let first = name.index.checked_mul(TILE_WIDTH);
    let end = first.and_then(|first| first.checked_add(name.width));
    match (first, end) {
        (Some(first), Some(end)) if (1..=TILE_WIDTH).contains(&name.width) && end <= complete => Ok(first),
        _ => Err(TileError::NotThere { path: name.to_string(), size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_round_trip() {
        for path in [
            "tile/0/000",
            "tile/3/x001/x234/067",
            "tile/3/x001/x234/067.p/1",
            "tile/entries/999.p/255",
            "tile/7/x018/x446/x744/x073/x709/x551/615",
        ] {
            assert_eq!(TilePath::parse(path).expect(path).to_string(), path);
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/8/000",
            "tile/00/000",
            "tile/0/0",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/entries/../000",
            "tile/0/x018/x446/x744/x073/x709/x551/616/000",
            "/tile/0/000",
        ] {
            assert!(TilePath::parse(path).is_err(), "{path}");
        }
    }
}
