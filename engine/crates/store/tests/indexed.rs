//! Indexed layers beside unpacked ones: what an index can say it says exactly, and what it cannot is unpacked.

use crate::support::{Scratch, Tar, assert_same, facts};
use proptest::prelude::*;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

/// Installs a tar in both forms: the trees are the same, or the refusals are.
#[track_caller]
fn same_in_both(both: &[Scratch; 2], tar: &[u8]) -> bool {
    let [unpacked, indexed] = both;
    let (left, right) = match (unpacked.install(tar), indexed.install(tar)) {
        (Ok(left), Ok(right)) => (left, right),
        // Which of several faults is told may differ: an index is made of a tar that was walked to its end.
        (Err(_), Err(_)) => return false,
        (left, right) => panic!("unpacked: {left:?}\nindexed: {right:?}"),
    };
    assert_eq!(left, right);
    let id = &left.diff_id;
    // Through the overlay whiteouts and opaque directories are gone: so both views count.
    let [want, got] = both.each_ref().map(|scratch| {
        let mut all = facts(&scratch.tree(id).path, &[]);
        let merged = facts(&scratch.overlay(std::slice::from_ref(id)).path, &[]);
        all.extend(merged.into_iter().map(|(path, one)| ([b"merged/", &path[..]].concat(), one)));
        // A root that no member describes has the time at which it was made, or none.
        for root in [&b""[..], b"merged/"] {
            all.get_mut(root).unwrap().mtime = (0, 0);
        }
        all
    });
    assert_same(&want, &got, "unpacked and indexed");
    assert!(indexed.export(id) == tar);
    let was_indexed = indexed.is_indexed(id);
    for scratch in both {
        use dhow_store::layer::LayerStore;
        scratch.layers.remove(id).unwrap();
        assert!(scratch.leftovers().is_empty());
    }
    was_indexed
}

#[test]
fn large_directories_old_times_and_large_ids() {
    let both = Scratch::both();
    let mut tar = Tar::new().dir("./", 0o755).dir("many", 0o755);
    for n in 0..18_000 {
        let data = if n % 100 == 0 { format!("{n}") } else { String::new() };
        tar = tar.file(&format!("many/entry-{n:x}"), data.as_bytes());
    }
    let tar = tar
        .pax(&[("mtime", b"-2000000000.75"), ("uid", b"4294967294"), ("gid", b"70000")])
        .file("old", b"x")
        .pax(&[("mtime", b"7000000000.000000001")])
        .file("new", b"x")
        .raw(&[b"n".repeat(255), b"/".to_vec(), b"m".repeat(255)].concat(), b'0', b"", 0o4755, b"long")
        .file("-before-dot", b"sorted before . and ..")
        .file("!", b"")
        .dir("..almost", 0o700)
        .pax(&[
            ("SCHILY.xattr.user.a", &b"v".repeat(3000)),
            ("SCHILY.xattr.trusted.b", b""),
            ("SCHILY.xattr.security.c", b"x"),
        ])
        .file("with-attributes", b"x")
        .pax(&[("linkpath", "t".repeat(2000).as_bytes())])
        .raw(b"far-link", b'2', b"", 0o777, b"")
        .hard_link("many/again", "old")
        .hard_link("..almost/link-to-link", "far-link")
        .end();
    assert!(same_in_both(&both, &tar), "it was unpacked");
}

#[test]
fn later_members_win_in_both_forms() {
    let both = Scratch::both();
    let tar = Tar::new()
        .file("x", b"first")
        .file("x", b"second")
        .hard_link("y", "x")
        .file("x", b"third")
        .dir("d", 0o700)
        .file("d/inner", b"gone")
        .hard_link("out", "d/inner")
        .file("d/deep/er", b"gone too")
        .symlink("d", "e")
        .pax(&[("SCHILY.xattr.user.first", b"1")])
        .dir("e", 0o755)
        .pax(&[("SCHILY.xattr.user.second", b"2")])
        .dir("e", 0o750)
        .file("g", b"was a file")
        .dir("g", 0o755)
        .file(".wh.h", b"")
        .file("h/in", b"anew")
        .file(".wh.k", b"")
        .dir("k", 0o711)
        .file("l/in", b"x")
        .file(".wh.l", b"")
        .hard_link("x2", "x")
        .hard_link("x", "x2")
        .end();
    assert!(same_in_both(&both, &tar), "it was unpacked");
}

#[test]
fn what_an_index_cannot_say_is_unpacked() {
    let both = Scratch::both();
    let odd_map: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"5000"), ("GNU.sparse.map", b"100,10,2000,5")];
    for (what, tar) in [
        ("pieces that are not blocks", Tar::new().pax(&odd_map).file("s", b"0123456789abcde")),
        ("below a link", Tar::new().dir("d", 0o755).symlink("l", "d").file("l/f", b"x")),
        ("no such sort", Tar::new().pax(&[("SCHILY.xattr.system.odd", b"x")]).file("a", b"")),
        ("user attributes of a link", Tar::new().pax(&[("SCHILY.xattr.user.x", b"x")]).symlink("a", "b")),
    ] {
        assert!(!same_in_both(&both, &tar.end()), "{what}: it was indexed");
    }
}

