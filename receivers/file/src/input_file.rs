//! One file: read to its end, or followed as it grows.
//!
//! A followed file is watched by its path. When it has become shorter than what was read of it, or another
//! file has taken its path, reading begins again at the beginning; of the old file everything up to its end
//! was read before. What cannot be seen: a file that was emptied and has since grown beyond where reading
//! stood.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::lines::{Chunk, Lines};

/// A batch is decoded when it has this many bytes, even when it may have more lines.
const CHUNK_BYTES: usize = 8 << 20;

/// An open file. Its calls block.
pub(crate) struct InputFile {
    path: PathBuf,
    identity: Identity,
    lines: Lines<File>,
    follow: bool,
    max_lines: usize,
    max_line: usize,
}

/// The identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

/// A piece read from a file, or its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileRead {
    /// Lines, perhaps none, and there may be more at once.
    Lines(Chunk),
    /// The end of the file and its last lines. Nothing more will come.
    End(Chunk),
    /// The end of a followed file. More may come later.
    NothingNew,
}

impl InputFile {
    /// Opens the file at `path`. Batches get at most `max_lines` lines of at most `max_line` bytes.
    pub(crate) fn open(
        path: &Path,
        follow: bool,
        max_lines: usize,
        max_line: usize,
    ) -> io::Result<InputFile> {
        let (file, identity) = open(path)?;
        Ok(InputFile {
            path: path.to_owned(),
            identity,
            lines: Lines::new(file, max_line),
            follow,
            max_lines,
            max_line,
        })
    }

    /// Reads the lines for one batch. After an error it can be called again, and nothing is lost.
    pub(crate) fn read(&mut self) -> io::Result<FileRead> {
        let (mut chunk, more) = self.fill()?;
        if more || (self.follow && !chunk.is_empty()) {
            return Ok(FileRead::Lines(chunk));
        }
        if self.follow {
            return self.changed();
        }
        self.lines.finish(&mut chunk);
        Ok(FileRead::End(chunk))
    }

    /// Lines, and whether there may be more at once.
    fn fill(&mut self) -> io::Result<(Chunk, bool)> {
        let mut chunk = Chunk::default();
        match self.lines.fill(&mut chunk, self.max_lines, CHUNK_BYTES) {
            Ok(more) => Ok((chunk, more)),
            // Lines that came before the error are delivered; it comes again with the next call.
            Err(_) if !chunk.is_empty() => Ok((chunk, true)),
            Err(error) => Err(error),
        }
    }

    /// Looks whether the path still leads to the file that was read to its end.
    fn changed(&mut self) -> io::Result<FileRead> {
        let seen = match fs::metadata(&self.path) {
            Ok(seen) => seen,
            // Between two files: the next one will come.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(FileRead::NothingNew),
            Err(error) => return Err(error),
        };
        let replaced = identity(&seen) != self.identity;
        if !replaced && seen.len() >= self.lines.consumed() {
            return Ok(FileRead::NothingNew);
        }
        let (file, identity) = match open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(FileRead::NothingNew),
            opened => opened?,
        };
        let mut last = Chunk::default();
        if replaced {
            // What was written to the old file after its end was seen, and before it lost its path.
            let (chunk, more) = self.fill()?;
            if more || !chunk.is_empty() {
                return Ok(FileRead::Lines(chunk));
            }
            self.lines.finish(&mut last);
        }
        let (file_name, what) =
            (self.path.display(), if replaced { "replaced" } else { "truncated: its old end may be lost" });
        tracing::info!(file = %file_name, "the file was {what}; reading from the beginning");
        self.identity = identity;
        self.lines = Lines::new(file, self.max_line);
        Ok(FileRead::Lines(last))
    }
}

fn open(path: &Path) -> io::Result<(File, Identity)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Ok((file, identity(&metadata)))
}

fn identity(metadata: &Metadata) -> Identity {
    Identity(metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Bench {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    fn bench(text: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, text).unwrap();
        Bench { _folder: folder, path }
    }

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The lines up to the next pause or the end, with their numbers.
    fn drain(source: &mut InputFile) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let (chunk, ended) = match source.read().unwrap() {
                FileRead::Lines(chunk) => (chunk, false),
                FileRead::End(chunk) => (chunk, true),
                FileRead::NothingNew => return all,
            };
            all.extend((0..chunk.len()).map(|index| {
                format!("{} {}", chunk.number(index), String::from_utf8_lossy(chunk.line(index)))
            }));
            if ended {
                return all;
            }
        }
    }

    #[test]
    fn a_file_that_is_not_followed_ends_with_its_last_line() {
        let bench = bench("a\nb");
        let mut source = InputFile::open(&bench.path, false, 1, 99).unwrap();
        assert!(matches!(source.read().unwrap(), FileRead::Lines(chunk) if chunk.line(0) == b"a"));
        assert!(matches!(source.read().unwrap(), FileRead::End(chunk) if chunk.line(0) == b"b"));
    }

    #[test]
    fn a_followed_line_waits_for_its_end() {
        let bench = bench("a\nhal");
        let mut source = InputFile::open(&bench.path, true, 9, 99).unwrap();
        assert_eq!(drain(&mut source), ["1 a"]);
        append(&bench.path, "f\nc\n");
        assert_eq!(drain(&mut source), ["2 half", "3 c"]);
        assert_eq!(source.read().unwrap(), FileRead::NothingNew);
    }

    #[test]
    fn a_truncated_file_is_read_from_its_beginning() {
        let bench = bench("one\ntwo\nhalf a li");
        let mut source = InputFile::open(&bench.path, true, 9, 99).unwrap();
        assert_eq!(drain(&mut source), ["1 one", "2 two"]);
        fs::write(&bench.path, "new\n").unwrap();
        assert_eq!(drain(&mut source), ["1 new"]);
    }

    #[test]
    fn a_replaced_file_is_read_to_its_end_and_the_new_one_from_its_beginning() {
        let bench = bench("one\n");
        let mut source = InputFile::open(&bench.path, true, 9, 99).unwrap();
        assert_eq!(drain(&mut source), ["1 one"]);
        let old = bench.path.with_extension("1");
        fs::rename(&bench.path, &old).unwrap();
        append(&old, "two\nlast without end");
        assert_eq!(drain(&mut source), ["2 two"], "a file that has lost its path is still read");
        fs::write(&bench.path, "a new and longer line\n").unwrap();
        append(&old, "!");
        assert_eq!(drain(&mut source), ["3 last without end!", "1 a new and longer line"]);
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = InputFile::open(folder.path(), false, 9, 99).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
    }
}
