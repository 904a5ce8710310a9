//! Writing the few kinds of members that our own archives have: directories and files with short names.
//!
//! The result depends on nothing but the input: owner 0, fixed modes, the time that the caller gives.

use super::BLOCK;
use crate::output::Output;
use dhow_model::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::Write;

/// Writes an archive.
pub struct Writer<'a> {
    out: &'a mut dyn Output,
}

impl<'a> Writer<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Output) -> Self {
        Self { out }
    }

    /// A directory; `path` ends in a slash.
    ///
    /// # Errors
    /// When the name is too long or the output fails.
    pub fn directory(&mut self, path: &str, seconds: u64) -> Result<()> {
        self.header(path, b'5', 0o755, 0, seconds)
    }

    /// A small file.
    ///
    /// # Errors
    /// When the name is too long or the output fails.
    pub fn file(&mut self, path: &str, seconds: u64, bytes: &[u8]) -> Result<()> {
        self.file_with(path, seconds, bytes.len() as u64, |out| out.write_all(bytes).map_err(failed))
    }

    /// A file of `size` bytes that `write` brings.
    ///
    /// # Errors
    /// When the name is too long, the output fails, `write` fails, or `write` brings another number of bytes.
    pub fn file_with(
        &mut self,
        path: &str,
        seconds: u64,
        size: u64,
        write: impl FnOnce(&mut dyn Output) -> Result<()>,
    ) -> Result<()> {
        self.header(path, b'0', 0o644, size, seconds)?;
        let mut counted = Counted { out: self.out, count: 0 };
        write(&mut counted)?;
        if counted.count != size {
            return Err(Error::internal(format!(
                "{path:?} was to have {size} bytes, but has {}",
                counted.count
            )));
        }
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..padding]).map_err(failed)
    }

    /// The end marker.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(self) -> Result<()> {
        self.out.write_all(&[0; 2 * BLOCK]).and_then(|()| self.out.flush()).map_err(failed)
    }

    fn header(&mut self, path: &str, kind: u8, mode: u32, size: u64, seconds: u64) -> Result<()> {
        let mut block = [0u8; BLOCK];
        let name = path.as_bytes();
        if name.len() > 100 {
            return Err(Error::internal(format!("the name {path:?} is too long for a tar header")));
        }
        block[..name.len()].copy_from_slice(name);
        octal(&mut block[100..108], u64::from(mode));
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        if size < 1 << 33 {
            octal(&mut block[124..136], size);
        } else {
            // 8 GiB and more: base 256, which every reader of today knows.
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        octal(&mut block[136..148], seconds.min((1 << 33) - 1));
        block[148..156].fill(b' ');
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], 0);
        octal(&mut block[337..345], 0);
        let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
        octal(&mut block[148..155], sum);
        self.out.write_all(&block).map_err(failed)
    }
}

/// How many bytes of an archive a file of `size` bytes takes, header and padding included.
pub fn file_span(size: u64) -> u64 {
    BLOCK as u64 + size.next_multiple_of(BLOCK as u64)
}

/// Octal digits up to a closing NUL.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b"01234567"[usize::try_from(value & 7).unwrap_or(0)];
        value >>= 3;
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "write archive", error)
}

struct Counted<'a> {
    out: &'a mut dyn Output,
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Output for Counted<'_> {
    fn append_file(&mut self, file: &File, length: u64) -> std::io::Result<()> {
        self.out.append_file(file, length)?;
        self.count += length;
        Ok(())
    }
}
