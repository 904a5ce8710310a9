//! Where archives go.

use dhow_sys::fsat;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// How much is read of a file at once where the kernel does not copy by itself.
const PIECE: usize = 1 << 20;
/// Headers and small files are written together.
const GATHERED: usize = 256 << 10;

/// A writer that may have a shorter way for a part of a file than through this process's memory.
pub trait Output: Write {
    /// Writes the first `length` bytes of a file.
    ///
    /// # Errors
    /// What the writer or the file says; `UnexpectedEof` when the file is shorter.
    fn append_file(&mut self, file: &File, length: u64) -> io::Result<()> {
        copy_from(file, 0, length, |piece| self.write_all(piece))
    }
}

fn copy_from(
    file: &File,
    mut offset: u64,
    length: u64,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    while offset < length {
        let wanted = usize::try_from(length - offset).map_or(PIECE, |left| left.min(PIECE));
        match file.read_at(&mut buffer[..wanted], offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                write(&buffer[..count])?;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file: what is another file's is shared with it or copied by the kernel, and small writes are gathered. Flush it
/// in the end.
pub struct FileOutput(BufWriter<File>);

impl FileOutput {
    /// Writes from where the file stands.
    pub fn new(file: File) -> Self {
        Self(BufWriter::with_capacity(GATHERED, file))
    }
}

impl Write for FileOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output for FileOutput {
    fn append_file(&mut self, file: &File, length: u64) -> io::Result<()> {
        self.0.flush()?;
        // A descriptor of our own, which begins at the beginning: the kernel goes by its position, and moves it.
        let mut from = File::from(fsat::reopen(file.as_fd(), libc::O_RDONLY)?);
        for way in [fsat::copy_file_range, fsat::send_file] {
            let result = way(from.as_fd(), self.0.get_ref().as_fd(), length);
            let copied = from.stream_position()?;
            match result {
                // What is left, should there be any: the file is shorter, or the kernel will not go on.
                Ok(_) if copied > 0 => {
                    return copy_from(file, copied, length, |piece| self.0.write_all(piece));
                }
                Err(error) if copied > 0 => return Err(error.into()),
                // Not between these two (EXDEV, EINVAL, EBADF, …).
                Ok(_) | Err(_) => {}
            }
        }
        copy_from(file, 0, length, |piece| self.0.write_all(piece))
    }
}

impl Output for Vec<u8> {}

impl Output for io::Sink {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn parts_of_files_arrive_whole_whatever_the_output_is() {
        let directory = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        let path = directory.path().join("from");
        std::fs::write(&path, &bytes).unwrap();
        let mut from = File::open(&path).unwrap();
        from.seek(io::SeekFrom::End(0)).unwrap();
        let whole = |got: &[u8]| got == [b"before".as_slice(), &bytes[..7_000_001], b"after"].concat();
        let fill = |output: &mut dyn Output| {
            output.write_all(b"before").unwrap();
            output.append_file(&from, 7_000_001).unwrap();
            output.write_all(b"after").unwrap();
            output.flush().unwrap();
        };
        let mut memory = Vec::new();
        fill(&mut memory);
        assert!(whole(&memory));
        // The same filesystem, another one, and one that takes no splicing.
        let appending =
            File::options().append(true).create_new(true).open(directory.path().join("to")).unwrap();
        for file in [tempfile::tempfile_in(&directory).unwrap(), tempfile::tempfile_in("/dev/shm").unwrap()] {
            fill(&mut FileOutput::new(file.try_clone().unwrap()));
            let mut got = Vec::new();
            let mut file = file;
            file.rewind().unwrap();
            file.read_to_end(&mut got).unwrap();
            assert!(whole(&got));
        }
        fill(&mut FileOutput::new(appending));
        assert!(whole(&std::fs::read(directory.path().join("to")).unwrap()));
        let (mut reader, writer) = io::pipe().unwrap();
        std::thread::scope(|scope| {
            let read = scope.spawn(move || {
                let mut got = Vec::new();
                reader.read_to_end(&mut got).unwrap();
                got
            });
            fill(&mut FileOutput::new(File::from(std::os::fd::OwnedFd::from(writer))));
            assert!(whole(&read.join().unwrap()));
        });
        let short = FileOutput::new(tempfile::tempfile().unwrap()).append_file(&from, 1 << 40).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }
}
