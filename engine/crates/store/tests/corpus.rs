//! Layers that GNU tar made of nasty files: the tree is what GNU tar itself extracts, the exported tar is the same
//! to the byte, and so is the tree when the layer comes compressed.

use crate::support::{Facted, Scratch, Tar, assert_same, facts, sh};
use dhow_store::content::digest_of;
use dhow_store::layer::{Expected, LayerSource, LayerStore};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// Files of every sort in `nasty/`.
const MAKE: &str = r#"
umask 022
mkdir nasty; cd nasty
mkdir -p a/b/c empty 'name with blanks' d-01777 d-setgid
chmod 1777 d-01777; chmod 2775 d-setgid; chown 0:50 d-setgid
echo hello > a/file; echo inside > d-setgid/in; : > a/zero
head -c 3000000 /dev/urandom > a/big
head -c 9000000 /dev/zero | tr '\0' x > a/large
echo 1 > a/b/one; ln a/b/one a/b/c/two; ln a/b/one three
ln -s ../file a/b/relative; ln -s /etc/passwd absolute; ln -s nowhere dangling; ln -s a link-to-dir
ln -s "$(printf 'x%.0s' $(seq 1 300))" long-target
echo s > suid; chmod 4755 suid; echo g > sgid; chmod 2755 sgid
echo n > none; chmod 0000 none; echo t > sticky; chmod 1644 sticky
chown 1000:2000 a/file; chown 4294967294:4294967293 a/zero; chown -h 12:34 dangling
mknod char c 5 1; mknod block b 7 300; mkfifo pipe; chmod 0620 char; chown 0:5 char
touch -d '1955-11-05 06:15:00.25' a/file; touch -d '2038-02-01 00:00:00.123456789' a/big
touch -h -d '2001-02-03 04:05:06.5' dangling; touch -d '1969-12-31 23:59:59' pipe
mkdir many; for i in $(seq 1 2000); do : > many/f$i; done
long=$(printf 'n%.0s' $(seq 1 255)); echo long > "$long"
deep=deep; for i in $(seq 1 20); do deep=$deep/$(printf 'd%.0s' $(seq 1 60)); done; mkdir -p $deep; echo deep > $deep/file
echo latin > "$(printf 'caf\xe9')"; echo utf > 'größe'; echo nl > "$(printf 'line\nfeed')"
truncate -s 10M sparse; for at in 0 1000000 5000000; do printf data | dd of=sparse bs=1 seek=$at conv=notrunc status=none; done
truncate -s 4M hole-only
setfattr -n user.note -v 'a=b' a/file; setfattr -n user.bin -v 0x00ff0a3d00 a/big; setfattr -n user.dir -v dir empty
setfattr -n trusted.x -v y a/b; setfattr -h -n trusted.link -v l dangling
cp /bin/true capable; setcap cap_net_raw,cap_net_bind_service+ep capable
touch -d '1970-01-01 00:00:01' a/b; touch -d '2020-05-05 05:05:05.555555555' a; touch -d '1999-09-09' .
"#;

const FORMS: &[(&str, &str)] = &[
    ("pax", "--format=posix --xattrs --xattrs-include='*'"),
    ("pax sparse 1.0", "--format=posix --xattrs --xattrs-include='*' --sparse --sparse-version=1.0"),
    ("pax sparse 0.1", "--format=posix --xattrs --xattrs-include='*' --sparse --sparse-version=0.1"),
    ("pax sparse 0.0", "--format=posix --xattrs --xattrs-include='*' --sparse --sparse-version=0.0"),
    ("gnu", "--format=gnu"),
    ("gnu sparse", "--format=gnu --sparse"),
    ("oldgnu sparse", "--format=oldgnu --sparse --exclude=./a/zero"),
    (
        "ustar",
        "--format=ustar --exclude=./a/zero --exclude=./deep --exclude=./nnn* --exclude=./long-target --exclude=./a/file --exclude=./pipe --exclude=./a/b/relative",
    ),
    (
        "v7",
        "--format=v7 --exclude=./a/zero --exclude=./deep --exclude=./nnn* --exclude=./long-target --exclude=./a/file --exclude=./pipe --exclude=./char --exclude=./block",
    ),
];

