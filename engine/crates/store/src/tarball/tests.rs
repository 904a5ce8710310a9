//! Tests of reading and writing; those against real tools are in the crate's integration tests.

use super::*;
use dhow_model::{ErrorKind, Result};
use proptest::prelude::*;

/// A header block with everything but the checksum and the magic at its simplest.
fn block(name: &str, flag: u8, size: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..124 + size.len()].copy_from_slice(size);
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sign(block)
}

fn sign(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn octal(size: usize) -> Vec<u8> {
    format!("{size:011o}\0").into_bytes()
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(BLOCK), 0);
    data
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..8).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).unwrap();
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    [&block("pax", b'x', &octal(body.len()))[..], &padded(&body)].concat()
}

const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// All members, with their data as the file that they describe.
fn read_all(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(tar);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = vec![0; usize::try_from(entry.size).unwrap().min(1 << 20)];
        while let Some((offset, bytes)) = reader.next_chunk()? {
            if let Some(place) =
                data.get_mut(usize::try_from(offset).unwrap()..).and_then(|d| d.get_mut(..bytes.len()))
            {
                place.copy_from_slice(bytes);
            }
        }
        all.push((entry, data));
    }
    reader.finish()?;
    Ok(all)
}

#[test]
fn what_the_writer_writes_the_reader_reads() {
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    writer.directory("blobs/", 0).unwrap();
    writer.file("blobs/a", 1_700_000_000, b"hello").unwrap();
    writer.file("empty", 0, b"").unwrap();
    writer.finish().unwrap();
    assert_eq!(tar.len() as u64, file_span(0) + file_span(5) + file_span(0) + 1024);
    let all = read_all(&tar).unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].0.kind, all[0].0.path.as_slice()), (Kind::Directory, &b"blobs/"[..]));
    assert_eq!((all[1].1.as_slice(), all[1].0.mtime.seconds), (&b"hello"[..], 1_700_000_000));
    assert_eq!((all[1].0.header_at, all[1].0.data_at), (512, 1024));
}

#[test]
fn pax_overrides_everything() {
    let tar = [
        pax(&[
            ("path", "dir/\u{fc}ber".as_bytes()),
            ("uid", b"4294967294"),
            ("mtime", b"-1.25"),
            ("SCHILY.xattr.user.a", b"x\ny=z"),
            ("LIBARCHIVE.xattr.user.b%3d", b"aGk"),
            ("LIBARCHIVE.xattr.user.a", b"AAAA"),
        ]),
        block("short", b'0', &octal(3)).to_vec(),
        padded(b"abc"),
        END.to_vec(),
    ]
    .concat();
    let all = read_all(&tar).unwrap();
    let (entry, data) = &all[0];
    assert_eq!(entry.path, "dir/\u{fc}ber".as_bytes());
    assert_eq!((entry.uid, entry.mtime), (4_294_967_294, Mtime { seconds: -2, nanos: 750_000_000 }));
    let want = [(b"user.a".to_vec(), b"x\ny=z".to_vec()), (b"user.b=".to_vec(), b"hi".to_vec())];
    assert_eq!(entry.xattrs, want);
    assert_eq!(data, b"abc");
}

#[test]
fn numbers_in_base_256() {
    let mut file = block("big", b'0', &octal(0));
    file[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
    file[136..148].copy_from_slice(&[0xff; 12]);
    let all = read_all(&[&sign(file)[..], &END].concat()).unwrap();
    assert_eq!((all[0].0.uid, all[0].0.mtime.seconds), (4_294_967_294, -1));
    assert_eq!(header::number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
    assert_eq!(header::number(&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), None);
    assert_eq!(header::number(b"  644 \0\0"), Some(0o644));
    assert_eq!(header::number(b"9\0"), None);
    assert_eq!(header::number(b"\0\0\0"), Some(0));
}

#[test]
fn errors_say_where_and_why() {
    let bad = |tar: &[u8]| {
        let error = read_all(tar).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        error.to_string()
    };
    let good = [&block("a", b'0', &octal(600))[..], &padded(&[1; 600])].concat();

    let mut flipped = [&good[..], &block("b", b'0', &octal(0))].concat();
    flipped[1536] ^= 1;
    let message = bad(&flipped);
    assert!(message.starts_with("corrupt tar at byte 1536: header checksum is 0x"), "{message}");

    let message = bad(&good[..700]);
    assert_eq!(
        message,
        "corrupt tar at byte 700: the archive ends, 412 more bytes of file data were to come"
    );
    assert_eq!(bad(&good[..100]), "corrupt tar at byte 0: the archive ends 100 bytes into a block");
    let message = bad(&[&pax(&[("path", b"x")])[..]].concat());
    assert_eq!(message, "corrupt tar at byte 1024: the archive ends after an extended header");
    let message = bad(&[&pax(&[("path", b"a\0b")])[..], &good].concat());
    assert!(message.ends_with("a name contains a NUL byte"), "{message}");
    let message = bad(&block("a", b'x', &octal(1 << 21)));
    assert!(message.contains("an extended header of 2097152 bytes"), "{message}");
    assert!(bad(&[&[0; BLOCK][..], &good].concat()).contains("lone block of zeros"));
}

#[test]
fn attributes_and_records_for_all_have_an_edge() {
    // Names of 16 bytes with their end: as many as Linux lists.
    let with = |many: usize| {
        let keys: Vec<String> = (0..many).map(|n| format!("SCHILY.xattr.user.{n:010}")).collect();
        let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), &b"v"[..])).collect();
        [&pax(&records)[..], &block("f", b'0', &octal(0)), &[0; 2 * BLOCK]].concat()
    };
    assert_eq!(read_all(&with(4096)).unwrap()[0].0.xattrs.len(), 4096);
    let error = read_all(&with(4097)).unwrap_err().to_string();
    assert!(error.contains("more extended attributes than Linux lists"), "{error}");
    // A record for every later member costs as often as there are members.
    let global = |value: usize| {
        let value = vec![b'v'; value];
        let mut header = pax(&[("comment", &value)]);
        let mut first: [u8; BLOCK] = header[..BLOCK].try_into().unwrap();
        first[156] = b'g';
        header[..BLOCK].copy_from_slice(&sign(first));
        header
    };
    let most = dhow_model::limits::HEADER_BYTES.most_here();
    let twice = |value: usize| [global(value), global(value), vec![0; 2 * BLOCK]].concat();
    assert!(read_all(&twice(most / 2 - 7)).is_ok());
    let error = read_all(&twice(most / 2 - 6)).unwrap_err().to_string();
    assert!(error.contains("its global records has 1048578 bytes; at most 1048576 are taken"), "{error}");
}

