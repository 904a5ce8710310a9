//! Images, references, layers.

use super::*;

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap().with_default_tag()
}

#[test]
fn layers_are_counted_by_their_images() {
    let (_dir, _, mut db) = opened();
    let layers = [digest(10), digest(11), digest(10)];
    let first = image(1, &layers);
    let error = db.write(|t| t.insert_image(&first)).unwrap_err();
    assert_eq!(error.to_string(), format!("layer {} of image {} is not installed", digest(10), digest(1)));
    db.write(|t| {
        for n in 10..13 {
            let layer = LayerRecord { diff_id: digest(n), size_bytes: 5, installed: Timestamp(1) };
            assert!(t.insert_layer(&layer)?);
            assert!(!t.insert_layer(&layer)?);
        }
        assert!(t.insert_image(&first)?);
        assert!(!t.insert_image(&first)?);
        t.insert_image(&image(2, &[digest(10)]))
    })
    .unwrap();
    assert_eq!(db.read(|t| t.unreferenced_layers()).unwrap(), [digest(12)]);
    assert!(db.read(|t| t.layer_installed(&digest(12))).unwrap());
    assert!(!db.read(|t| t.layer_installed(&digest(13))).unwrap());
    assert_eq!(db.write(|t| t.delete_layer(&digest(10))).unwrap_err().kind(), ErrorKind::Conflict);
    db.write(|t| t.delete_image(&digest(1))).unwrap();
    assert_eq!(db.read(|t| t.unreferenced_layers()).unwrap(), [digest(11), digest(12)]);
    assert!(db.write(|t| t.delete_layer(&digest(11))).unwrap());
    assert_eq!(db.read(|t| t.layers()).unwrap().len(), 2);
    assert_eq!(db.read(|t| t.layer(&digest(10))).unwrap().unwrap().size_bytes, 5);
}

#[test]
fn references_move() {
    let (_dir, _, mut db) = opened();
    let (debian, copy) = (reference("debian:12"), reference("reg.example.com/deb"));
    db.write(|t| {
        t.insert_image(&image(1, &[]))?;
        t.insert_image(&image(2, &[]))?;
        assert_eq!(t.tag(&debian, &digest(1))?, None);
        assert_eq!(t.tag(&debian, &digest(1))?, None);
        assert_eq!(t.tag(&copy, &digest(1))?, None);
        assert_eq!(t.tags_of(&digest(1))?, [debian.clone(), copy.clone()]);
        assert_eq!(t.tag(&debian, &digest(2))?, Some(digest(1)));
        assert_eq!(t.tag(&debian, &digest(9)).unwrap_err().kind(), ErrorKind::NotFound);
        Ok(())
    })
    .unwrap();
    let all = db.read(|t| t.images()).unwrap();
    assert_eq!(
        all.iter().map(|(i, r)| (i.id.clone(), r.clone())).collect::<Vec<_>>(),
        [(digest(2), vec![debian.clone()]), (digest(1), vec![copy.clone()])]
    );
    assert!(db.write(|t| t.untag(&debian)).unwrap());
    assert!(!db.write(|t| t.untag(&debian)).unwrap());
    db.write(|t| t.delete_image(&digest(1))).unwrap();
    assert_eq!(db.read(|t| t.tagged(&copy)).unwrap(), None);
    assert_eq!(db.read(|t| t.count_images()).unwrap(), 1);
}

#[test]
fn they_are_found_by_reference_digest_and_prefix() {
    let (_dir, _, mut db) = opened();
    let mut known = image(0xab, &[]);
    let manifest = digest(0x77);
    db.write(|t| {
        t.insert_image(&known)?;
        known.manifest = Some(manifest.clone());
        // The same image again, now with its manifest.
        assert!(!t.insert_image(&known)?);
        t.insert_image(&image(0xac, &[]))?;
        t.tag(&reference("debian"), &known.id)
    })
    .unwrap();
    assert_eq!(db.read(|t| t.image(&known.id)).unwrap().unwrap(), known);
    let mut find = |who: &str| db.read(|t| t.find_image(who)).map(|i| i.id);
    for who in [
        "debian".to_owned(),
        "debian:latest".to_owned(),
        "docker.io/library/debian:latest".to_owned(),
        known.id.to_string(),
        known.id.hex().to_owned(),
        "abab".to_owned(),
        "sha256:ab".to_owned(),
        manifest.to_string(),
        format!("debian@{manifest}"),
        format!("debian:latest@{manifest}"),
    ] {
        assert_eq!(find(&who).unwrap(), known.id, "{who}");
    }
    for (who, kind, text) in [
        ("a", ErrorKind::InvalidArgument, "multiple IDs found with provided prefix: a"),
        ("nothing", ErrorKind::NotFound, "No such image: nothing:latest"),
        ("debian:13", ErrorKind::NotFound, "No such image: debian:13"),
        ("ffff", ErrorKind::NotFound, "No such image: ffff:latest"),
        ("sha256:ffff", ErrorKind::NotFound, "No such image: sha256:ffff"),
        ("", ErrorKind::InvalidArgument, "invalid reference format"),
        (
            "Debian",
            ErrorKind::InvalidArgument,
            "invalid reference format: repository name (library/Debian) must be lowercase",
        ),
    ] {
        let error = find(who).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text), "{who}");
    }
    let other = format!("ubuntu@{manifest}");
    assert_eq!(find(&other).unwrap_err().to_string(), format!("No such image: {other}"));
}
