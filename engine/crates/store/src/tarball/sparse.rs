//! Sparse files: the four ways in which an archive tells which stretches of a file it holds.
//!
//! | format | where the map is |
//! |---|---|
//! | old GNU (type `S`) | four pairs in the header, then blocks of 21 pairs |
//! | PAX 0.0 | `GNU.sparse.offset` and `GNU.sparse.numbytes` records, in turn |
//! | PAX 0.1 | one `GNU.sparse.map` record: `offset,length,offset,length,…` |
//! | PAX 1.0 | decimal lines at the start of the data, padded to a block |

use super::Segment;
use super::header::{self, Block};
use super::pax::{decimal, lossy};

/// A map with more pieces than this is refused: GNU tar makes one piece for each stretch of data, and a file of
/// 8 GiB with every second 4 KiB page missing has a million.
pub(super) const SEGMENTS_MAX: usize = dhow_model::limits::SPARSE_PIECES.most_here();

/// Adds the pairs of an old GNU map (24 bytes each) until one is empty.
pub(super) fn push_old_pairs(pairs: &[u8], segments: &mut Vec<Segment>) -> Result<(), String> {
    for pair in pairs.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let field = |bytes| header::number(bytes).and_then(|n| u64::try_from(n).ok());
        let (Some(offset), Some(length)) = (field(&pair[..12]), field(&pair[12..])) else {
            return Err("a sparse map has an entry that is not a number".to_owned());
        };
        push(segments, offset, length)?;
    }
    Ok(())
}

/// Old GNU: the map in the header, whether more blocks follow, and the real size.
pub(super) fn old_header(block: &Block) -> Result<(Vec<Segment>, bool, u64), String> {
    let mut segments = Vec::new();
    push_old_pairs(&block[386..482], &mut segments)?;
    let size = header::number(&block[483..495])
        .and_then(|n| u64::try_from(n).ok())
        .ok_or("the real size of a sparse file is not a number")?;
    Ok((segments, block[482] != 0, size))
}

/// PAX 0.1: `offset,length,…`.
pub(super) fn parse_list(map: &[u8]) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    if map.is_empty() {
        return Ok(segments);
    }
    let mut numbers = map.split(|&b| b == b',');
    while let Some(offset) = numbers.next() {
        match (decimal(offset), numbers.next().and_then(decimal)) {
            (Some(offset), Some(length)) => push(&mut segments, offset, length)?,
            _ => {
                return Err(format!(
                    "the sparse map {:?} is not pairs of numbers",
                    lossy(&map[..map.len().min(60)])
                ));
            }
        }
    }
    Ok(segments)
}

/// Adds one piece.
pub(super) fn push(segments: &mut Vec<Segment>, offset: u64, length: u64) -> Result<(), String> {
    if segments.len() >= SEGMENTS_MAX {
        return Err(format!("a sparse map has more than {SEGMENTS_MAX} pieces"));
    }
    // Writers end a map with an empty piece at the end of the file, to tell its size.
    if length > 0 {
        segments.push(Segment { offset, length });
    }
    Ok(())
}

/// Checks that the pieces lie in order within `size`, and that they are `stored` bytes together.
pub(super) fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), String> {
    let (mut end, mut sum) = (0u64, 0u64);
    for piece in segments {
        let next = piece.offset.checked_add(piece.length).filter(|_| piece.offset >= end);
        end = next.filter(|&e| e <= size).ok_or_else(|| {
            format!(
                "the sparse piece at {} of {} bytes overlaps another or leaves the file of {size} bytes",
                piece.offset, piece.length
            )
        })?;
        sum += piece.length;
    }
    if sum != stored {
        return Err(format!("a sparse map has {sum} bytes of data, the archive {stored}"));
    }
    Ok(())
}
