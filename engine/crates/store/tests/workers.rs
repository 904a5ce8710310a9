//! Layers whose small files are written by workers: in everything the same as those that one thread writes.

use crate::support::{Facted, Scratch, Tar, assert_same, facts};
use dhow_store::layer::{LayerStore, WorkersPlan};
use proptest::prelude::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Without workers, with one, with three: from the first file on.
fn three() -> [Scratch; 3] {
    [0, 1, 3].map(Scratch::with_workers)
}

/// All that can be seen of an installed layer, or the error, without names that differ each time.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    result: Result<(u64, Vec<String>), String>,
    links: Vec<u64>,
    /// What `kept/` holds; the names are inodes.
    kept: Vec<Vec<u8>>,
    notes: Option<Vec<u8>>,
    /// Missing when it names files in `kept/`.
    split: Option<Vec<u8>>,
}

fn outcome(scratch: &Scratch, tar: &[u8]) -> (Outcome, Facted) {
    let layer = match scratch.install(tar) {
        Ok(layer) => layer,
        Err(error) => {
            assert!(scratch.layers.list().unwrap().is_empty() && scratch.leftovers().is_empty());
            let result = Err(without_places(&error.to_string(), scratch));
            return (
                Outcome { result, links: Vec::new(), kept: Vec::new(), notes: None, split: None },
                Facted::new(),
            );
        }
    };
    let id = &layer.diff_id;
    assert!(scratch.export(id) == tar, "the exported tar differs");
    let directory = scratch.layout.layer(id);
    let tree = facts(&directory.join("diff"), &[]);
    let name = |path: &[u8]| directory.join("diff").join(Path::new(OsStr::from_bytes(path)));
    let links = tree.keys().map(|path| name(path).symlink_metadata().unwrap().nlink()).collect();
    let mut kept: Vec<Vec<u8>> = std::fs::read_dir(directory.join("kept"))
        .map(|list| list.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect())
        .unwrap_or_default();
    kept.sort();
    let split = kept.is_empty().then(|| std::fs::read(directory.join("split")).unwrap());
    let notes = std::fs::read(directory.join("notes")).ok();
    let result = Ok((layer.size_bytes, layer.warnings));
    scratch.layers.remove(id).unwrap();
    assert!(scratch.leftovers().is_empty());
    (Outcome { result, links, kept, notes, split }, tree)
}

fn without_places(text: &str, scratch: &Scratch) -> String {
    let text = text.replace(scratch.dir.path().to_str().unwrap(), "SCRATCH");
    let mut parts = text.split("/tmp/layer-");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        text + "/tmp/layer-" + part.trim_start_matches(|c: char| c.is_ascii_alphanumeric())
    })
}

/// Installs a tar in each of the three; gives what is the same in all.
#[track_caller]
fn same_in_all(three: &[Scratch; 3], tar: &[u8], root_has_a_time: bool) -> Outcome {
    let [want, one, more] = three.each_ref().map(|scratch| {
        let (outcome, mut tree) = outcome(scratch, tar);
        if let Some(root) = tree.get_mut(&b""[..]).filter(|_| !root_has_a_time) {
            root.mtime = (0, 0);
        }
        (outcome, tree)
    });
    for (got, what) in [(one, "one worker"), (more, "three workers")] {
        assert_same(&want.1, &got.1, what);
        assert_eq!(want.0, got.0, "{what}");
    }
    want.0
}

#[test]
fn the_error_is_that_of_the_first_member_that_failed() {
    let scratches = three();
    // No filesystem takes a name of more than 255 bytes.
    let too_long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    let spoilt =
        |tar: Tar, n: u32| tar.pax(&[(&too_long, b"x")]).file(&format!("d/f{n}"), &vec![7; n as usize * 10]);
    for (first, reader_fails_at) in [(0, 1), (100, 101), (100, 390), (399, 400), (500, 3), (500, 250)] {
        let mut tar = Tar::new().dir("d", 0o755);
        for n in 0..400 {
            tar = if n == first || n == first + 40 {
                spoilt(tar, n)
            } else if n == reader_fails_at {
                tar.hard_link("no", "such/file")
            } else {
                tar.file(&format!("d/f{n}"), &vec![7; n as usize * 10])
            };
        }
        let error = same_in_all(&scratches, &tar.end(), false).result.unwrap_err();
        let want = if first < reader_fails_at {
            format!("unpack \"d/f{first}\": write a layer: fsetxattr")
        } else {
            "unpack \"no\": the hard link's target".to_owned()
        };
        assert!(error.starts_with(&want), "{error}");
    }
    // Told of by its name, although the next member is to take that.
    let tar = spoilt(Tar::new(), 1).file("d/f1", b"replaces it").end();
    let error = same_in_all(&scratches, &tar, false).result.unwrap_err();
    assert!(!error.contains("deleted"), "{error}");
    // A tar that ends too early, behind a file that cannot be written.
    let mut tar = spoilt(Tar::new(), 1).file("next", &[1; 5000]).0;
    tar.truncate(tar.len() - 1000);
    let error = same_in_all(&scratches, &tar, false).result.unwrap_err();
    assert!(error.starts_with("unpack \"d/f1\""), "{error}");
}

