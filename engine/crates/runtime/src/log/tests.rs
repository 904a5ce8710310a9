//! Writer and reader together: everything that was written is read, once, in order.

use super::*;
use dhow_model::container::LogConfig;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn config(max_size_bytes: u64, max_files: u32) -> LogConfig {
    LogConfig { max_size_bytes, max_files, ..LogConfig::default() }
}

fn read(path: &Path, options: ReadOptions) -> Vec<LogEntry> {
    LogReader::open(path, options).unwrap().map(Result::unwrap).collect()
}

fn texts(entries: &[LogEntry]) -> Vec<String> {
    entries.iter().map(|e| String::from_utf8(e.line.clone()).unwrap()).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

/// What Docker makes of bytes that are not UTF-8.
fn lossy(mut bytes: &[u8]) -> String {
    let mut out = String::new();
    while !bytes.is_empty() {
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        out.push_str(std::str::from_utf8(&bytes[..valid]).unwrap());
        bytes = &bytes[valid..];
        if !bytes.is_empty() {
            out.push('\u{fffd}');
            bytes = &bytes[1..];
        }
    }
    out
}

#[test]
fn the_bytes_in_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut writer = JsonFileWriter::open(&path, &LogConfig::default(), &BTreeMap::new()).unwrap();
    writer.write(Stream::Stdout, Timestamp(1_800_000_000_012_500_000), b"one\ntwo <&>\nthr").unwrap();
    writer.write(Stream::Stderr, at(0), b"oops\n").unwrap();
    writer.write(Stream::Stdout, at(1), b"ee\nrest").unwrap();
    writer.end(Stream::Stdout, at(2)).unwrap();
    writer.end(Stream::Stderr, at(2)).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        concat!(
            r#"{"log":"one\n","stream":"stdout","time":"2027-01-15T08:00:00.0125Z"}"#,
            "\n",
            r#"{"log":"two \u003c\u0026\u003e\n","stream":"stdout","time":"2027-01-15T08:00:00.0125Z"}"#,
            "\n",
            r#"{"log":"oops\n","stream":"stderr","time":"2027-01-15T08:00:00Z"}"#,
            "\n",
            r#"{"log":"three\n","stream":"stdout","time":"2027-01-15T08:00:01Z"}"#,
            "\n",
            r#"{"log":"rest","stream":"stdout","time":"2027-01-15T08:00:02Z"}"#,
            "\n",
        )
    );
}

#[test]
fn long_lines_come_in_pieces() {
    let scratch = tempfile::tempdir().unwrap();
    for chunk in [1000, 16 << 10, 50_000, 1 << 20] {
        let path = scratch.path().join(chunk.to_string());
        let mut writer = JsonFileWriter::open(&path, &LogConfig::default(), &BTreeMap::new()).unwrap();
        // Three bytes a character: 16384 is not a multiple of three, and characters must stay whole.
        let mut line = "€".repeat(13_000);
        line.push_str("\nnext\n");
        for (index, part) in line.as_bytes().chunks(chunk).enumerate() {
            writer.write(Stream::Stdout, at(i64::try_from(index).unwrap()), part).unwrap();
        }
        let entries = read(&path, ReadOptions::default());
        let lengths: Vec<usize> = entries.iter().map(|e| e.line.len()).collect();
        assert_eq!(lengths, [16_383, 16_383, 39_000 - 2 * 16_383 + 1, 5], "chunks of {chunk}");
        assert_eq!(texts(&entries).concat(), line);
        assert!(entries[0].time == entries[1].time && entries[1].time == entries[2].time);
    }
}

#[test]
fn exactly_a_full_piece() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut writer = JsonFileWriter::open(&path, &LogConfig::default(), &BTreeMap::new()).unwrap();
    let line = format!("{}\n", "x".repeat(16 << 10));
    writer.write(Stream::Stdout, at(0), line.as_bytes()).unwrap();
    writer.write(Stream::Stdout, at(0), &line.as_bytes()[1..]).unwrap();
    let lengths: Vec<usize> = read(&path, ReadOptions::default()).iter().map(|e| e.line.len()).collect();
    assert_eq!(lengths, [16 << 10, 1, 16 << 10]);
}

