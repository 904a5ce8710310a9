//! What Go prints for the same templates.

use super::*;
use serde_json::json;

fn fill(text: &str) -> Result<String, String> {
    let data = json!({
        "Id": "abc", "Name": "/web", "State": {"Pid": 42, "Running": true, "Health": null},
        "Args": ["a", "b c"], "Labels": {"k": "v", "l": "w"}, "Empty": [], "Float": 1.5, "Null": null,
        "Mounts": [{"Source": "/a", "RW": true}, {"Source": "/b", "RW": false}],
    });
    Template::parse(text)?.execute(&data)
}

#[test]
fn values() {
    for (text, want) in [
        ("", ""),
        ("{{.State.Pid}}", "42"),
        ("pid={{ .State.Pid }};{{.State.Running}}", "pid=42;true"),
        ("{{.ID}}", "abc"),
        ("{{.Args}} {{.Labels}}", "[a b c] map[k:v l:w]"),
        ("{{json .Args}}", "[\"a\",\"b c\"]"),
        ("{{.State | json}}", "{\"Health\":null,\"Pid\":42,\"Running\":true}"),
        ("{{join .Args \",\"}}", "a,b c"),
        ("{{upper .Id}}-{{lower \"X\"}}-{{title \"hello world\"}}", "ABC-x-Hello World"),
        ("{{index .Labels \"k\"}} {{index .Args 1}}", "v b c"),
        ("{{len .Args}}", "2"),
        ("{{range .Mounts}}{{.Source}}:{{.RW}} {{end}}", "/a:true /b:false "),
        ("{{range $i, $m := .Mounts}}{{if $i}}, {{end}}{{$m.Source}}{{end}}", "/a, /b"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "k=v;l=w;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if eq .State.Pid 1}}one{{else if gt .State.Pid 10}}many{{else}}few{{end}}", "many"),
        ("{{if and .State.Running (not .State.Health)}}y{{end}}", "y"),
        ("{{with .State}}{{.Pid}}{{$.Id}}{{end}}", "42abc"),
        ("{{printf \"%-5s|%3d|%q\" .Id .State.Pid .Name}}", "abc  | 42|\"/web\""),
        ("{{println .Id 1}}", "abc 1\n"),
        ("{{split .Name \"/\"}}", "[ web]"),
        ("{{$x := .Id}}{{$x}}{{$x = \"q\"}}{{$x}}", "abcq"),
        ("a {{- .Id -}} b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ("{{.Float}} {{`raw`}} {{\"a\\tb\"}}", "1.5 raw a\tb"),
        ("{{slice .Id 0 2}}", "ab"),
        ("{{(index .Mounts 0).Source}}", "/a"),
        ("{{.State.Health}} {{.Null}}", "<nil> <no value>"),
        // The examples of Docker's own documentation.
        ("{{join .Args \" , \"}}", "a , b c"),
        ("{{lower .Name}} {{upper .Name}} {{title \"web\"}}", "/web /WEB Web"),
        ("{{split \"sha256:abc\" \":\"}}", "[sha256 abc]"),
        ("{{pad .Id 2 3}}|{{truncate .Id 2}}", "  abc   |ab"),
        ("{{range .Mounts}}{{println .Source}}{{end}}", "/a\n/b\n"),
        ("{{json .Mounts}}", "[{\"RW\":true,\"Source\":\"/a\"},{\"RW\":false,\"Source\":\"/b\"}]"),
        ("{{range .Args}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}", "b c"),
        (
            "{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Id}}{{range .Args}}{{template \"t\" .}}{{end}}",
            "<abc><a><b c>",
        ),
        ("{{block \"t\" .State}}{{.Pid}}{{end}}{{template \"t\" .State}}", "4242"),
        (
            "{{define \"t\"}}{{.Id}}{{$.Name}}{{end}}{{template \"t\" .}}{{template \"u\"}}{{define \"u\"}}u{{end}}",
            "abc/webu",
        ),
        ("{{eq .Null 1}} {{eq .Id \"x\" \"abc\"}} {{ne true false}}", "false true true"),
    ] {
        assert_eq!(fill(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn errors_are_gos_with_their_places() {
    for (text, want) in [
        ("{{.Nope}}", ":1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ("a\nbc {{ .Nope }}", ":2:6: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ("{{.State.Nope}}", ":1:8: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\""),
        (
            "{{.State.Health.Status}}",
            ":1:8: executing \"\" at <.State.Health.Status>: nil pointer evaluating .State.Health.Status",
        ),
        ("{{frob .}}", ":1: function \"frob\" not defined"),
        ("x\n{{.Id", ":2: unclosed action"),
        ("{{if .Id}}x\n", ":2: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{\"x}}", ":1: unterminated quoted string"),
        ("{{}}", ":1: missing value for command"),
        ("{{(.Id}}", ":1: unclosed left paren"),
        ("{{.Id.X}}", ":1:5: executing \"\" at <.Id.X>: can't evaluate field X in type interface {}"),
        ("{{$nope}}", ":1: undefined variable \"$nope\""),
        ("{{if $x := .Id}}{{$x}}{{end}}{{$x}}", ":1: undefined variable \"$x\""),
        ("{{$x := 1}}{{define \"t\"}}{{$x}}{{end}}", ":1: undefined variable \"$x\""),
        ("{{$x = 1}}", ":1: undefined variable \"$x\""),
        ("{{if .Id}}{{define \"t\"}}{{end}}{{end}}", ":1: unexpected {{define}}"),
        ("{{define \"t\"}}", ":1: unexpected EOF"),
        ("{{block \"t\"}}{{end}}", ":1: missing value for block clause"),
        ("{{template}}", ":1: missing value for template clause"),
        ("{{template \"t\"}}", ":1:2: executing \"\" at <{{template \"t\"}}>: template \"t\" not defined"),
        (
            "{{define \"t\"}}{{template \"t\" .}}{{end}}{{template \"t\" .}}",
            ":1:16: executing \"\" at <{{template \"t\"}}>: exceeded maximum template depth (100)",
        ),
        (
            "{{eq 1 \"a\"}}",
            ":1:2: executing \"\" at <eq 1 \"a\">: error calling eq: incompatible types for comparison",
        ),
        ("{{ne .Args 1}}", ":1:2: executing \"\" at <ne .Args 1>: error calling ne: non-comparable type"),
        (
            "{{index .Args 5}}",
            ":1:2: executing \"\" at <index .Args 5>: error calling index: index out of range: 5",
        ),
        ("{{len 3}}", ":1:2: executing \"\" at <len 3>: error calling len: len of type number"),
        ("{{range .Id}}{{end}}", ":1:8: executing \"\" at <.Id>: range can't iterate over abc"),
    ] {
        assert_eq!(fill(text), Err(format!("template: {want}")), "{text}");
    }
}

/// `ps` and its like have a type with a name, which their users know.
#[test]
fn a_field_that_a_list_has_not() {
    struct Typed(Value);
    impl Data for Typed {
        fn value(&self) -> &Value {
            &self.0
        }
        fn type_name(&self) -> Option<&str> {
            Some("*formatter.ContainerContext")
        }
    }
    let row = Typed(json!({"Names": "web"}));
    assert_eq!(
        Template::parse("{{.Nope}}").unwrap().execute(&row).unwrap_err(),
        "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext"
    );
}

/// `and` and `or` stop at the first value that decides.
#[test]
fn what_need_not_be_looked_at() {
    assert_eq!(fill("{{or .Id .Nope}} {{and .Null .Nope}}x").as_deref(), Ok("abc <no value>x"));
    assert!(fill("{{or .Null .Nope}}").is_err());
    assert_eq!(fill("{{and 1 2}} {{or 0 \"\"}} {{1 | and 2}}").as_deref(), Ok("2  1"));
}

#[test]
fn what_is_safe_in_other_languages() {
    assert_eq!(fill("{{html \"<a href='x'>&\"}}").as_deref(), Ok("&lt;a href=&#39;x&#39;&gt;&amp;"));
    assert_eq!(fill("{{urlquery \"a b&c/é\"}}").as_deref(), Ok("a+b%26c%2F%C3%A9"));
    assert_eq!(fill("{{js \"'x' <y>\\n\"}}").as_deref(), Ok("\\'x\\' \\u003Cy\\u003E\\u000A"));
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in "[{}.$|()\"` a-z:=,-]{0,40}") {
        let _ = fill(&text);
        let _ = fill(&format!("{{{{{text}}}}}"));
    }
}

#[test]
fn a_key_that_a_map_does_not_have_is_no_fault() {
    let data = json!({
        "Actor": {"Attributes": {"name": "n"}},
        "Config": {"Labels": {"a.b": "1"}, "Volumes": {"/v": {}}},
        "Bare": {"Labels": null},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "10.0.0.1"}}},
    });
    for (text, want) in [
        ("[{{index .Config.Labels \"zz\"}}]{{index .Config.Labels \"a.b\"}}", "[]1"),
        ("{{eq (index .Config.Labels \"zz\") \"\"}}", "true"),
        ("{{json (index .Config.Labels \"zz\")}}", "\"\""),
        ("[{{index .Bare.Labels \"zz\"}}]", "[]"),
        ("{{.Config.Labels.zz}} {{.Bare.Labels.zz}}", "<no value> <no value>"),
        ("{{.NetworkSettings.Networks.nonet.IPAddress}}", "<no value>"),
        ("{{with .NetworkSettings.Networks.nonet}}x{{else}}none{{end}}", "none"),
        ("{{index .Config.Volumes \"/v\"}}", "{}"),
        ("{{with .Actor.Attributes.exitCode}}x{{end}}{{.Actor.Attributes.name}}", "n"),
    ] {
        assert_eq!(Template::parse(text).unwrap().execute(&data).unwrap(), want, "{text}");
    }
}

#[test]
fn times_of_a_health_check() {
    for (nanoseconds, want) in [
        (0, "0s"),
        (30_000_000_000_i64, "30s"),
        (90_500_000_000, "1m30.5s"),
        (3_600_000_000_000, "1h0m0s"),
        (1_500_000, "1.5ms"),
        (250_000_000, "250ms"),
    ] {
        let data = json!({"Config": {"Healthcheck": {"Interval": nanoseconds}}});
        let template = Template::parse("{{.Config.Healthcheck.Interval}}").unwrap();
        assert_eq!(template.execute(&data).unwrap(), want);
    }
}
