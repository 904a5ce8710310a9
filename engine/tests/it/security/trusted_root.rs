//! Directories that somebody else made, or could write to, before the engine was started in them.

use crate::sandbox::{Sandbox, names_in};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::PathBuf;

fn both(sandbox: &Sandbox) -> [(&'static str, PathBuf); 2] {
    [("root", sandbox.root()), ("state", sandbox.state())]
}

#[test]
fn a_directory_of_another_user_is_not_used() {
    for index in 0..2 {
        let sandbox = Sandbox::new();
        let (what, directory) = both(&sandbox)[index].clone();
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        chown(&directory, Some(1000), Some(1000)).unwrap();
        let ended = sandbox.dhow(["ps"]);
        ended.fails(
            1,
            &format!("the {what} directory {} belongs to uid 1000, not to uid 0", directory.display()),
        );
        assert!(ended.stderr.contains(&format!("chown 0 {0} && chmod 0700 {0}", directory.display())));
        assert_eq!(names_in(&directory), Vec::<String>::new());
        // The way out.
        chown(&directory, Some(0), Some(0)).unwrap();
        sandbox.ok(["ps"]);
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_not_used() {
    for mode in [0o770, 0o777, 0o1777] {
        for index in 0..2 {
            let sandbox = Sandbox::new();
            let (what, directory) = both(&sandbox)[index].clone();
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
            let said =
                format!("others may write to the {what} directory {} (mode {mode:04o})", directory.display());
            sandbox.dhow(["ps"]).fails(1, &said);
            assert_eq!(names_in(&directory), Vec::<String>::new());
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        }
    }
}

#[test]
fn a_directory_of_ours_that_others_may_read_is_closed() {
    let sandbox = Sandbox::new();
    for (_, directory) in both(&sandbox) {
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    }
    sandbox.ok(["ps"]);
    for (_, directory) in both(&sandbox) {
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
    }
}

#[test]
fn a_link_in_place_of_what_is_kept_leads_nowhere() {
    for (index, name) in [
        (0, "content"),
        (0, "state.db"),
        (0, "layers"),
        (0, "containers"),
        (0, "volumes"),
        (0, "notify"),
        (1, "containers"),
        (1, "containers.lock"),
        (1, "monitors"),
    ] {
        let sandbox = Sandbox::new();
        let (what, directory) = both(&sandbox)[index].clone();
        let victim = sandbox.path("victim");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        symlink(&victim, directory.join(name)).unwrap();
        let path = directory.join(name);
        let said = format!("{} is a symbolic link in the {what} directory", path.display());
        sandbox.dhow(["ps"]).fails(1, &said);
        assert!(!victim.exists(), "{name} led somewhere");
        fs::remove_file(&path).unwrap();
        sandbox.ok(["ps"]);
    }
}

#[test]
fn a_database_of_another_user_is_not_opened() {
    let sandbox = Sandbox::new();
    sandbox.ok(["ps"]);
    let database = sandbox.root().join("state.db");
    chown(&database, Some(1000), None).unwrap();
    sandbox.dhow(["ps"]).fails(1, &format!("the database {} belongs to uid 1000", database.display()));
    chown(&database, Some(0), None).unwrap();
}

#[test]
fn a_link_to_the_root_is_followed_when_it_is_of_the_administrator() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.path("data");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, sandbox.root()).unwrap();
    sandbox.ok(["ps"]);
    assert!(elsewhere.join("state.db").exists());
    lchown(sandbox.root(), Some(1000), None).unwrap();
    sandbox.dhow(["ps"]).fails(1, "is a symbolic link of uid 1000");
    lchown(sandbox.root(), Some(0), None).unwrap();
}