#[test]
fn warnings_are_the_first_twenty_in_the_order_of_the_tar() {
    let scratches = three();
    let mut tar = Tar::new().dir("./", 0o755);
    for n in 0..300 {
        let name = format!("{n:03}");
        tar = match n % 7 {
            0 => tar.pax(&[("SCHILY.xattr.odd.one", b"1"), ("SCHILY.xattr.odd.two", b"2")]).file(&name, b"x"),
            3 => tar.pax(&[("SCHILY.xattr.odd.dir", b"1")]).dir(&name, 0o755),
            // Larger than what workers get.
            5 => tar.pax(&[("SCHILY.xattr.odd.large", b"1")]).file(&name, &vec![1; 300 << 10]),
            _ => tar.file(&name, b"x"),
        };
    }
    let (_, warnings) = same_in_all(&scratches, &tar.end(), true).result.unwrap();
    let told: Vec<&str> = warnings.iter().filter_map(|text| text.get(1..4)).collect();
    let want: Vec<String> = (0..300)
        .flat_map(|n| match n % 7 {
            0 => vec![n, n],
            3 | 5 => vec![n],
            _ => Vec::new(),
        })
        .take(20)
        .map(|n| format!("{n:03}"))
        .collect();
    assert_eq!(told, want);
}

#[test]
fn files_that_are_linked_or_replaced_while_they_are_written() {
    let scratches = three();
    let mut tar = Tar::new().dir("./", 0o755).dir("d", 0o2775);
    for n in 0..200 {
        let (name, again) = (format!("d/f{n}"), format!("again{n}"));
        let data = vec![u8::try_from(n).unwrap(); 6000 + n];
        tar = tar
            .pax(&[("uid", b"1000"), ("gid", b"70000"), ("SCHILY.xattr.user.n", name.as_bytes())])
            .raw(name.as_bytes(), b'0', b"", 0o6751, &data)
            // The header of a link says what its file is like, and is not heard.
            .raw(again.as_bytes(), b'1', name.as_bytes(), 0o600, b"");
        tar = match n % 5 {
            0 => tar.file(&name, b"replaced"),
            1 => tar.file(&name, b"replaced, and it has no other name").file(&again, b""),
            2 => tar.symlink(&name, &again),
            3 => tar.dir(&name, 0o711).file(&format!("{name}/inner"), b"x"),
            _ => tar.file(&format!("d/.wh.f{n}"), b""),
        };
    }
    let tar = tar.file("e/gone", b"gone").symlink("e", "d").file("e/last", b"through a link").end();
    let outcome = same_in_all(&scratches, &tar, true);
    // Two of five lose all their names, and so does `e/gone`.
    assert_eq!((outcome.result.unwrap().1, outcome.kept.len()), (Vec::new(), 161));
}

/// As [`crate::workers::same_in_all`] has it, with the plan that everybody gets.
#[test]
fn a_layer_with_many_files_is_the_same_by_itself() {
    let mut tar = Tar::new().dir("./", 0o755);
    for n in 0..3000 {
        tar = tar.raw(
            format!("{}/{n}", n % 30).as_bytes(),
            b'0',
            b"",
            0o600 + n % 64,
            n.to_string().repeat(40).as_bytes(),
        );
    }
    let tar = tar.end();
    let (want, want_tree) = outcome(&Scratch::with_workers(0), &tar);
    let (got, tree) = outcome(&Scratch::new(), &tar);
    assert_same(&want_tree, &tree, "by itself");
    assert_eq!(want, got);
    assert_eq!(WorkersPlan::default(), WorkersPlan { after: 500, count: None });
}

#[test]
fn a_directory_keeps_its_time_when_the_link_to_it_is_replaced() {
    let time = |seconds: &'static str| [("mtime", seconds.as_bytes())];
    let tar = Tar::new()
        .dir("./", 0o755)
        .raw(b"to", b'2', b"real", 0o777, b"")
        .pax(&time("1500000000.25"))
        .dir("to/inner", 0o755)
        .file("to", b"a file now")
        .end();
    let scratch = Scratch::new();
    let (_, tree) = outcome(&scratch, &tar);
    assert_eq!(tree[&b"real/inner"[..]].mtime, (1_500_000_000, 250_000_000));
    assert_eq!(tree[&b"to"[..]].size, 10, "the link is a file now");
}

/// In a process of its own, where files can have no more than 100 KiB, and nobody is ended for trying.
#[test]
fn a_file_that_cannot_be_written_is_named() {
    const LIMITED: &str = "DHOW_TEST_LIMITED";
    let name = "workers::a_file_that_cannot_be_written_is_named";
    if std::env::var_os(LIMITED).is_none() {
        let script = r#"trap '' XFSZ; ulimit -f 100; exec "$0" --exact "$1""#;
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script]).arg(std::env::current_exe().unwrap()).arg(name).env(LIMITED, "1");
        let out = command.output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut tar = Tar::new().dir("d", 0o755);
    for n in 0..100 {
        let length = if n == 30 || n == 70 { 110 << 10 } else { 3000 };
        tar = tar.file(&format!("d/f{n}"), &vec![1; length]);
    }
    let error = same_in_all(&three(), &tar.end(), false).result.unwrap_err();
    assert!(
        error.starts_with("unpack \"d/f30\": write a layer: pwrite ") && error.ends_with("file too large"),
        "{error}"
    );
}