#[test]
fn rotation_keeps_the_newest() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut writer = JsonFileWriter::open(&path, &config(1000, 3), &BTreeMap::new()).unwrap();
    for n in 0..100 {
        writer.write(Stream::Stdout, at(n), format!("line {n}\n").as_bytes()).unwrap();
    }
    let mut names: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["log", "log.1", "log.2"]);
    for name in names {
        assert!(std::fs::metadata(scratch.path().join(name)).unwrap().len() <= 1000);
    }
    let got = texts(&read(&path, ReadOptions::default()));
    let want: Vec<String> = (100 - got.len()..100).map(|n| format!("line {n}\n")).collect();
    assert!(got.len() > 25);
    assert_eq!(got, want);
    for tail in [0, 1, 5, 20, got.len(), 500] {
        let options = ReadOptions { tail: Some(tail as u64), ..ReadOptions::default() };
        let kept = tail.min(got.len());
        assert_eq!(texts(&read(&path, options)), want[want.len() - kept..], "tail {tail}");
    }
}

#[test]
fn one_file_only() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut writer = JsonFileWriter::open(&path, &config(200, 1), &BTreeMap::new()).unwrap();
    for n in 0..10 {
        writer.write(Stream::Stdout, at(n), format!("line {n}\n").as_bytes()).unwrap();
    }
    assert_eq!(texts(&read(&path, ReadOptions::default())).last().unwrap(), "line 9\n");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn times_and_streams_select() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut writer = JsonFileWriter::open(&path, &LogConfig::default(), &BTreeMap::new()).unwrap();
    for n in 0..10 {
        let stream = if n % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
        writer.write(stream, at(n), format!("{n}\n").as_bytes()).unwrap();
    }
    let all = ReadOptions::default();
    let of = |options| texts(&read(&path, options)).concat().replace('\n', "");
    assert_eq!(of(ReadOptions { since: Some(at(7)), ..all }), "789");
    assert_eq!(of(ReadOptions { until: Some(at(2)), ..all }), "012");
    assert_eq!(of(ReadOptions { stderr: false, ..all }), "02468");
    assert_eq!(of(ReadOptions { stdout: false, tail: Some(4), ..all }), "79");
}

#[test]
fn torn_ends_are_repaired_and_garbage_is_skipped() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut writer = JsonFileWriter::open(&path, &LogConfig::default(), &BTreeMap::new()).unwrap();
    writer.write(Stream::Stdout, at(0), b"one\n").unwrap();
    drop(writer);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\0\0\0\n{\"log\":\"torn").unwrap();
    assert_eq!(texts(&read(&path, ReadOptions::default())), ["one\n"]);
    // A follower has seen the torn line too, and must not glue it to the next one.
    let mut follower =
        LogReader::open(&path, ReadOptions { follow: true, ..ReadOptions::default() }).unwrap();
    assert_eq!(follower.by_ref().count(), 1);
    let mut writer = JsonFileWriter::open(&path, &LogConfig::default(), &BTreeMap::new()).unwrap();
    writer.write(Stream::Stdout, at(1), b"two\n").unwrap();
    assert_eq!(texts(&read(&path, ReadOptions::default())), ["one\n", "two\n"]);
    assert_eq!(texts(&follower.map(Result::unwrap).collect::<Vec<_>>()), ["two\n"]);
}

#[test]
fn a_full_disk_tears_no_line() {
    // /dev/full refuses every write; set_len fails on it too, and neither may panic or keep the buffer.
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let mut writer = JsonFileWriter::open(&path, &LogConfig::default(), &BTreeMap::new()).unwrap();
    assert!(writer.write(Stream::Stdout, at(0), b"lost\n").is_err());
    assert!(writer.write(Stream::Stdout, at(0), b"lost too\n").is_err());
}

