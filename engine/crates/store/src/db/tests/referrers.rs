//! Referrers are kept for as long as what they refer to.

use super::*;
use crate::db::{KeptBlob, Referrer};

fn referrer(subject: &Digest, n: u8) -> Referrer {
    let blob = |digest| KeptBlob { digest, size_bytes: 7, media_type: "a/b".into() };
    Referrer {
        subject: subject.clone(),
        manifest: blob(digest(n)),
        artifact_type: "a/b".into(),
        reference_type: None,
        names_subject: true,
        annotations: BTreeMap::new(),
        repository: "reg.example/a".into(),
        blobs: vec![blob(digest(n + 1))],
    }
}

#[test]
fn they_go_when_nothing_is_known_by_their_subject() {
    let (_dir, _, mut db) = opened();
    let (by_manifest, by_index) = (referrer(&digest(50), 60), referrer(&digest(51), 70));
    let mut known = image(1, &[]);
    known.manifest = Some(digest(50));
    let index = Reference::parse(&format!("reg.example/a@{}", digest(51))).unwrap();
    db.write(|t| {
        t.insert_image(&known)?;
        t.tag(&index, &known.id)?;
        for referrer in [&by_manifest, &by_index, &by_index] {
            t.keep_referrer(referrer)?;
        }
        t.keep_referrer(&referrer(&digest(52), 80))
    })
    .unwrap();
    assert_eq!(db.read(|t| t.referrers()).unwrap().len(), 3);
    assert_eq!(db.read(|t| t.referrers_of(&digest(51))).unwrap(), std::slice::from_ref(&by_index));
    assert_eq!(db.write(|t| t.forget_orphaned_referrers()).unwrap(), [referrer(&digest(52), 80)]);
    assert!(db.write(|t| t.forget_orphaned_referrers()).unwrap().is_empty());
    db.write(|t| t.untag(&index)).unwrap();
    assert_eq!(db.write(|t| t.forget_orphaned_referrers()).unwrap(), [by_index]);
    db.write(|t| t.delete_image(&known.id)).unwrap();
    assert_eq!(db.write(|t| t.forget_orphaned_referrers()).unwrap(), [by_manifest]);
    assert!(db.read(|t| t.referrers()).unwrap().is_empty());
}