#[test]
fn holes_are_holes_and_nothing_shows_behind_the_end() {
    let scratch = Scratch::indexed();
    // Two blocks of data far apart; what the tar has behind them is another member.
    let map: [(&str, &[u8]); 2] =
        [("GNU.sparse.size", b"1000100"), ("GNU.sparse.map", b"4096,512,999936,164")];
    let tar = Tar::new()
        .pax(&map)
        .file("sparse", &[b"a".repeat(512), b"b".repeat(164)].concat())
        .file("short", b"short")
        .file("next", &b"n".repeat(5000))
        .end();
    let layer = scratch.install(&tar).unwrap();
    assert!(scratch.is_indexed(&layer.diff_id));
    let tree = scratch.tree(&layer.diff_id);
    let sparse = std::fs::File::open(tree.path.join("sparse")).unwrap();
    let mut all = vec![1; 1_000_100];
    sparse.read_exact_at(&mut all, 0).unwrap();
    let mut want = vec![0; 1_000_100];
    want[4096..4608].fill(b'a');
    want[999_936..].fill(b'b');
    assert!(all == want);
    // A mapped page is zero behind the end of its file, as everywhere.
    let short = std::fs::File::open(tree.path.join("short")).unwrap();
    let page = dhow_sys::fsat::Mapping::of_file(&short).unwrap();
    assert_eq!(&page[..], b"short");
    let behind = nix::sys::uio::pread(&short, &mut [0; 64], 5).unwrap();
    assert_eq!(behind, 0);
    assert_eq!(
        scratch.layout.layer(&layer.diff_id).join("tar").metadata().unwrap().permissions().mode() & 0o7777,
        0o400
    );
}

#[test]
fn a_tar_without_an_end_is_padded_but_exported_as_it_was() {
    let scratch = Scratch::indexed();
    let mut tar = Tar::new().file("a", b"0123456789").0;
    tar.truncate(522);
    let layer = scratch.install(&tar).unwrap();
    assert!(scratch.is_indexed(&layer.diff_id));
    assert!(scratch.export(&layer.diff_id) == tar);
    let kept = scratch.layout.layer(&layer.diff_id).join("tar").metadata().unwrap();
    assert_eq!(kept.size() % 512, 0);
    let tree = scratch.tree(&layer.diff_id);
    assert_eq!(std::fs::read(tree.path.join("a")).unwrap(), b"0123456789");
}

#[test]
fn both_forms_in_one_chain_with_more_than_127_layers() {
    let [unpacked, indexed] = Scratch::both();
    // One store, whose layers are made in turns.
    let other = dhow_store::layer::Layers::open(&unpacked.layout)
        .unwrap()
        .with_form(dhow_store::layer::LayerForm::Indexed, std::sync::Arc::new(crate::support::NoMounts));
    drop(indexed);
    let mut layers = Vec::new();
    for n in 0..150 {
        let mut tar = Tar::new()
            .file(&format!("all/f{n}"), format!("{n}").as_bytes())
            .file("last", n.to_string().as_bytes());
        if n > 0 {
            tar = tar.file(&format!("all/.wh.f{}", n - 1), b"");
        }
        if n == 0 {
            tar = tar.dir("all", 0o700);
        }
        let tar = tar.end();
        let (source, expected) =
            (dhow_store::layer::LayerSource::Bytes(&tar), dhow_store::layer::Expected::default());
        use dhow_store::layer::LayerStore;
        let store = if n % 2 == 0 { &unpacked.layers } else { &other };
        layers.push(store.install(source, expected, &()).unwrap().diff_id);
    }
    let tree = unpacked.overlay(&layers);
    let names: Vec<String> = std::fs::read_dir(tree.path.join("all"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["f149"]);
    assert_eq!(std::fs::read_to_string(tree.path.join("last")).unwrap(), "149");
    let directory = tree.path.join("all").metadata().unwrap();
    assert_eq!(directory.mode() & 0o7777, 0o700, "only the base says so: the others imply it");
    assert_eq!(directory.dev(), tree.path.join("last").metadata().unwrap().dev(), "one device for all");
}

/// Members over few names, so that they meet.
fn members() -> impl Strategy<Value = Vec<(u8, usize, usize, u32)>> {
    proptest::collection::vec((0u8..12, 0usize..10, 0usize..10, 0u32..0o10000), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn random_archives_are_the_same_in_both_forms(members in members()) {
        const NAMES: [&str; 10] = ["a", "b", "a/x", "a/y", "b/x", "a/x/1", "a/x/2", "b/x/1", "c", "./"];
        thread_local!(static BOTH: [Scratch; 2] = Scratch::both());
        let mut tar = Tar::new();
        for (kind, name, other, mode) in members {
            let (name, other) = (NAMES[name], NAMES[other]);
            let (parent, last) = name.rsplit_once('/').map_or(("", name), |(parent, last)| (parent, last));
            tar = match kind {
                0..=2 => tar.raw(name.as_bytes(), b'0', b"", mode, other.as_bytes()),
                3 | 4 => tar.raw(name.as_bytes(), b'5', b"", mode, b""),
                5 => tar.symlink(name, other),
                6 | 7 => tar.hard_link(name, other),
                8 => tar.file(&format!("{parent}/.wh.{last}"), b""),
                9 => tar.file(&format!("{name}/.wh..wh..opq"), b""),
                10 => tar.raw(name.as_bytes(), b'6', b"", mode, b""),
                _ => tar.pax(&[("SCHILY.xattr.trusted.t", other.as_bytes())]).raw(name.as_bytes(), b'5', b"", mode, b""),
            };
        }
        BOTH.with(|both| same_in_both(both, &tar.end()));
    }
}
