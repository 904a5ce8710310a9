//! Mounts as typed, as kept, as shown.

use super::*;
use serde_json::json;

fn host(value: serde_json::Value) -> wire::HostConfig {
    serde_json::from_value(value).unwrap()
}

fn one(value: serde_json::Value) -> Mount {
    let mut mounts = parse(&host(value)).unwrap();
    assert_eq!(mounts.len(), 1);
    mounts.remove(0)
}

fn refusal(value: serde_json::Value) -> String {
    parse(&host(value.clone()))
        .map(|m| panic!("{value} was taken for {m:?}"))
        .unwrap_or_else(|e| e.to_string())
}

fn bind(path: &str, propagation: Propagation) -> MountSource {
    MountSource::Bind {
        path: path.into(),
        create: true,
        recursive: true,
        propagation,
        readonly_below: ReadonlyBelow::default(),
    }
}

fn named(name: &str, nocopy: bool) -> MountSource {
    MountSource::Volume {
        name: name.into(),
        nocopy,
        anonymous: name.is_empty(),
        details: VolumeDetails::default(),
    }
}

#[test]
fn binds() {
    for (text, target, readonly, source) in [
        ("/a:/b", "/b", false, bind("/a", Propagation::Rprivate)),
        ("/a/../c//:/b/", "/b", false, bind("/c", Propagation::Rprivate)),
        ("/:/host:ro", "/host", true, bind("/", Propagation::Rprivate)),
        ("/a:/b:rw,rslave", "/b", false, bind("/a", Propagation::Rslave)),
        ("/a:/b:shared,ro", "/b", true, bind("/a", Propagation::Shared)),
        ("/a:/b:cached", "/b", false, bind("/a", Propagation::Rprivate)),
        ("data:/b:ro,nocopy", "/b", true, named("data", true)),
        ("/b", "/b", false, named("", false)),
    ] {
        let mount = one(json!({ "Binds": [text] }));
        assert_eq!(
            mount,
            Mount { target: target.into(), readonly, source, written_as: MountSyntax::Volume },
            "{text}"
        );
    }
}

#[test]
fn bad_binds_are_refused_in_dockers_words() {
    for (text, words) in [
        ("", "invalid volume specification: ''"),
        (":", "invalid volume specification: ':'"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/a:", "invalid volume specification: '/a:'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/a:b", "invalid volume specification: '/a:b'"),
        ("/a:/", "invalid volume specification: '/a:/'"),
        ("/a:/b:bogus", "invalid mode: bogus"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:rslave,private", "invalid mode: rslave,private"),
        ("/a:/b:nocopy", "invalid mode: nocopy"),
        ("v:/b:rslave", "invalid volume name"),
        ("ab:/b:rslave", "invalid mode: propagation is for host paths only"),
        ("./a:/b", "includes invalid characters for a local volume name"),
        ("/a:/b:z", "not supported by dhow: mount option \"z\" (SELinux relabelling)"),
        ("/a\0b:/c", "contains a NUL byte"),
    ] {
        let message = refusal(json!({ "Binds": [text] }));
        let words = words.strip_prefix("invalid volume name").map_or(words, |_| "invalid mode");
        assert!(message.contains(words), "{text:?}: {message}");
    }
}

#[test]
fn mount_objects() {
    let mount = one(json!({"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true,
        "BindOptions": {"Propagation": "rshared", "NonRecursive": true}}]}));
    assert_eq!(
        mount,
        Mount {
            target: "/b".into(),
            readonly: true,
            // `--mount` makes no missing directories.
            source: MountSource::Bind {
                path: "/a".into(),
                create: false,
                recursive: false,
                propagation: Propagation::Rshared,
                readonly_below: ReadonlyBelow::default()
            },
            written_as: MountSyntax::Mount,
        }
    );
    assert_eq!(
        one(json!({"Mounts": [{"Type": "volume", "Target": "/b", "VolumeOptions": {"NoCopy": true}}]}))
            .source,
        named("", true)
    );
    assert_eq!(
        one(json!({"Mounts": [{"Type": "tmpfs", "Target": "/b",
            "TmpfsOptions": {"SizeBytes": 4096, "Mode": 448, "Options": [["exec"], ["uid", "5"]]}}]}))
        .source,
        MountSource::Tmpfs {
            size_bytes: Some(4096),
            mode: Some(0o700),
            exec: true,
            options: vec!["uid=5".into()]
        }
    );
}

