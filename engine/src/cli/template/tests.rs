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
        ("{{range .Args}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}", "b c"),
    ] {
        assert_eq!(fill(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn errors() {
    for (text, want) in [
        ("{{.Nope}}", "map has no entry for key \"Nope\""),
        ("{{.State.Health.Status}}", "nil pointer evaluating .State.Health.Status"),
        ("{{frob .}}", "function \"frob\" not defined"),
        ("{{.Id", "unclosed action"),
        ("{{if .Id}}x", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{\"x}}", "unterminated quoted string"),
        ("{{}}", "missing value for command"),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{.Id.X}}", "can't evaluate field X in .Id"),
        ("{{$nope}}", "undefined variable \"$nope\""),
    ] {
        assert_eq!(fill(text), Err(want.to_owned()), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in "[{}.$|()\"` a-z:=,-]{0,40}") {
        let _ = fill(&text);
        let _ = fill(&format!("{{{{{text}}}}}"));
    }
}
