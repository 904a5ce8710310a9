//! Archives made to do harm: nothing outside of the layer changes, nothing is left behind, and the error is clear.

use crate::support::{NoMounts, Scratch, Tar, facts};
use dhow_model::ErrorKind;
use dhow_store::layer::{Expected, LayerForm, LayerSource, LayerStore, Layers, WorkersPlan};
use std::path::{Path, PathBuf};

/// A directory beside the store that no archive may touch.
fn victim(scratch: &Scratch) -> PathBuf {
    let victim = scratch.path("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("passwd"), "root").unwrap();
    victim
}

fn refused(all: &[Scratch; 3], tar: &[u8], why: &str) {
    for scratch in all {
        refused_by(scratch, tar, why);
    }
}

fn refused_by(scratch: &Scratch, tar: &[u8], why: &str) {
    let error = scratch.install(tar).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error:?}");
    assert_eq!(scratch.leftovers(), Vec::<PathBuf>::new());
    assert!(scratch.layers.list().unwrap().is_empty());
}

#[test]
fn names_and_links_that_lead_out_are_refused() {
    let scratch = Scratch::all();
    refused(&scratch, &Tar::new().file("../evil", b"x").end(), "\"../evil\" leads out of the layer");
    refused(&scratch, &Tar::new().file("a/../../evil", b"x").end(), "leads out of the layer");
    refused(
        &scratch,
        &Tar::new().hard_link("a", "../../etc/passwd").end(),
        "the link target \"../../etc/passwd\"",
    );
    refused(&scratch, &Tar::new().file("a/../..", b"x").end(), "leads out");
    refused(&scratch, &Tar::new().dir("d", 0o755).hard_link("a", "d").end(), "is a directory");
    refused(
        &scratch,
        &Tar::new().file("a", b"x").file("a/b", b"y").end(),
        "its parent \"a\" is not a directory",
    );
    refused(&scratch, &Tar::new().symlink("l", "l").file("l/b", b"y").end(), "too many symbolic links");
    refused(&scratch, &Tar::new().file(".wh...", b"").end(), "a whiteout of nothing");
    refused(&scratch, &Tar::new().file("a/.wh.", b"").end(), "a whiteout of nothing");
    refused(&scratch, &Tar::new().symlink("./", "/etc").end(), "the root of a layer must be a directory");
    refused(&scratch, &Tar::new().raw(b"x", b'M', b"", 0, b"").end(), "type 'M' is not supported");
}

#[test]
fn symbolic_links_are_followed_inside_the_layer_only() {
    for scratch in Scratch::all() {
        symbolic_links_in(&scratch);
    }
}

fn symbolic_links_in(scratch: &Scratch) {
    let victim = victim(scratch);
    let before = facts(&victim, &[]);
    let outside = victim.to_str().unwrap();
    let up = "../".repeat(12);
    let tar = Tar::new()
        .symlink("abs", outside)
        .file("abs/passwd", b"evil")
        .symlink("rel", &format!("{up}{}", outside.trim_start_matches('/')))
        .file("rel/evil", b"evil")
        .hard_link("stolen", "abs/passwd")
        .symlink("p", "/proc/self/root")
        .file(&format!("p{outside}/evil"), b"evil")
        .file("/etc/absolute", b"inside")
        .symlink("file", &format!("{outside}/passwd"))
        .file("file", b"replaces the link")
        .dir("abs/made", 0o777)
        .file("abs/.wh.passwd2", b"")
        .end();
    let layer = scratch.install(&tar).unwrap();
    assert_eq!(facts(&victim, &[]), before);
    let tree = scratch.tree(&layer.diff_id);
    let diff = &tree.path;
    let inside = |path: &str| std::fs::read_to_string(diff.join(path.trim_start_matches('/'))).unwrap();
    assert_eq!(inside(&format!("{outside}/passwd")), "evil");
    assert_eq!(inside(&format!("{outside}/evil")), "evil");
    assert_eq!(inside("stolen"), "evil");
    assert_eq!(inside("etc/absolute"), "inside");
    assert_eq!(inside("file"), "replaces the link");
    assert_eq!(inside(&format!("proc/self/root{outside}/evil")), "evil");
    assert!(scratch.export(&layer.diff_id) == tar);
}

