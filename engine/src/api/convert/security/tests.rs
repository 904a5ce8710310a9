//! Permissions as typed, as kept, as shown.

use super::*;
use dhow_model::ErrorKind;
use serde_json::{Value, json};

fn parsed(value: Value) -> Result<Security> {
    parse(&serde_json::from_value(value).unwrap())
}

#[test]
fn capabilities_in_any_spelling() {
    let security =
        parsed(json!({"CapAdd": ["net_admin", "CAP_SYS_TIME", "Cap_Net_Admin"], "CapDrop": ["all"]}))
            .unwrap();
    assert_eq!(security.cap_add, ["CAP_NET_ADMIN", "CAP_SYS_TIME"]);
    assert_eq!(security.cap_drop, ["ALL"]);
    let error = parsed(json!({"CapAdd": ["fly"]})).unwrap_err();
    assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"CAP_FLY\"");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn namespaces() {
    let security =
        parsed(json!({"PidMode": "host", "IpcMode": "shareable", "UTSMode": "", "CgroupnsMode": "host"}))
            .unwrap();
    assert_eq!(
        (security.pid, security.ipc, security.uts, security.cgroup),
        (Namespace::Host, Ipc::Shareable, Namespace::Private, Namespace::Host)
    );
    let joined = parsed(json!({"PidMode": "container:a", "IpcMode": "container:b"})).unwrap();
    assert_eq!((joined.pid, joined.ipc), (Namespace::Container("a".into()), Ipc::Container("b".into())));
    for (value, kind) in [
        (json!({"PidMode": "container:"}), ErrorKind::InvalidArgument),
        (json!({"IpcMode": "bogus"}), ErrorKind::InvalidArgument),
        (json!({"UTSMode": "container:x"}), ErrorKind::InvalidArgument),
        (json!({"PidMode": "bogus"}), ErrorKind::InvalidArgument),
        (json!({"UTSMode": "bogus"}), ErrorKind::InvalidArgument),
        (json!({"UsernsMode": "bogus"}), ErrorKind::InvalidArgument),
    ] {
        assert_eq!(parsed(value.clone()).unwrap_err().kind(), kind, "{value}");
    }
    assert!(parsed(json!({"UsernsMode": "host"})).is_ok() && parsed(json!({"UsernsMode": "auto"})).is_ok());
}

#[test]
fn security_options() {
    let options = |list: &[&str]| parsed(json!({ "SecurityOpt": list }));
    assert!(options(&["no-new-privileges"]).unwrap().no_new_privileges);
    assert!(options(&["no-new-privileges:true"]).unwrap().no_new_privileges);
    assert!(!options(&["no-new-privileges=false"]).unwrap().no_new_privileges);
    assert_eq!(options(&["seccomp=unconfined"]).unwrap().seccomp, SeccompProfile::Unconfined);
    assert_eq!(options(&["seccomp:unconfined"]).unwrap().seccomp, SeccompProfile::Unconfined);
    assert_eq!(options(&["seccomp=builtin"]).unwrap().seccomp, SeccompProfile::Default);
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
    assert_eq!(options(&[&format!("seccomp={text}")]).unwrap().seccomp, SeccompProfile::Custom(text.into()));
    assert!(
        options(&["apparmor=unconfined", "label=disable", "systempaths=unconfined"])
            .unwrap()
            .systempaths_unconfined
    );
    for (option, kind, words) in [
        ("bogus", ErrorKind::InvalidArgument, "invalid --security-opt 1: \"bogus\""),
        ("bogus=1", ErrorKind::InvalidArgument, "invalid --security-opt 2: \"bogus=1\""),
        ("no-new-privileges=maybe", ErrorKind::InvalidArgument, "invalid --security-opt 2"),
        ("seccomp=/a/file", ErrorKind::InvalidArgument, "Decoding seccomp profile failed"),
        ("seccomp=[]", ErrorKind::InvalidArgument, "Decoding seccomp profile failed"),
        ("apparmor=docker-default", ErrorKind::Unsupported, "AppArmor"),
        ("label=type:x", ErrorKind::Unsupported, "SELinux"),
    ] {
        let error = options(&[option]).unwrap_err();
        assert_eq!(error.kind(), kind, "{option}");
        assert!(error.to_string().contains(words), "{option}: {error}");
    }
}

#[test]
fn hidden_paths() {
    // What the docker CLI makes of `systempaths=unconfined`.
    assert!(parsed(json!({"MaskedPaths": [], "ReadonlyPaths": []})).unwrap().systempaths_unconfined);
    assert!(!parsed(json!({"MaskedPaths": null})).unwrap().systempaths_unconfined);
    assert!(
        !parsed(json!({"MaskedPaths": MASKED_PATHS, "ReadonlyPaths": READONLY_PATHS}))
            .unwrap()
            .systempaths_unconfined
    );
    for half in
        [json!({"MaskedPaths": []}), json!({"MaskedPaths": ["/proc/keys"]}), json!({"ReadonlyPaths": []})]
    {
        assert_eq!(parsed(half.clone()).unwrap_err().kind(), ErrorKind::Unsupported, "{half}");
    }
}