/// One member, over few names, so that they meet.
#[derive(Debug, Clone)]
struct Member {
    kind: u8,
    name: usize,
    other: usize,
    mode: u32,
    length: usize,
    /// Owner and extended attributes, by chance.
    extra: u8,
}

const NAMES: [&str; 14] =
    ["a", "b", "c", "a/x", "a/y", "b/x", "c/x", "a/x/1", "a/x/2", "b/x/1", "c/x/deep/er", "d", "e", "./"];

fn members() -> impl Strategy<Value = Vec<Member>> {
    let length = prop_oneof![
        4 => Just(0usize),
        12 => 1usize..3000,
        3 => 60_000usize..70_000,
        1 => (250usize << 10)..(260 << 10),
    ];
    let mode = prop_oneof![Just(0o644u32), 0u32..0o10000];
    let member = (0u8..32, 0..NAMES.len(), 0..NAMES.len(), mode, length, 0u8..=255).prop_map(
        |(kind, name, other, mode, length, extra)| Member { kind, name, other, mode, length, extra },
    );
    proptest::collection::vec(member, 1..70)
}

fn append(tar: Tar, number: usize, member: &Member) -> Tar {
    let Member { kind, name, other, mode, length, extra } = *member;
    let (name, other) = (NAMES[name], NAMES[other]);
    let (parent, last) = name.rsplit_once('/').map_or((".", name), |(parent, last)| (parent, last));
    let mtime = (1_500_000_000 + number).to_string() + ".25";
    let too_long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    let mut records: Vec<(&str, &[u8])> = vec![("mtime", mtime.as_bytes())];
    if extra & 1 != 0 {
        records.extend([("uid", &b"1000"[..]), ("gid", b"50")]);
    }
    if extra & 6 == 6 {
        records.push(("SCHILY.xattr.user.test", other.as_bytes()));
    }
    if extra & 0x38 == 0x38 {
        records.push(("SCHILY.xattr.odd.test", b"a warning"));
    }
    if extra == 0xc0 {
        records.push((&too_long, b"an error"));
    }
    let sparse_size = (length + 10_000).to_string();
    let sparse_map = format!("5000,{length}");
    let (name_bytes, data) = (name.as_bytes(), vec![u8::try_from(number).unwrap(); length]);
    match kind {
        0..=13 => tar.pax(&records).raw(name_bytes, b'0', b"", mode, &data),
        14 => {
            records.extend([
                ("GNU.sparse.size", sparse_size.as_bytes()),
                ("GNU.sparse.map", sparse_map.as_bytes()),
            ]);
            tar.pax(&records).raw(name_bytes, b'0', b"", mode, &data)
        }
        15..=20 => tar.pax(&records).raw(name_bytes, b'5', b"", mode, b""),
        21 | 22 => tar.pax(&records).raw(name_bytes, b'2', other.as_bytes(), mode, b""),
        23..=27 => tar.pax(&records).raw(name_bytes, b'1', other.as_bytes(), mode, b""),
        28 => tar.pax(&records).raw(name_bytes, b'6', b"", mode, b""),
        29 => tar.pax(&records).file(&format!("{name}/.wh..wh..opq"), b""),
        _ => tar.pax(&records).file(&format!("{parent}/.wh.{last}"), b""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn random_archives_are_the_same_with_workers(members in members()) {
        thread_local!(static THREE: [Scratch; 3] = three());
        // What an archive with an error has before it is an archive without: both are seen.
        let whole = members.iter().enumerate().fold(Tar::new(), |tar, (n, member)| append(tar, n, member));
        // A file whose name ends with a slash is a directory.
        let root_has_a_time = |members: &[Member]| members.iter().any(|m| NAMES[m.name] == "./" && m.kind <= 20);
        THREE.with(|three| {
            if same_in_all(three, &whole.end(), root_has_a_time(&members)).result.is_err() {
                // The longest beginning that is an archive without a fault.
                let (mut good, mut bad) = (0, members.len());
                let beginning = |length: usize| {
                    members[..length].iter().enumerate().fold(Tar::new(), |tar, (n, m)| append(tar, n, m)).end()
                };
                while bad - good > 1 {
                    let middle = good.midpoint(bad);
                    match three[0].install(&beginning(middle)) {
                        Ok(layer) => {
                            three[0].layers.remove(&layer.diff_id).unwrap();
                            good = middle;
                        }
                        Err(_) => bad = middle,
                    }
                }
                same_in_all(three, &beginning(good), root_has_a_time(&members[..good])).result.unwrap();
            }
        });
    }
}