#[test]
fn the_end_is_known_to_be_marked_or_not() {
    let good = block("a", b'0', &octal(0)).to_vec();
    for (tail, marked) in [(&END[..], true), (&END[..BLOCK], true), (&[], false)] {
        let tar = [&good[..], tail].concat();
        let mut reader = Reader::new(&tar[..]);
        while reader.next_entry().unwrap().is_some() {}
        assert_eq!(reader.has_end_marker(), marked);
    }
}

#[test]
fn the_observer_sees_all_but_data() {
    #[derive(Default)]
    struct Seen(Vec<u8>);
    impl Observer for Seen {
        fn raw(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    let tail = [7; 100];
    let tar = [
        &block("a", b'0', &octal(3))[..],
        &padded(b"abc"),
        &block("b", b'0', &octal(2)),
        &padded(b"de"),
        &END,
        &tail,
    ]
    .concat();
    let mut reader = Reader::observed(&tar[..], Seen::default());
    reader.next_entry().unwrap();
    while reader.next_chunk().unwrap().is_some() {}
    // Nobody asks for the data of b.
    while reader.next_entry().unwrap().is_some() {}
    assert_eq!(reader.finish().unwrap(), tar.len() as u64);
    let mut want = tar.clone();
    want.drain(512..515);
    assert!(reader.into_observer().0 == want);
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let file = |map: &str, stored: usize| {
        let records: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"1000"), ("GNU.sparse.map", map.as_bytes())];
        [&pax(&records)[..], &block("s", b'0', &octal(stored)), &padded(&vec![1; stored]), &END].concat()
    };
    let all = read_all(&file("10,5,100,5", 10)).unwrap();
    assert_eq!((all[0].0.size, all[0].0.segments.len(), all[0].0.is_sparse()), (1000, 2, true));
    assert_eq!(&all[0].1[9..16], [0, 1, 1, 1, 1, 1, 0]);
    for (map, stored) in
        [("10,5,100,5", 11), ("10,5,12,5", 10), ("998,5", 5), ("10", 0), ("18446744073709551615,5", 5)]
    {
        assert!(read_all(&file(map, stored)).is_err(), "{map}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read_all(&bytes);
    }

    /// Real archives with some bytes changed, the checksums made right again.
    #[test]
    fn mutated_archives_never_panic(
        changes in proptest::collection::vec((0usize..8192, any::<u8>()), 1..6),
        cut in 0usize..8192,
    ) {
        let mut old_sparse = block("old", b'S', &octal(5));
        old_sparse[386..410].copy_from_slice(b"00000000012\x0000000000005\0");
        old_sparse[483..495].copy_from_slice(b"00000000100\0");
        let mut tar = [
            &pax(&[("path", b"x/y"), ("mtime", b"12.5"), ("SCHILY.xattr.user.a", b"v")])[..],
            &block("a", b'0', &octal(600)),
            &padded(&[1; 600]),
            &block("long", b'L', &octal(20)),
            &padded(b"0123456789012345678\0"),
            &block("l", b'2', &octal(0)),
            &sign(old_sparse),
            &padded(b"12345"),
            &pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"100")]),
            &block("s", b'0', &octal(517)),
            &padded(&[&padded(b"1\n10\n5\n")[..], b"12345"].concat()),
            &END,
        ]
        .concat();
        prop_assert!(read_all(&tar).is_ok());
        for (at, byte) in changes {
            let at = at % tar.len();
            tar[at] = byte;
            let start = at / BLOCK * BLOCK;
            if tar[start..][257..262] == *b"ustar" {
                let mut one = [0; BLOCK];
                one.copy_from_slice(&tar[start..start + BLOCK]);
                tar[start..start + BLOCK].copy_from_slice(&sign(one));
            }
        }
        let _ = read_all(&tar);
        let _ = read_all(&tar[..cut.min(tar.len())]);
    }

    /// However the input comes in pieces, the result is the same.
    #[test]
    fn pieces_do_not_matter(size in 1usize..700) {
        let tar = [&pax(&[("path", b"x/y")])[..], &block("a", b'0', &octal(600)), &padded(&[1; 600]), &END].concat();
        let mut reader = Reader::new(std::io::BufReader::with_capacity(size, &tar[..]));
        let entry = reader.next_entry().unwrap().unwrap();
        prop_assert_eq!(&entry.path, b"x/y");
        let mut count = 0;
        while let Some((offset, bytes)) = reader.next_chunk().unwrap() {
            prop_assert_eq!(offset, count);
            count += bytes.len() as u64;
        }
        prop_assert_eq!(count, 600);
        prop_assert!(reader.next_entry().unwrap().is_none());
    }
}
