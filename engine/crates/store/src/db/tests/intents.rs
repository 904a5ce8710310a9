//! Intents.

use super::*;

#[test]
fn what_was_begun_is_known_until_finished() {
    let (_dir, _, mut db) = opened();
    let data = serde_json::json!({"path": "/x"});
    let id = db.write(|t| t.add_intent("layer.delete", "sha256:1", &data, Timestamp(5))).unwrap();
    let found = db.read(|t| t.intents()).unwrap();
    assert_eq!((found[0].id, &found[0].data, found[0].operation.as_str()), (id, &data, "layer.delete"));
    assert!(found[0].owner_is_alive());
    let stranger = Intent { owner_start_ticks: 1, ..found[0].clone() };
    assert!(!stranger.owner_is_alive());
    assert!(db.write(|t| t.finish_intent(id)).unwrap());
    assert!(!db.write(|t| t.finish_intent(id)).unwrap());
    assert_eq!(db.read(|t| t.intents()).unwrap(), []);
}