#[test]
fn attributes_that_would_steer_the_overlay_are_dropped() {
    for scratch in Scratch::all() {
        attributes_that_in(&scratch);
    }
}

fn attributes_that_in(scratch: &Scratch) {
    let tar = Tar::new()
        .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc"), ("SCHILY.xattr.user.fine", b"1")])
        .dir("d", 0o755)
        .pax(&[("SCHILY.xattr.trusted.overlay.metacopy", b""), ("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .file("f", b"x")
        .end();
    let layer = scratch.install(&tar).unwrap();
    let all = facts(&scratch.tree(&layer.diff_id).path, &[]);
    assert_eq!(all[&b"d"[..]].xattrs, [("user.fine".to_owned(), b"1".to_vec())]);
    assert!(all[&b"f"[..]].xattrs.is_empty());
    assert!(scratch.export(&layer.diff_id) == tar);
}

#[test]
fn what_does_not_fit_is_refused_before_the_disk_is_full() {
    for scratch in Scratch::all() {
        what_does_in(&scratch);
    }
}

fn what_does_in(scratch: &Scratch) {
    // A member that claims an exbibyte: refused by its header alone.
    let tar = Tar::new().pax(&[("size", b"1152921504606846976")]).file("bomb", b"x").end();
    let error = scratch.install(&tar).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no room for the layer: 1152921504606846976 more bytes"), "{error}");
    // A sparse file of the same size takes nothing.
    let records: [(&str, &[u8]); 3] =
        [("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b""), ("GNU.sparse.name", b"huge")];
    let layer = scratch.install(&Tar::new().pax(&records).file("x", b"").end()).unwrap();
    assert_eq!(scratch.tree(&layer.diff_id).path.join("huge").metadata().unwrap().len(), 1 << 40);
    assert_eq!(scratch.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn a_small_filesystem_fills_up_and_is_clean_again() {
    let scratch = Scratch::new();
    let small = scratch.path("small");
    std::fs::create_dir(&small).unwrap();
    let mount = Mounted::tmpfs(&small, "size=48m,nr_inodes=5000");
    let layout = dhow_model::Layout::new(small.join("root"), small.join("run"));
    let layers = Layers::open(&layout).unwrap();
    let indexed = layers.clone().with_form(LayerForm::Indexed, std::sync::Arc::new(NoMounts));
    let by_workers = layers.clone().with_workers(WorkersPlan { after: 0, count: Some(3) });
    let refused = |layers: &Layers, tar: &[u8]| {
        let error = layers.install(LayerSource::Bytes(tar), Expected::default(), &()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(layers.list().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(layout.layers().join("tmp")).unwrap().count(), 0);
        error.to_string()
    };
    let files = |count: usize, length: usize| {
        (0..count).fold(Tar::new(), |tar, n| tar.file(&format!("f{n}"), &vec![1; length])).end()
    };
    let (large, small, empty) = (files(40, 1_000_000), files(400, 100_000), files(9000, 0));
    // Few bytes that become many.
    std::fs::write(scratch.path("bomb"), &large).unwrap();
    crate::support::sh(scratch.dir.path(), "bzip2 bomb");
    let bomb = std::fs::read(scratch.path("bomb.bz2")).unwrap();
    assert!(bomb.len() < 10_000);
    for layers in [&layers, &by_workers, &indexed] {
        for tar in [&large, &small, &bomb] {
            let error = refused(layers, tar);
            assert!(error.contains("no room for the layer"), "{error}");
        }
    }
    for layers in [&layers, &by_workers] {
        refused(layers, &empty);
    }
    drop(mount);
}

/// A mount that ends with the test, however that ends.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a Path, options: &str) -> Self {
        crate::support::sh(at, &format!("mount -t tmpfs -o {options} dhow-test {}", at.display()));
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}
