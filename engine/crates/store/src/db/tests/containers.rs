//! Containers, their exec sessions and volumes.

use super::*;
use std::ops::ControlFlow;

#[test]
fn all_of_a_record_comes_back() {
    let (_dir, _, mut db) = with_image();
    let mut one = record(1, "one");
    one.state = dhow_model::state::ContainerState {
        status: Status::Starting,
        pid: 7,
        pid_start_ticks: 1 << 40,
        monitor_pid: 8,
        exit_code: -1,
        oom_killed: true,
        error: "why".into(),
        started_at: Some(Timestamp(3)),
        finished_at: None,
        restart_count: 4,
        stopped_by_user: true,
        life: dhow_model::life::Life { first_output_at: Some(Timestamp(4)), ..Default::default() },
    };
    db.write(|t| t.insert_container(&one)).unwrap();
    assert_eq!(db.read(|t| t.container(&one.id)).unwrap().unwrap(), one);
    let summary = db.read(|t| t.container_summaries()).unwrap().remove(0);
    assert_eq!((summary.state, summary.about), (one.state.clone(), About::from(&one.config)));
    assert_eq!(summary.image_id, one.config.image_id);

    db.write(|t| t.change_state(&one.id, |s| s.status.after(Move::Started).map(|next| s.status = next)))
        .unwrap();
    let mut changed = one.config.clone();
    changed.labels.clear();
    db.write(|t| t.update_config(&one.id, &changed)).unwrap();
    let now = db.read(|t| t.container(&one.id)).unwrap().unwrap();
    assert_eq!((now.state.status, now.config), (Status::Running, changed));
    assert_eq!(summaries_at(&mut db, &[Status::Running, Status::Dead]).len(), 1);
    assert_eq!(summaries_at(&mut db, &[Status::Exited]).len(), 0);
    let running = summaries_at(&mut db, &[Status::Running]);
    let statuses = db.read(|t| t.container_statuses_at(&[Status::Running, Status::Dead])).unwrap();
    assert_eq!(statuses, [(running[0].id.clone(), Status::Running)]);
    assert_eq!(db.read(|t| t.count_containers()).unwrap().running, 1);
    assert!(db.write(|t| t.delete_container(&one.id)).unwrap());
    assert!(!db.write(|t| t.delete_container(&one.id)).unwrap());
    let error = db.write(|t| t.update_state(&one.id, &one.state)).unwrap_err();
    assert_eq!(error.to_string(), format!("No such container: {}", one.id));
}

#[test]
fn names_are_unique_in_dockers_words() {
    let (_dir, _, mut db) = with_image();
    let (one, two) = (record(1, "web"), record(2, "db"));
    db.write(|t| t.insert_container(&one)).unwrap();
    db.write(|t| t.insert_container(&two)).unwrap();
    let expected = format!(
        "Conflict. The container name \"/web\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
        one.id
    );
    for error in [
        db.write(|t| t.insert_container(&record(3, "web"))).unwrap_err(),
        db.write(|t| t.rename_container(&two.id, "web")).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Conflict, expected.clone()));
    }
    db.write(|t| t.rename_container(&two.id, "cache")).unwrap();
    assert_eq!(db.read(|t| t.container_name(&two.id)).unwrap().unwrap(), "cache");
    assert!(db.read(|t| t.container_named("db")).unwrap().is_none());
}

#[test]
fn they_are_found_by_id_name_and_prefix() {
    let (_dir, _, mut db) = with_image();
    let one = record(0xabcd_1000_0000_0000, "web");
    let two = record(0xabcd_2000_0000_0000, "abcd1");
    db.write(|t| t.insert_container(&one).and_then(|()| t.insert_container(&two))).unwrap();
    let mut find = |who: &str| db.read(|t| t.find_container(who)).map(|c| c.name);
    assert_eq!(find(one.id.as_str()).unwrap(), "web");
    assert_eq!(find("web").unwrap(), "web");
    assert_eq!(find("/web").unwrap(), "web");
    assert_eq!(find("abcd10").unwrap(), "web");
    // A name wins over a prefix.
    assert_eq!(find("abcd1").unwrap(), "abcd1");
    let ambiguous = find("abcd").unwrap_err();
    assert_eq!(ambiguous.kind(), ErrorKind::InvalidArgument);
    assert_eq!(ambiguous.to_string(), "multiple IDs found with provided prefix: abcd");
    for nobody in ["", "/", "abce", "ABCD1", "we", "zz", "%", "abcd10g"] {
        let error = find(nobody).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), format!("No such container: {nobody}"));
    }
}

