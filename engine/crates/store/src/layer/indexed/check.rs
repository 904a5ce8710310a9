//! Indexes in memory, for those who look for archives that break the writer (`fuzz/`).

use super::erofs::{self, BLOCK, LAYOUT_CHUNKS};
use super::read::Index;
use super::tree::Tree;
use crate::tarball::Reader;
use dhow_model::{Error, Result};
use std::collections::BTreeSet;

/// The index of a tar; `None` when it has to be unpacked.
///
/// # Errors
/// `Corrupt` when it is no tar.
pub fn index_of(tar: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut reader = Reader::new(tar);
    let mut tree = Tree::new();
    while let Some(entry) = reader.next_entry()? {
        if tree.member(&entry, reader.position()).is_err() {
            return Ok(None);
        }
    }
    reader.finish()?;
    Ok(erofs::encode(&tree, (tar.len() as u64).div_ceil(BLOCK), [7; 16]).ok())
}

/// Walks an index: every name is found again, every directory once, no chunk is outside of the tar.
///
/// # Errors
/// `Corrupt` saying what is wrong.
pub fn check_index(index: &[u8], tar_bytes: u64) -> Result<()> {
    let index = Index::of_bytes(index.to_vec())?;
    let wrong = |what: &str| Err(Error::corrupt(what));
    let mut seen = BTreeSet::new();
    let mut todo = vec![index.root()?];
    while let Some(dir) = todo.pop() {
        if !seen.insert(dir) {
            return wrong("a directory has two names");
        }
        let mut last: Option<Vec<u8>> = None;
        for (name, number) in index.list(dir)? {
            if last.as_ref().is_some_and(|last| *last >= name) {
                return wrong("names are not sorted");
            }
            if index.find(dir, &name)? != Some(number) {
                return wrong("a name is not found");
            }
            index.attributes(number)?;
            let (layout, size) = index.layout(number)?;
            if layout == LAYOUT_CHUNKS {
                for (block, length) in index.chunks(number, size)? {
                    let end = block * BLOCK + length;
                    if end > tar_bytes.next_multiple_of(BLOCK) {
                        return wrong("a file has data behind the end of the tar");
                    }
                }
            }
            let is_dot = matches!(name.as_slice(), b"." | b"..");
            if index.is_dir(number)? && !is_dot {
                todo.push(number);
            }
            last = Some(name);
        }
    }
    Ok(())
}
