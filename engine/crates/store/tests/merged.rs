//! Chains of layers as overlayfs shows them: whiteouts, opaque directories, implied directories.

use crate::support::{Facted, Scratch, Tar, assert_same, facts, sh};
use dhow_model::Digest;
use dhow_store::layer::LayerStore;
use std::path::Path;

/// The tree that an overlay of these layers shows.
fn merged(scratch: &Scratch, layers: &[Digest]) -> Facted {
    let mut all = facts(&scratch.overlay(layers).path, &[]);
    // The root is the upper directory's.
    all.remove(&b""[..]);
    all
}

fn names(tree: &Facted) -> Vec<String> {
    tree.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

fn install(scratch: &Scratch, tars: &[Vec<u8>]) -> Vec<Digest> {
    tars.iter().map(|tar| scratch.install(tar).unwrap().diff_id).collect()
}

#[test]
fn three_layers_merge_as_their_makers_meant() {
    for scratch in Scratch::both() {
        three_layers_in(&scratch);
    }
}

fn three_layers_in(scratch: &Scratch) {
    let base = Tar::new()
        .dir("etc", 0o755)
        .file("etc/keep", b"base")
        .file("etc/gone", b"base")
        .dir("opq", 0o755)
        .file("opq/old", b"base")
        .dir("anew", 0o755)
        .file("anew/old", b"base")
        .dir("anew2", 0o755)
        .file("anew2/old", b"base")
        .file("type", b"a file")
        .dir("type2", 0o755)
        .file("type2/x", b"base")
        .file("again", b"base")
        .end();
    let middle = Tar::new()
        .file("etc/.wh.gone", b"")
        .dir("opq", 0o700)
        .file("opq/new", b"middle")
        .file("opq/.wh..wh..opq", b"")
        .file(".wh.anew", b"")
        .dir("anew", 0o750)
        .file("anew/new", b"middle")
        .dir("anew2", 0o750)
        .file("anew2/new", b"middle")
        .file(".wh.anew2", b"")
        .dir("type", 0o755)
        .file("type/inner", b"middle")
        .file("type2", b"now a file")
        .file(".wh.again", b"")
        .file(".wh..wh.plnk/123", b"aufs")
        .file(".wh..wh.aufs", b"")
        .file(".wh.never-there", b"")
        .end();
    let top =
        Tar::new().file("again", b"top").file("etc/gone/reborn", b"top").file("etc/.wh.nothing", b"").end();
    let layers = install(scratch, &[base, middle.clone(), top]);
    let tree = merged(scratch, &layers);
    assert_eq!(
        names(&tree),
        [
            "again",
            "anew",
            "anew/new",
            "anew2",
            "anew2/new",
            "etc",
            "etc/gone",
            "etc/gone/reborn",
            "etc/keep",
            "opq",
            "opq/new",
            "type",
            "type/inner",
            "type2"
        ]
    );
    assert_eq!(tree[&b"opq"[..]].mode & 0o7777, 0o700);
    assert!(scratch.export(&layers[1]) == middle, "whiteouts and aufs files are exported as they came");
}

#[test]
fn implied_directories_take_their_attributes_from_below() {
    for scratch in Scratch::both() {
        implied_directories_in(&scratch);
    }
}

fn implied_directories_in(scratch: &Scratch) {
    let base = Tar::new()
        .pax(&[("uid", b"11"), ("gid", b"22"), ("mtime", b"1234.5"), ("SCHILY.xattr.user.base", b"1")])
        .dir("root", 0o700)
        .dir("tmp", 0o1777)
        .dir("a", 0o711)
        .dir("a/b", 0o722)
        .end();
    let implying = Tar::new().file("root/.bashrc", b"x").file("tmp/f", b"x").file("a/b/c/d", b"x").end();
    let above = Tar::new().file("root/more", b"x").file("fresh/f", b"x").end();
    let layers = install(scratch, &[base.clone(), implying, above]);

    let tree = merged(scratch, &layers);
    let root = &tree[&b"root"[..]];
    assert_eq!((root.mode & 0o7777, root.owner, root.mtime), (0o700, (11, 22), (1234, 500_000_000)));
    assert_eq!(root.xattrs, [("user.base".to_owned(), b"1".to_vec())]);
    let mode = |name: &str| tree[name.as_bytes()].mode & 0o7777;
    assert_eq!(
        (mode("tmp"), mode("a"), mode("a/b"), mode("a/b/c"), mode("fresh")),
        (0o1777, 0o711, 0o722, 0o755, 0o755)
    );
    assert!(tree.contains_key(&b"root/.bashrc"[..]) && tree.contains_key(&b"root/more"[..]));
    // Found again, not made again.
    assert_eq!(scratch.layers.lower_dirs(&layers).unwrap(), scratch.layers.lower_dirs(&layers).unwrap());
    assert!(scratch.leftovers().is_empty());

    // The same layer on nothing, or on a base without these directories, needs no correction.
    assert_eq!(scratch.layers.lower_dirs(&layers[1..2]).unwrap().len(), 1);
    let bare = scratch.install(&Tar::new().dir("usr", 0o755).end()).unwrap().diff_id;
    assert_eq!(scratch.layers.lower_dirs(&[bare, layers[1].clone()]).unwrap().len(), 2);
}

#[test]
fn implied_attributes_do_not_come_from_what_is_hidden() {
    for scratch in Scratch::both() {
        implied_attributes_in(&scratch);
    }
}

fn implied_attributes_in(scratch: &Scratch) {
    let base = Tar::new().dir("a", 0o700).dir("b", 0o700).dir("b/c", 0o700).dir("k", 0o700).end();
    let hiding =
        Tar::new().file(".wh.a", b"").dir("b", 0o750).file("b/.wh..wh..opq", b"").file(".wh.k", b"").end();
    let implying = Tar::new().file("a/x", b"").file("b/c/x", b"").file("k/x", b"").end();
    let layers = install(scratch, &[base, hiding, implying]);
    let tree = merged(scratch, &layers);
    let mode = |name: &str| tree[name.as_bytes()].mode & 0o7777;
    assert_eq!((mode("a"), mode("b"), mode("b/c"), mode("k")), (0o755, 0o750, 0o755, 0o755));
}

#[test]
fn an_opaque_root_hides_all_below() {
    for scratch in Scratch::both() {
        an_opaque_in(&scratch);
    }
}

fn an_opaque_in(scratch: &Scratch) {
    let base = Tar::new().file("old", b"x").end();
    let opaque = Tar::new().file(".wh..wh..opq", b"").file("new", b"x").end();
    let layers = install(scratch, &[base, opaque]);
    assert_eq!(names(&merged(scratch, &layers)), ["new"]);
}

#[test]
fn buildahs_layers_merge_to_what_buildah_shows() {
    let scratch = Scratch::new();
    let dir = scratch.dir.path();
    // A real base, then changes of every sort, committed as three layers.
    let script = r#"
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    opts="--root $PWD/st --runroot $PWD/rr"
    # Whatever fails below: no mount stays.
    trap 'buildah $opts umount --all >/dev/null 2>&1; ! mountpoint -q "$PWD/st/overlay" || umount "$PWD/st/overlay"' EXIT
    umask 022
    mkdir -p one/dir one/del one/opq two/dir
    echo 1 > one/dir/keep; echo 1 > one/dir/gone; echo 1 > one/del/x; echo old > one/opq/old
    echo s > one/suid; ln one/dir/keep one/hard; ln -s dir/keep one/soft; chown 1000:1001 one/dir/keep
    echo 2 > two/dir/more
    c=$(buildah $opts from scratch); m=$(buildah $opts mount $c)
    cp -a one/. $m/; chmod 4755 $m/suid; setfattr -n user.x -v y $m/dir/keep; touch -d '1980-01-01 00:00:00.5' $m/dir/keep
    cp /bin/true $m/capable; setcap cap_net_raw+ep $m/capable; mkfifo $m/pipe
    buildah $opts commit -q $c base >/dev/null; buildah $opts rm $c >/dev/null
    c=$(buildah $opts from --pull=never localhost/base); m=$(buildah $opts mount $c)
    cp -a two/. $m/; rm $m/dir/gone; rm -r $m/del; rm -r $m/opq; mkdir $m/opq; echo new > $m/opq/new
    buildah $opts commit -q $c mid >/dev/null; buildah $opts rm $c >/dev/null
    c=$(buildah $opts from --pull=never localhost/mid); m=$(buildah $opts mount $c)
    rm $m/soft; mkdir $m/soft; echo in > $m/soft/in; rm $m/hard; mkdir -p $m/del; echo back > $m/del/back
    buildah $opts commit -q $c top >/dev/null; buildah $opts rm $c >/dev/null
    c=$(buildah $opts from --pull=never localhost/top); m=$(buildah $opts mount $c)
    mkdir want; tar --xattrs --xattrs-include='*' --format=posix -cf - -C $m . | tar --xattrs --xattrs-include='*' --numeric-owner -p -xf - -C want
    buildah $opts rm $c >/dev/null
    buildah $opts push -q localhost/top oci-archive:$PWD/top.tar:localhost/top:latest >/dev/null
    "#;
    sh(dir, script);
    let mut want = facts(&scratch.path("want"), &[]);
    want.remove(&b""[..]);
    for store in Scratch::both() {
        let archive = std::fs::File::open(scratch.path("top.tar")).unwrap();
        let loaded = dhow_store::archive::load(&store.content, &store.layers, archive).unwrap().images;
        assert_eq!(loaded[0].references[0].to_string(), "localhost/top:latest");
        assert_eq!(loaded[0].image.layers.len(), 3);
        assert_same(&want, &merged(&store, &loaded[0].image.layers), "buildah's tree and ours");
    }
    clean(dir);
}

/// Mounts of vfs storage do not outlive buildah; its files are removed with the scratch directory.
fn clean(dir: &Path) {
    sh(dir, "rm -rf st rr");
}