#[test]
fn following_from_before_the_first_line_to_the_end() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut reader = LogReader::open(&path, ReadOptions { follow: true, ..ReadOptions::default() }).unwrap();
    assert_eq!(reader.poll_next().unwrap(), Next::Pending);
    let lines = 20_000;
    let writing = std::thread::spawn({
        let path = path.clone();
        move || {
            // Small files and many of them: some three hundred rotations while the reader runs.
            let mut writer = JsonFileWriter::open(&path, &config(5000, 1000), &BTreeMap::new()).unwrap();
            for n in 0..lines {
                writer
                    .write(Stream::Stdout, SystemTime::now().into(), format!("line {n}\n").as_bytes())
                    .unwrap();
            }
        }
    });
    for n in 0..lines {
        match reader.next_blocking(Some(Duration::from_secs(20))).unwrap() {
            Next::Entry(entry) => assert_eq!(String::from_utf8(entry.line).unwrap(), format!("line {n}\n")),
            other => panic!("{other:?} instead of line {n}"),
        }
    }
    writing.join().unwrap();
    assert_eq!(reader.next_blocking(Some(Duration::from_millis(10))).unwrap(), Next::Pending);
    reader.finish();
    assert_eq!(reader.poll_next().unwrap(), Next::End);
}

#[test]
fn following_ends_with_the_directory_or_at_its_time() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("container");
    std::fs::create_dir(&directory).unwrap();
    let options = ReadOptions { follow: true, ..ReadOptions::default() };
    let mut reader = LogReader::open(&directory.join("log"), options).unwrap();
    assert_eq!(reader.poll_next().unwrap(), Next::Pending);
    std::fs::remove_dir(&directory).unwrap();
    assert_eq!(reader.next_blocking(Some(Duration::from_secs(5))).unwrap(), Next::End);

    let soon = Timestamp::from(SystemTime::now() + Duration::from_millis(50));
    let options = ReadOptions { until: Some(soon), ..options };
    let mut reader = LogReader::open(&scratch.path().join("log"), options).unwrap();
    assert_eq!(reader.next_blocking(Some(Duration::from_secs(5))).unwrap(), Next::End);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read(
        chunks in prop::collection::vec(
            (any::<bool>(), prop_oneof![
                prop::collection::vec(any::<u8>(), 0..50),
                prop::collection::vec(prop::sample::select(vec![b'a', b'\n', 0xe2, 0x82, 0xac]), 0..50),
                (0usize..40_000).prop_map(|n| vec![b'x'; n]),
                (0usize..9_000).prop_map(|n| "€".repeat(n).into_bytes()),
            ]), 0..12),
        max_size in prop_oneof![Just(0u64), 100u64..30_000],
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        let mut writer = JsonFileWriter::open(&path, &config(max_size, 100_000), &BTreeMap::new()).unwrap();
        let mut follower = LogReader::open(&path, ReadOptions { follow: true, ..ReadOptions::default() }).unwrap();
        let mut followed = Vec::new();
        let mut sent: [Vec<u8>; 2] = Default::default();
        for (index, (err, bytes)) in chunks.iter().enumerate() {
            let stream = if *err { Stream::Stderr } else { Stream::Stdout };
            writer.write(stream, at(i64::try_from(index).unwrap()), bytes).unwrap();
            sent[usize::from(*err)].extend(bytes);
            followed.extend(follower.by_ref().map(Result::unwrap));
        }
        writer.end(Stream::Stdout, at(99)).unwrap();
        writer.end(Stream::Stderr, at(99)).unwrap();
        followed.extend(follower.by_ref().map(Result::unwrap));
        let entries = read(&path, ReadOptions::default());
        for (err, sent) in sent.iter().enumerate() {
            let of_stream = |e: &&LogEntry| (e.stream == Stream::Stderr) == (err == 1);
            let got: Vec<u8> = entries.iter().filter(of_stream).flat_map(|e| e.line.clone()).collect();
            prop_assert_eq!(String::from_utf8(got).unwrap(), lossy(sent));
        }
        prop_assert!(entries.iter().all(|e| e.line.len() <= writer::ENTRY_TEXT_MAX * 3 && !e.line.is_empty()));
        for tail in [0, 1, 7] {
            let kept = entries.len() - entries.len().min(tail);
            let options = ReadOptions { tail: Some(tail as u64), ..ReadOptions::default() };
            prop_assert_eq!(read(&path, options), entries[kept..].to_vec());
        }
        prop_assert_eq!(followed, entries);
    }
}
