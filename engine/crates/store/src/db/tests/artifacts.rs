//! Artifacts are found as images are, and a name is that of one thing.

use super::*;
use crate::db::{Artifact, KeptBlob};

fn artifact(n: u8) -> Artifact {
    let blob = |n| KeptBlob { digest: digest(n), size_bytes: u64::from(n), media_type: "a/b".into() };
    Artifact {
        manifest: blob(n),
        artifact_type: "a/b".into(),
        created: None,
        annotations: BTreeMap::new(),
        config: blob(n + 1),
        layers: vec![blob(n + 2), blob(n + 2)],
        installed: Timestamp(1),
    }
}

#[test]
fn a_name_is_that_of_an_image_or_of_an_artifact() {
    let (_dir, _, mut db) = opened();
    let thing = artifact(0xa0);
    assert_eq!(thing.size_bytes(), 0xa0 + 0xa1 + 0xa2);
    let name = Reference::parse("reg.example/thing:1").unwrap();
    let by_digest = Reference::parse(&format!("reg.example/thing@{}", thing.id())).unwrap();
    db.write(|t| {
        t.insert_image(&image(1, &[]))?;
        t.tag(&name, &digest(1))?;
        t.insert_artifact(&thing)?;
        t.insert_artifact(&thing)?;
        t.tag_artifact(&name, thing.id())?;
        assert_eq!(t.tagged(&name)?, None);
        assert_eq!(t.tag_artifact(&name, &digest(9)).unwrap_err().kind(), ErrorKind::NotFound);
        t.tag_artifact(&by_digest, thing.id())
    })
    .unwrap();
    assert_eq!(db.read(|t| t.count_images()).unwrap(), 2);
    let all = db.read(|t| t.artifacts()).unwrap();
    assert_eq!(all, [(thing.clone(), vec![name.clone(), by_digest])]);
    let mut find = |who: &str| db.read(|t| t.find_artifact(who)).unwrap().map(|found| found.id().clone());
    let hex = "a0".repeat(32);
    for who in
        ["reg.example/thing:1", "a0a0", "sha256:a0a0", &hex, &format!("reg.example/thing@{}", thing.id())]
    {
        assert_eq!(find(who).as_ref(), Some(thing.id()), "{who}");
    }
    for who in ["reg.example/thing", "b0b0", &format!("reg.example/other@{}", thing.id()), "A B"] {
        assert_eq!(find(who), None, "{who}");
    }
    db.write(|t| t.tag(&name, &digest(1))).unwrap();
    assert_eq!(db.read(|t| t.tagged_artifact(&name)).unwrap(), None);
    assert!(db.write(|t| t.delete_artifact(thing.id())).unwrap());
    assert!(db.read(|t| t.artifacts()).unwrap().is_empty());
}