#[test]
fn newest_first() {
    let (_dir, _, mut db) = with_image();
    for n in [2, 3, 1] {
        db.write(|t| t.insert_container(&record(n, &format!("c{n}")))).unwrap();
    }
    let names: Vec<_> = db.read(|t| t.containers()).unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["c3", "c2", "c1"]);
    let names: Vec<_> = db.read(|t| t.container_summaries()).unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["c3", "c2", "c1"]);
    let names: Vec<_> = summaries_at(&mut db, &[Status::Created]).into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["c3", "c2", "c1"]);

    let mut seen = Vec::new();
    let stop_at_the_second = |summary: ContainerSummary| {
        seen.push(summary.name);
        Ok(if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    db.read(|t| t.each_container_summary(None, stop_at_the_second)).unwrap();
    assert_eq!(seen, ["c3", "c2"]);
    let failing = |_| Err(dhow_model::Error::internal("enough"));
    let error = db.read(|t| t.each_container_summary(None, failing)).unwrap_err();
    assert_eq!(error.to_string(), "list containers: enough");
}

fn summaries_at(db: &mut StateDb, statuses: &[Status]) -> Vec<ContainerSummary> {
    let mut found = Vec::new();
    let visit = |summary| {
        found.push(summary);
        Ok(ControlFlow::Continue(()))
    };
    db.read(|t| t.each_container_summary(Some(statuses), visit)).unwrap();
    found
}

#[test]
fn what_they_need_must_be_there_and_stays_there() {
    let (_dir, _, mut db) = with_image();
    let mut one = record(1, "one");
    one.config.image_id = digest(9);
    let error = db.write(|t| t.insert_container(&one)).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::NotFound, "No such image: debian:12".into()));

    let mut two = record(2, "two");
    let data = |target: &str| Mount {
        target: target.into(),
        readonly: false,
        source: MountSource::Volume {
            name: "data".into(),
            nocopy: false,
            anonymous: false,
            details: dhow_model::mount::VolumeDetails::default(),
        },
        written_as: MountSyntax::Volume,
    };
    two.config.host.mounts = vec![data("/a"), data("/b")];
    let error = db.write(|t| t.insert_container(&two)).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::NotFound, "get data: no such volume".into()));

    let volume = VolumeRecord {
        name: "data".into(),
        created: Timestamp(1),
        labels: BTreeMap::new(),
        anonymous: false,
        options: BTreeMap::new(),
    };
    db.write(|t| {
        assert!(t.insert_volume(&volume)?);
        assert!(!t.insert_volume(&volume)?);
        t.insert_container(&two)
    })
    .unwrap();
    assert_eq!(db.read(|t| t.volumes_of(&two.id)).unwrap(), [volume]);
    assert_eq!(db.read(|t| t.containers_using_volume("data")).unwrap(), [two.id.clone()]);
    assert_eq!(db.read(|t| t.containers_using_image(&digest(1))).unwrap(), [two.id.clone()]);
    assert_eq!(db.read(|t| t.image_uses()).unwrap()[&digest(1)], 1);
    let error = db.write(|t| t.delete_volume("data")).unwrap_err();
    assert_eq!(error.to_string(), format!("remove data: volume is in use - [{}]", two.id));
    assert_eq!(db.write(|t| t.delete_image(&digest(1))).unwrap_err().kind(), ErrorKind::Conflict);

    db.write(|t| t.delete_container(&two.id)).unwrap();
    assert_eq!(db.read(|t| t.unused_volumes()).unwrap().len(), 1);
    assert!(db.write(|t| t.delete_volume("data")).unwrap());
    assert!(db.write(|t| t.delete_image(&digest(1))).unwrap());
    assert_eq!(db.read(|t| t.find_volume("data")).unwrap_err().to_string(), "get data: no such volume");
}

#[test]
fn exec_sessions_live_with_their_container() {
    let (_dir, _, mut db) = with_image();
    let one = record(1, "one");
    let mut exec = ExecRecord {
        id: id_of(5),
        container: one.id.clone(),
        created: Timestamp(1),
        config: ExecConfig { argv: vec!["ls".into()], tty: true, ..Default::default() },
        running: true,
        pid: 3,
        pid_start_ticks: 4,
        exit_code: None,
    };
    assert_eq!(db.write(|t| t.insert_exec(&exec)).unwrap_err().kind(), ErrorKind::NotFound);
    db.write(|t| t.insert_container(&one).and_then(|()| t.insert_exec(&exec))).unwrap();
    assert_eq!(db.read(|t| t.running_execs()).unwrap(), [exec.clone()]);
    (exec.running, exec.exit_code) = (false, Some(3));
    db.write(|t| t.update_exec(&exec)).unwrap();
    assert_eq!(db.read(|t| t.find_exec(exec.id.as_str())).unwrap(), exec);
    assert_eq!(db.read(|t| t.execs_of(&one.id)).unwrap().len(), 1);
    db.write(|t| t.delete_container(&one.id)).unwrap();
    let error = db.read(|t| t.find_exec(exec.id.as_str())).unwrap_err();
    assert_eq!(error.to_string(), format!("No such exec instance: {}", exec.id));
    assert!(db.write(|t| t.update_exec(&exec)).is_err());
}