#[test]
fn installed_and_exported_as_gnu_tar_does() {
    let [scratch, by_workers, indexed] = Scratch::all();
    let dir = scratch.dir.path();
    sh(dir, MAKE);
    for (name, options) in FORMS {
        sh(
            dir,
            &format!(
                "rm -rf want layer.tar; tar {options} -cf layer.tar -C nasty . 2>/dev/null; mkdir want; tar --xattrs --xattrs-include='*' --numeric-owner --same-owner -p -xf layer.tar -C want"
            ),
        );
        let tar = std::fs::read(scratch.path("layer.tar")).unwrap();
        let layer = scratch.install(&tar).unwrap();
        assert_eq!(layer.warnings, Vec::<String>::new());
        let diff = scratch.layers.lower_dir(&layer.diff_id);
        let (want, got) = (facts(&scratch.path("want"), &[]), facts(&diff, &[]));
        assert!(want.len() > 2000, "{name}: {}", want.len());
        assert_same(&want, &got, name);
        assert!(scratch.export(&layer.diff_id) == tar, "{name}: the exported tar differs");
        same_by_workers(&by_workers, &tar, &want, name);
        same_when_indexed(&indexed, &tar, &want, name);
        let mut through_overlay = facts(&scratch.overlay(std::slice::from_ref(&layer.diff_id)).path, &[]);
        through_overlay.insert(Vec::new(), want[&b""[..]].clone());
        assert_same(&want, &through_overlay, &format!("{name} through an overlay"));
        let info = scratch.layers.info(&layer.diff_id).unwrap();
        assert_eq!(info.tar_bytes, tar.len() as u64);
        assert_eq!(info.size_bytes, layer.size_bytes);
        if name.contains("sparse") {
            let (sparse, hole) =
                (diff.join("sparse").metadata().unwrap(), diff.join("hole-only").metadata().unwrap());
            assert_eq!(sparse.len(), 10 << 20);
            assert!(sparse.blocks() * 512 < 1 << 20, "{name}: {} blocks", sparse.blocks());
            assert_eq!(hole.blocks(), 0, "{name}");
        }
        scratch.layers.remove(&layer.diff_id).unwrap();
        assert!(!scratch.layers.contains(&layer.diff_id));
    }
    assert_eq!(scratch.leftovers(), Vec::<std::path::PathBuf>::new());
}

/// The same tar, its small files written by workers.
fn same_by_workers(by_workers: &Scratch, tar: &[u8], want: &Facted, name: &str) {
    let layer = by_workers.install(tar).unwrap();
    assert_eq!(layer.warnings, Vec::<String>::new());
    let diff = by_workers.layers.lower_dir(&layer.diff_id);
    assert_same(want, &facts(&diff, &[]), &format!("{name}, by workers"));
    assert!(by_workers.export(&layer.diff_id) == tar, "{name}: the exported tar differs");
    by_workers.layers.remove(&layer.diff_id).unwrap();
    assert!(by_workers.leftovers().is_empty());
}

/// The same tar as an indexed layer: the same tree, by itself and through an overlay, and the same tar again.
fn same_when_indexed(indexed: &Scratch, tar: &[u8], want: &Facted, name: &str) {
    let layer = indexed.install(tar).unwrap();
    assert!(indexed.is_indexed(&layer.diff_id), "{name}: it was unpacked");
    assert_same(want, &facts(&indexed.tree(&layer.diff_id).path, &[]), &format!("{name}, indexed"));
    let mut merged = facts(&indexed.overlay(std::slice::from_ref(&layer.diff_id)).path, &[]);
    // The root is the upper directory's.
    merged.insert(Vec::new(), want[&b""[..]].clone());
    assert_same(want, &merged, &format!("{name}, indexed, through an overlay"));
    assert!(indexed.export(&layer.diff_id) == tar, "{name}: the exported tar differs");
    let info = indexed.layers.info(&layer.diff_id).unwrap();
    assert_eq!((info.tar_bytes, info.size_bytes), (tar.len() as u64, layer.size_bytes));
    indexed.layers.remove(&layer.diff_id).unwrap();
    assert!(!indexed.layers.contains(&layer.diff_id) && indexed.leftovers().is_empty());
}

