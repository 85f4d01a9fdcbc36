#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::variables::{Input, Part, Replaced, parts, replaced, value, variable_of};
use super::*;
use crate::kinds::{Value, ValueFrom};

fn variable(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/srv/home".to_owned())
}

const AROUND: Surroundings<'static> = Surroundings {
    variable: &variable,
    workspace: Some("/srv/project"),
};

fn from(name: &str, default: Option<&str>, prefix: &str) -> Value {
    Value::From(ValueFrom {
        from_environment: Some(name.into()),
        default: default.map(str::to_owned),
        prefix: prefix.into(),
        ..ValueFrom::default()
    })
}

#[test]
fn every_spelling_of_a_variable_is_read() {
    for (text, part) in [
        ("${NAME}", Part::Variable("NAME".into(), None)),
        ("${NAME:-a:-b}", Part::Variable("NAME".into(), Some("a:-b".into()))),
        ("${env:NAME}", Part::Variable("NAME".into(), None)),
        ("$NAME", Part::Variable("NAME".into(), None)),
        ("${{ secrets.NAME }}", Part::Variable("NAME".into(), None)),
        ("${{ secrets.org/pkg/NAME }}", Part::Variable("NAME".into(), None)),
        ("${userHome}", Part::Variable("HOME".into(), None)),
        ("${workspaceFolder}", Part::Workspace),
        ("${input:key}", Part::Input("key".into())),
        ("${file:/run/key}", Part::File("/run/key".into())),
        ("${command:x.y}", Part::Unknown("command:x.y".into())),
        ("${}", Part::Unknown(String::new())),
        ("${NAME", Part::Text("${NAME".into())),
        ("$5 a month", Part::Text("$5 a month".into())),
        ("$name", Part::Text("$name".into())),
        ("", Part::Text(String::new())),
    ] {
        assert_eq!(parts(text), [part], "{text}");
    }
}

#[test]
fn a_value_keeps_one_reference_at_its_end() {
    let inputs = [Input {
        id: "my-key".into(),
        secret: true,
        default: None,
    }];
    let read = |text: &str| value(text, &inputs, &AROUND);
    assert_eq!(read("Bearer ${T}"), Ok(from("T", None, "Bearer ")));
    assert_eq!(read("${T:-x}"), Ok(from("T", Some("x"), "")));
    assert_eq!(read("${input:my-key}"), Ok(from("MY_KEY", None, "")));
    assert_eq!(
        read("${workspaceFolder}/a"),
        Ok(Value::Literal("/srv/project/a".into()))
    );
    assert_eq!(read("plain"), Ok(Value::Literal("plain".into())));
    for text in ["${A}${B}", "${A} b", "${command:x}"] {
        assert_eq!(read(text), Err(()), "{text}");
    }
    assert_eq!(value("${workspaceFolder}", &inputs, &Surroundings::NONE), Err(()));
}

#[test]
fn a_secret_never_becomes_an_argument() {
    let inputs = [
        Input {
            id: "pw".into(),
            secret: true,
            default: Some("x".into()),
        },
        Input {
            id: "region".into(),
            secret: false,
            default: Some("eu".into()),
        },
    ];
    let argument = |text: &str| match replaced(text, &["OWN_TOKEN"], &inputs, &AROUND) {
        Replaced::Text(text, _) => Ok(text),
        Replaced::Refused(why) => Err(why),
    };
    assert_eq!(argument("${HOME}/docs"), Ok("/srv/home/docs".into()));
    assert_eq!(argument("--region=${input:region}"), Ok("--region=eu".into()));
    assert_eq!(argument("Bearer ${OWN_TOKEN}"), Ok("Bearer ${OWN_TOKEN}".into()));
    for text in ["${API_TOKEN:-x}", "${input:pw}", "${file:/run/key}"] {
        assert!(argument(text).unwrap_err().contains("secret"), "{text}");
    }
    assert!(argument("${MISSING}").unwrap_err().contains("not set"));
    assert!(argument("${input:other}").unwrap_err().contains("other"));
}

#[test]
fn an_input_gives_a_name_that_a_variable_may_have() {
    assert_eq!(variable_of("perplexity-key"), "PERPLEXITY_KEY");
    assert_eq!(variable_of("1st"), "INPUT_1ST");
    assert_eq!(variable_of("--"), "INPUT_");
}

#[test]
fn relative_paths_start_at_the_project() {
    let text = r#"{"mcpServers": {"a": {"command": "bin/a", "cwd": "work"}}}"#;
    let reach = |file: &str| {
        crate::parse(file, text).unwrap().compile().unwrap().0.servers["a"]
            .reach
            .clone()
    };
    let from = |directory: &str| crate::Reach::Stdio {
        command: format!("{directory}/bin/a"),
        args: vec![],
        env: vec![],
        cwd: Some(format!("{directory}/work").into()),
    };
    assert_eq!(reach("/srv/p/.cursor/mcp.json"), from("/srv/p"));
    assert_eq!(reach("/srv/p/mcp.json"), from("/srv/p"));
    assert_eq!(reach("mcp.json"), from("."));
    assert_eq!(reach(".vscode/mcp.json"), from("."));
}
