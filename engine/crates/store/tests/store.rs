//! The layer store as several processes use it: concurrent installs, damage, recovery, sweeping.

use crate::support::{Scratch, Tar};
use dhow_model::{Digest, ErrorKind};
use dhow_store::content::digest_of;
use dhow_store::layer::{
    Durability, Expected, LayerProgress, LayerSource, LayerState, LayerStore, Layers, Progress,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

fn some_layer(seed: u8) -> Vec<u8> {
    let mut tar = Tar::new().dir("./", 0o755);
    for n in 0..200 {
        tar = tar.file(&format!("dir/f{n}"), &vec![seed; 5000]);
    }
    tar.end()
}

#[test]
fn many_install_one_layer_at_once_and_one_does() {
    let scratch = Scratch::new();
    let tar = some_layer(1);
    let fresh = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (scratch, tar, fresh) = (&scratch, &tar, &fresh);
            scope.spawn(move || {
                // Half of them do not know the diff id beforehand.
                let diff_id = digest_of(tar);
                let expected = Expected { diff_id: (n % 2 == 0).then_some(&diff_id), blob: None };
                let layers = Layers::open(&scratch.layout).unwrap().with_durability(Durability::Memory);
                let layer = layers.install(LayerSource::Bytes(tar), expected, &()).unwrap();
                assert_eq!((layer.diff_id, layer.size_bytes), (diff_id, 1_000_000));
                fresh.fetch_add(u32::from(!layer.was_present), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(fresh.into_inner(), 1);
    assert_eq!(scratch.layers.list().unwrap(), [digest_of(&tar)]);
    assert!(scratch.leftovers().is_empty());
}

#[test]
fn wrong_digests_are_corrupt_and_leave_nothing() {
    for scratch in Scratch::both() {
        wrong_digests(&scratch);
    }
}

fn wrong_digests(scratch: &Scratch) {
    let tar = some_layer(2);
    let other = Digest::from_sha256([7; 32]);
    for expected in
        [Expected { diff_id: Some(&other), blob: None }, Expected { diff_id: None, blob: Some(&other) }]
    {
        let error = scratch.layers.install(LayerSource::Bytes(&tar), expected, &()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains(other.as_str()) && text.contains(digest_of(&tar).as_str()), "{text}");
    }
    for cut in [0, 100, 700, tar.len() / 2] {
        assert!(
            scratch.layers.install(LayerSource::Bytes(&tar[..cut]), Expected::default(), &()).is_err(),
            "{cut}"
        );
    }
    assert!(scratch.layers.list().unwrap().is_empty() && scratch.leftovers().is_empty());
}

#[test]
fn damage_on_disk_is_noticed_by_export() {
    let scratch = Scratch::new();
    let layer = scratch.install(&some_layer(3)).unwrap();
    let file = scratch.layers.lower_dir(&layer.diff_id).join("dir/f7");
    std::fs::write(&file, vec![9; 5000]).unwrap();
    let error = scratch.layers.export_tar(&layer.diff_id, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    std::fs::write(&file, b"short").unwrap();
    let error = scratch.layers.export_tar(&layer.diff_id, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("dir/f7"), "{error}");
    let missing = Digest::from_sha256([1; 32]);
    assert_eq!(scratch.layers.export_tar(&missing, &mut Vec::new()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(scratch.layers.lower_dirs(&[missing]).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn damage_of_an_indexed_layer_is_noticed_by_export() {
    let scratch = Scratch::indexed();
    let layer = scratch.install(&some_layer(3)).unwrap();
    let tar = scratch.layout.layer(&layer.diff_id).join("tar");
    let mut bytes = std::fs::read(&tar).unwrap();
    bytes[2000] ^= 1;
    std::fs::write(&tar, &bytes).unwrap();
    let error = scratch.layers.export_tar(&layer.diff_id, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    std::fs::write(&tar, &bytes[..5000]).unwrap();
    let error = scratch.layers.export_tar(&layer.diff_id, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("is shorter than it was"), "{error}");
}

#[test]
fn state_directories_are_private() {
    let scratch = Scratch::new();
    let tar = Tar::new().raw(b"suid", b'0', b"", 0o4755, b"x").end();
    let layer = scratch.install(&tar).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let layers = scratch.layout.layers();
    for private in
        [&layers, &layers.join("tmp"), &scratch.layout.layer(&layer.diff_id), &scratch.layout.content()]
    {
        assert_eq!(mode(private), 0o700, "{}", private.display());
    }
    assert_eq!(mode(&scratch.layers.lower_dir(&layer.diff_id)), 0o755);
    assert_eq!(mode(&scratch.layers.lower_dir(&layer.diff_id).join("suid")), 0o4755);
}

#[test]
fn recovery_takes_the_dead_and_leaves_the_living() {
    let scratch = Scratch::new();
    let tmp = scratch.layout.layers().join("tmp");
    std::fs::create_dir_all(tmp.join("dead/diff/x")).unwrap();
    std::fs::create_dir(tmp.join("living")).unwrap();
    let living = std::fs::File::open(tmp.join("living")).unwrap();
    living.lock().unwrap();
    scratch.layers.recover().unwrap();
    assert!(!tmp.join("dead").exists() && tmp.join("living").exists());
}

#[test]
fn a_sweep_keeps_what_is_used() {
    let scratch = Scratch::new();
    let keep = scratch.install(&some_layer(4)).unwrap().diff_id;
    let drop = scratch.install(&some_layer(5)).unwrap().diff_id;
    assert_eq!(scratch.layers.sweep(|id| Ok(*id == keep)).unwrap(), [drop]);
    assert_eq!(scratch.layers.list().unwrap(), [keep]);
}

#[test]
fn progress_is_told() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<(LayerState, u64, Option<u64>)>>);
    impl Progress for Heard {
        fn layer(&self, report: &LayerProgress<'_>) {
            self.0.lock().unwrap().push((report.state, report.bytes, report.total));
        }
    }
    let scratch = Scratch::new();
    let tar = some_layer(6);
    let blob = zstd::encode_all(&tar[..], 1).unwrap();
    let diff_id = digest_of(&tar);
    let heard = Heard::default();
    let layers = scratch.layers.clone().with_durability(Durability::Disk);
    for _ in 0..2 {
        let expected = Expected { diff_id: Some(&diff_id), blob: None };
        layers.install(LayerSource::Bytes(&blob), expected, &heard).unwrap();
    }
    let heard = heard.0.into_inner().unwrap();
    let states: Vec<_> = heard.iter().map(|h| h.0).collect();
    assert!(
        states.ends_with(&[LayerState::Syncing, LayerState::Done, LayerState::AlreadyPresent]),
        "{states:?}"
    );
    assert!(heard.iter().all(|h| h.2 == Some(blob.len() as u64)));
}

#[test]
fn owners_of_directories_with_setgid_do_not_spread() {
    let tar = Tar::new()
        .raw(b"g", b'5', b"", 0o2755, b"")
        .file("g/f", b"x")
        .dir("g/d", 0o755)
        .file("g/i/f", b"x")
        .end();
    let scratch = Scratch::new();
    let layer = scratch.install(&tar).unwrap();
    let diff = scratch.layers.lower_dir(&layer.diff_id);
    for (name, mode) in [("g", 0o2755), ("g/f", 0o644), ("g/d", 0o755), ("g/i", 0o755)] {
        assert_eq!(diff.join(name).metadata().unwrap().mode() & 0o7777, mode, "{name}");
    }
}