#[test]
fn compressed_layers_are_the_same_layers() {
    for scratch in Scratch::unpacked() {
        compressed_layers_in(&scratch);
    }
}

fn compressed_layers_in(scratch: &Scratch) {
    let dir = scratch.dir.path();
    sh(dir, MAKE);
    sh(
        dir,
        "tar --format=posix --xattrs --xattrs-include='*' -cf layer.tar -C nasty .; gzip -k layer.tar; zstd -q layer.tar -o layer.tar.zst",
    );
    let tar = std::fs::read(scratch.path("layer.tar")).unwrap();
    let diff_id = digest_of(&tar);
    let plain = scratch.install(&tar).unwrap();
    let want = facts(&scratch.layers.lower_dir(&diff_id), &[]);
    for form in ["layer.tar.gz", "layer.tar.zst"] {
        scratch.layers.remove(&diff_id).unwrap();
        let bytes = std::fs::read(scratch.path(form)).unwrap();
        let blob = digest_of(&bytes);
        let expected = Expected { diff_id: Some(&diff_id), blob: Some(&blob) };
        let reader = Box::new(std::fs::File::open(scratch.path(form)).unwrap());
        let layer =
            scratch.layers.install(LayerSource::Reader { reader, size: None }, expected, &()).unwrap();
        assert_eq!(layer, plain);
        assert_same(&want, &facts(&scratch.layers.lower_dir(&diff_id), &[]), form);
        assert!(scratch.export(&diff_id) == tar);
    }
}

#[test]
fn the_last_of_several_members_of_one_name_wins() {
    for scratch in Scratch::unpacked() {
        the_last_in(&scratch);
    }
}

fn the_last_in(scratch: &Scratch) {
    let tar = Tar::new()
        .dir("./", 0o755)
        .file("x", b"first")
        .file("x", b"second")
        .hard_link("y", "x")
        .file("x", b"third")
        .dir("d", 0o700)
        .file("d/inner", b"gone")
        .file("d/deep/er", b"gone too")
        .symlink("d", "e")
        .dir("e", 0o755)
        .file("d/through", b"via link")
        .symlink("f", "nothing")
        .dir("f", 0o711)
        .file("f/now", b"a directory")
        .dir("e", 0o750)
        .file("g", b"was a file")
        .dir("g", 0o755)
        .hard_link("x2", "x")
        .hard_link("x", "x2")
        .end();
    let layer = scratch.install(&tar).unwrap();
    let diff = scratch.layers.lower_dir(&layer.diff_id);
    let read = |name: &str| std::fs::read_to_string(diff.join(name)).unwrap();
    assert_eq!(
        (read("x"), read("y"), read("x2")),
        ("third".to_owned(), "second".to_owned(), "third".to_owned())
    );
    assert_eq!(std::fs::read_link(diff.join("d")).unwrap().to_str(), Some("e"));
    assert_eq!(read("e/through"), "via link");
    assert_eq!(read("f/now"), "a directory");
    assert_eq!(diff.join("e").metadata().unwrap().mode() & 0o7777, 0o750);
    assert!(diff.join("g").is_dir());
    assert!(scratch.export(&layer.diff_id) == tar, "what was replaced is still exported");

    std::fs::write(scratch.path("layer.tar"), &tar).unwrap();
    sh(
        scratch.dir.path(),
        "mkdir want; tar --numeric-owner -p -xf layer.tar -C want 2>/dev/null || true; test -e want/x2",
    );
}

#[test]
fn a_link_replaced_under_a_file_does_not_lose_the_files_data() {
    for scratch in Scratch::unpacked() {
        a_link_replaced_in(&scratch);
    }
}