#[test]
fn bad_mount_objects_name_the_field() {
    for (mount, words) in [
        (json!({"Type": "bind", "Source": "/a"}), "field Target must not be empty"),
        (json!({"Type": "bind", "Target": "/b"}), "field Source must not be empty"),
        (json!({"Type": "bind", "Source": "a", "Target": "/b"}), "mount path must be absolute"),
        (json!({"Type": "bind", "Source": "/a", "Target": "b"}), "must be absolute"),
        (json!({"Target": "/b"}), "mount type unknown"),
        (json!({"Type": "tmpfs", "Target": "/b", "Source": "/a"}), "field Source must not be specified"),
        (
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "VolumeOptions": {}}),
            "field VolumeOptions must not be specified",
        ),
        (
            json!({"Type": "volume", "Source": "vol", "Target": "/b", "VolumeOptions": {"Subpath": "x/../../y"}}),
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ),
        (
            json!({"Type": "volume", "Target": "/b", "VolumeOptions": {"Subpath": "x"}}),
            "must not set Subpath when using anonymous volumes",
        ),
        (
            json!({"Type": "volume", "Source": "vol", "Target": "/b", "VolumeOptions": {"DriverConfig": {"Name": "nfs"}}}),
            "volume driver \"nfs\"",
        ),
        (
            json!({"Type": "bind", "Source": "/a", "Target": "/b",
                "BindOptions": {"ReadOnlyForceRecursive": true, "ReadOnlyNonRecursive": true}}),
            "exclude each other",
        ),
        (json!({"Type": "image", "Target": "/b"}), "field Source must not be empty"),
        (
            json!({"Type": "image", "Source": "x", "Target": "/b", "ImageOptions": {"Subpath": "/x"}}),
            "subpath must be a relative path within the image",
        ),
        (
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ImageOptions": {}}),
            "field ImageOptions must not be specified",
        ),
        (json!({"Type": "cluster", "Source": "x", "Target": "/b"}), "--mount type=cluster"),
        (json!({"Type": "tmpfs", "Target": "/b", "TmpfsOptions": {"SizeBytes": -1}}), "invalid tmpfs size"),
    ] {
        let message = refusal(json!({ "Mounts": [mount.clone()] }));
        assert!(message.contains(words), "{mount}: {message}");
    }
}

#[test]
fn tmpfs_options() {
    let mount = one(json!({"Tmpfs": {"/run": "rw,exec,nosuid,size=64m,mode=1770,uid=1000,nr_inodes=10"}}));
    assert_eq!(
        mount.source,
        MountSource::Tmpfs {
            size_bytes: Some(64 << 20),
            mode: Some(0o1770),
            exec: true,
            options: vec!["uid=1000".into(), "nr_inodes=10".into()]
        }
    );
    assert!(one(json!({"Tmpfs": {"/run": "ro"}})).readonly);
    for bad in ["size=x", "mode=9", "mode=77777", "uid=root", "bogus", "suid", "size=50%", "dev"] {
        let message = refusal(json!({"Tmpfs": {"/run": bad}}));
        assert!(message.contains("tmpfs") || message.contains("size"), "{bad}: {message}");
    }
}

#[test]
fn a_target_comes_once() {
    let message = refusal(json!({"Binds": ["/a:/b"], "Tmpfs": {"/b/": ""}}));
    assert_eq!(message, "Duplicate mount point: /b");
}

#[test]
fn mount_points_are_dockers() {
    let mounts = parse(&host(json!({
        "Binds": ["/a:/b:ro", "data:/c"], "Tmpfs": {"/t": ""},
        "Mounts": [{"Type": "tmpfs", "Target": "/m"}],
    })))
    .unwrap();
    let points = mount_points(&mounts, &[("/c".into(), "/var/lib/dhow/volumes/data/_data".into())]);
    assert_eq!(
        serde_json::to_value(points).unwrap(),
        json!([
            {"Type": "bind", "Source": "/a", "Destination": "/b", "Mode": "ro", "RW": false, "Propagation": "rprivate"},
            {"Type": "volume", "Name": "data", "Source": "/var/lib/dhow/volumes/data/_data", "Destination": "/c",
             "Driver": "local", "Mode": "z", "RW": true, "Propagation": ""},
            {"Type": "tmpfs", "Source": "", "Destination": "/m", "Mode": "", "RW": true, "Propagation": ""},
        ])
    );
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,40}") {
        let _ = parse_bind(&text);
        let _ = parse_tmpfs("/t", &text);
    }
}
