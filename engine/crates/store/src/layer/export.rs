//! From a tree and its split file back to the exact tar.

use super::split::{Op, SplitReader};
use super::tree::{Clean, Tree, path};
use crate::content::{finish, verify};
use crate::output::Output;
use dhow_model::{Digest, Error, ErrorKind, Result, ResultExt};
use dhow_sys::fsat;
use sha2::Digest as _;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much file data is read at once.
const PIECE: usize = 256 << 10;

/// Writes the tar of the layer in `layer`, and checks that it has the diff id and the size that it should.
pub(super) fn export(layer: &Path, diff_id: &Digest, out: &mut dyn Output) -> Result<()> {
    let mut split = SplitReader::open(&layer.join("split"))?;
    let payloads = std::mem::take(&mut split.payloads);
    let mut tree = Tree::open(&layer.join("diff"))?;
    let mut kept: Option<Tree> = None;
    let mut out = Hashed { out, hasher: sha2::Sha256::new() };
    let mut buffer = vec![0; PIECE];
    while let Some(op) = split.next_op()? {
        match op {
            Op::Raw(bytes) => out.write(bytes)?,
            Op::Payload(number, pieces) => {
                let payload = payloads
                    .get(number)
                    .ok_or_else(|| Error::corrupt(format!("layer {diff_id} has no payload {number}")))?;
                let name = Clean::trusted(payload.path.clone());
                let tree = if payload.kept {
                    if kept.is_none() {
                        kept = Some(Tree::open(&layer.join("kept"))?);
                    }
                    kept.as_mut().ok_or_else(|| Error::internal("kept/ is not open"))?
                } else {
                    &mut tree
                };
                let file = open(tree, &name)?;
                for piece in pieces {
                    copy(&file, piece.offset, piece.length, &mut buffer, &mut out).map_err(|error| {
                        Error::caused(
                            error.kind(),
                            format!("read {} of layer {diff_id}", name.display()),
                            error,
                        )
                    })?;
                }
            }
        }
    }
    out.out.flush().context_kind(ErrorKind::Unavailable, writing)?;
    verify("the layer on disk", Some(diff_id), &finish(out.hasher))
}

fn open(tree: &mut Tree, name: &Clean) -> Result<File> {
    let opening = || format!("open {} of a layer", name.display());
    let (parent, last) = name.split();
    let dir = tree.directory(parent).context(opening)?;
    let file =
        fsat::open_at(dir.as_fd(), path(last), libc::O_RDONLY | libc::O_NONBLOCK, 0).context(opening)?;
    Ok(File::from(file))
}

fn copy(
    file: &File,
    mut offset: u64,
    mut length: u64,
    buffer: &mut [u8],
    out: &mut Hashed<'_>,
) -> Result<()> {
    while length > 0 {
        let wanted = usize::try_from(length).map_or(buffer.len(), |n| n.min(buffer.len()));
        let got = match file.read_at(&mut buffer[..wanted], offset) {
            Ok(0) => return Err(Error::corrupt("the file is shorter than it was")),
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context(|| "read".to_owned()),
        };
        out.write(&buffer[..got])?;
        offset += got as u64;
        length -= got as u64;
    }
    Ok(())
}

struct Hashed<'a> {
    out: &'a mut dyn Output,
    hasher: sha2::Sha256,
}

impl Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).context_kind(ErrorKind::Unavailable, writing)
    }
}

fn writing() -> String {
    "write a layer's tar".to_owned()
}