fn a_link_replaced_in(scratch: &Scratch) {
    let tar = Tar::new()
        .dir("one", 0o755)
        .dir("two", 0o755)
        .symlink("l", "one")
        .file("l/data", b"written to one")
        .symlink("l", "two")
        .file("l/data", b"written to two")
        .end();
    let layer = scratch.install(&tar).unwrap();
    let diff = scratch.layers.lower_dir(&layer.diff_id);
    assert_eq!(std::fs::read_to_string(diff.join("one/data")).unwrap(), "written to one");
    assert_eq!(std::fs::read_to_string(diff.join("two/data")).unwrap(), "written to two");
    assert!(scratch.export(&layer.diff_id) == tar);
}

#[test]
fn paths_as_long_as_the_kernel_takes_and_longer_ones() {
    for scratch in Scratch::unpacked() {
        long_paths_in(&scratch);
    }
}

fn long_paths_in(scratch: &Scratch) {
    let part = "p".repeat(200);
    let of = |parts: usize| std::iter::repeat_n(part.as_str(), parts).collect::<Vec<_>>().join("/");
    let error = scratch.install(&Tar::new().file(&of(40), b"too far down").end()).unwrap_err();
    assert!(error.to_string().contains("4095"), "{error}");
    assert_eq!(scratch.leftovers(), Vec::<std::path::PathBuf>::new());

    let deep = of(20);
    let tar = Tar::new()
        .file(&format!("{deep}/file"), b"far down")
        .dir(&deep, 0o700)
        .hard_link("near", "short")
        .end();
    // The link's target is missing: refused, and all those directories are gone again.
    let error = scratch.install(&tar).unwrap_err();
    assert!(error.to_string().contains("\"short\" is not in this layer"), "{error}");
    assert_eq!(scratch.leftovers(), Vec::<std::path::PathBuf>::new());

    let tar = Tar::new()
        .file(&format!("{deep}/file"), b"far down")
        .dir(&deep, 0o700)
        .pax(&[("linkpath", format!("{deep}/file").as_bytes())])
        .hard_link("near", "x")
        .end();
    let layer = scratch.install(&tar).unwrap();
    let diff = scratch.layers.lower_dir(&layer.diff_id);
    assert_eq!(std::fs::read_to_string(diff.join("near")).unwrap(), "far down");
    assert_eq!(diff.join("near").metadata().unwrap().nlink(), 2);
    let all = facts(&diff, &[]);
    assert_eq!(all[deep.as_bytes()].mode & 0o7777, 0o700);
    assert_eq!(all[deep.as_bytes()].mtime, (1_600_000_000, 0));
    assert!(scratch.export(&layer.diff_id) == tar);
    scratch.layers.remove(&layer.diff_id).unwrap();
    assert_eq!(scratch.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn directories_deeper_than_there_are_descriptors() {
    for scratch in Scratch::unpacked() {
        deep_directories_in(&scratch);
    }
}

fn deep_directories_in(scratch: &Scratch) {
    let mut name = String::new();
    let mut tar = Tar::new();
    // As many as a path has room for.
    for _ in 0..2040 {
        name.push_str("d/");
        tar = tar.dir(&name, 0o755);
    }
    let tar = tar.file(&format!("{name}f"), b"x").end();
    let layer = scratch.install(&tar).unwrap();
    assert!(scratch.export(&layer.diff_id) == tar);
    scratch.layers.remove(&layer.diff_id).unwrap();
    assert_eq!(scratch.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn bytes_after_the_end_marker_are_part_of_the_tar() {
    for scratch in Scratch::unpacked() {
        bytes_after_in(&scratch);
    }
}

fn bytes_after_in(scratch: &Scratch) {
    let mut tar = Tar::new().file("a", b"x").end();
    tar.write_all(&[0; 20_000]).unwrap();
    tar.write_all(b"and more").unwrap();
    let layer = scratch.install(&tar).unwrap();
    assert!(scratch.export(&layer.diff_id) == tar);
    // Only a layer whose digest is known may end without the marker.
    let bare = Tar::new().file("a", b"x").0;
    assert!(scratch.install(&bare).is_ok());
    let error = scratch.layers.install(LayerSource::Bytes(&bare), Expected::default(), &()).unwrap_err();
    assert!(error.to_string().contains("without an end marker"), "{error}");
}
