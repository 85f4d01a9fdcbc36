//! Members, ids, nesting and envelopes that no client may send.

use super::*;

#[test]
fn d05_a010_repeated_members_are_refused_at_every_level() {
    for src in [
        request(r#"{"name":"ok","name":"evil"}"#),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"tools/list"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}"#.to_owned(),
        request(r#"{"name":"ok","_meta":{"progressToken":1,"progressToken":2}}"#),
        call(r#"{"a":1,"a":2}"#),
        call(r#"{"b":[{"a":{"x":1,"y":2,"x":1}}]}"#),
        request(r#"{"name":"ok","inputResponses":{"k":{},"k":{}}}"#),
        request(r#"{"":1,"":2}"#),
    ] {
        assert_eq!(refuse(src), Fault::Duplicate);
    }
}

#[test]
fn d05_a010_repeated_members_in_large_objects_are_refused() {
    for count in [15, 16, 17, 18, 300] {
        let keys: Vec<_> = (0..count)
            .map(|n| format!("\"member-of-some-length-{n}\":{n}"))
            .collect();
        accept(call(&format!("{{{}}}", keys.join(","))));
        for repeated in [0, count / 2, count - 1] {
            let src = call(&format!(
                "{{{},\"member-of-some-length-{repeated}\":0}}",
                keys.join(",")
            ));
            assert_eq!(refuse(src), Fault::Duplicate, "{count} {repeated}");
            let escaped = call(&format!(
                "{{\"member-of-some-length-\\u003{repeated}\":0,{}}}",
                keys.join(",")
            ));
            if repeated < 10 {
                assert_eq!(refuse(escaped), Fault::Duplicate, "{count} {repeated}");
            }
        }
    }
}

#[test]
fn d05_a011_repeated_members_are_refused_in_escaped_spelling() {
    for params in [
        r#"{"name":"ok","na\u006de":"evil"}"#,
        r#"{"na\u006de":"ok","name":"evil"}"#,
        r#"{"na\u006de":"ok","n\u0061me":"evil"}"#,
        r#"{"arguments":{"a/b":1,"a\/b":2}}"#,
        r#"{"arguments":{"😀":1,"\ud83d\ude00":2}}"#,
    ] {
        assert_eq!(refuse(request(params)), Fault::Duplicate, "{params}");
    }
}

#[test]
fn d05_a012_case_variants_of_protocol_members_are_refused() {
    let variant = |src: String, name| assert_eq!(refuse(&src), Fault::CaseVariant { name }, "{src}");
    variant(request(r#"{"Name":"evil"}"#), "name");
    variant(request(r#"{"name":"ok","NAME":"evil"}"#), "name");
    variant(request(r#"{"name":"ok","N\u0061me":"evil"}"#), "name");
    variant(request(r#"{"name":"ok","argument\u017f":{}}"#), "arguments");
    variant(request("{\"argumentſ\":{}}"), "arguments");
    variant(request(r#"{"requeststate":"x"}"#), "requestState");
    variant(request("{\"taſkId\":\"x\"}"), "taskId");
    variant(request("{\"tas\u{212a}Id\":\"x\"}"), "taskId");
    variant(request(r#"{"tas\u212aId":"x"}"#), "taskId");
    variant(request(r#"{"_Meta":{}}"#), "_meta");
    variant(request(r#"{"_meta":{"ProgressToken":1}}"#), "progressToken");
    variant(request("{\"_meta\":{\"progressTo\u{212a}en\":1}}"), "progressToken");
    variant(
        request(r#"{"_meta":{"io.modelcontextprotocol/ProtocolVersion":"x"}}"#),
        crate::meta::PROTOCOL_VERSION,
    );
    variant(
        request(r#"{"ref":{"type":"ref/prompt","name":"ok","Name":"evil"}}"#),
        "name",
    );
    variant(
        request(r#"{"notifications":{"ResourceSubscriptions":[]}}"#),
        "resourceSubscriptions",
    );
    variant(
        r#"{"jsonrpc":"2.0","id":1,"method":"x","paramſ":{}}"#.to_owned(),
        "params",
    );
    variant(
        r#"{"jsonrpc":"2.0","id":1,"method":"x","Params":{}}"#.to_owned(),
        "params",
    );
    variant(
        r#"{"jsonrpc":"2.0","id":1,"Method":"y","method":"x"}"#.to_owned(),
        "method",
    );
    variant(r#"{"jsonrpc":"2.0","ID":1,"method":"x"}"#.to_owned(), "id");
}

#[test]
fn a012_names_that_only_resemble_a_member_are_plain_data() {
    accept(request(
        r#"{"names":1,"nam":2,"nämе":3,"\u212aey":4,"x-Name":5,"_meta":{"Name":1,"dev.example/Key":2}}"#,
    ));
    accept(call("{\"Name\":1,\"name\":2,\"NAME\":3,\"\u{212a}ey\":4,\"key\":5}"));
    accept(request(r#"{"inputResponses":{"Name":{"Content":1}}}"#));
}

#[test]
fn d06_a013_deep_nesting_is_refused_without_recursion() {
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(100_000);
        assert_eq!(refuse(call(&format!("{{\"a\":{deep}"))), Fault::Depth { max: 64 });
        assert!(matches!(refuse(&deep), Fault::Batch | Fault::Depth { .. }));
        let src = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{deep}"#);
        assert_eq!(
            scan(src.as_bytes(), &Rules::SERVER).unwrap_err().fault(),
            Fault::Depth { max: 512 }
        );
    }
}

#[test]
fn d06_a018_one_message_and_nothing_else() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(refuse(format!("{ping}{ping}")), Fault::Trailing);
    assert_eq!(refuse(format!("{ping}\n{ping}")), Fault::Trailing);
    assert_eq!(refuse(format!("{ping},")), Fault::Trailing);
    assert_eq!(refuse(format!("{ping}\0")), Fault::Trailing);
    assert_eq!(refuse(format!("[{ping}]")), Fault::Batch);
    assert_eq!(refuse("{}{}"), Fault::Trailing);
    assert_eq!(refuse("[]"), Fault::Batch);
    for src in ["", " \r\n\t"] {
        assert_eq!(refuse(src), Fault::Empty);
    }
    for src in ["null", "1", "\"x\"", "true"] {
        assert_eq!(refuse(src), Fault::NotObject);
    }
    for src in [
        "// comment\n{}",
        "/* c */{}",
        "{/* c */}",
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":[1,]}"#,
        r#"{"a" 1}"#,
        r#"{"a":}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        "{",
        r#"{"a"#,
        r#"{"a""#,
        r#"{"a":"#,
        r#"{"a":1"#,
        "}",
        "]",
        r#"{"a":1]"#,
        r#"{"a":[1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":[1 2]}"#,
        r#"{1:2}"#,
        r#"{"a":1,,"b":2}"#,
        "\u{a0}{}",
        "\u{b}{}",
        "{\u{c}}",
    ] {
        assert_eq!(refuse(src).code(), PARSE_ERROR, "{src}");
    }
}

#[test]
fn d07_a019_ids_of_forms_that_mcp_lacks_are_refused() {
    for id in [
        "null",
        "1.5",
        "1e0",
        "1.0",
        "-0",
        "true",
        "{}",
        "[]",
        "[1]",
        "9007199254740993",
        "-9007199254740993",
        "99999999999999999999",
        "\"\"",
    ] {
        assert_eq!(refuse(with_id(id)), Fault::Id, "{id}");
    }
    assert_eq!(refuse(with_id(&format!("\"{}\"", "x".repeat(1_000_000)))), Fault::Id);
    assert_eq!(
        refuse(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#),
        Fault::IdMissing
    );
    assert_eq!(refuse(r#"{"jsonrpc":"2.0","result":{}}"#), Fault::Id);
    assert_eq!(
        refuse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#),
        Fault::Id
    );
    for id in [
        "0",
        "-1",
        "1",
        "9007199254740991",
        "9007199254740992",
        "\"1\"",
        "\"\\u0031\"",
        "\"é\"",
    ] {
        let src = with_id(id);
        assert_eq!(accept(&src).id.unwrap().raw(src.as_bytes()), id.as_bytes());
    }
}

#[test]
fn a020_keys_that_mean_something_to_a_language_are_plain_data() {
    let arguments = r#"{"__proto__":{"admin":true},"constructor":{"prototype":{}},"toString":1,"hasOwnProperty":2}"#;
    let src = call(arguments);
    let message = accept(&src);
    assert_eq!(
        message
            .body_value(src.as_bytes(), "arguments")
            .unwrap()
            .raw(src.as_bytes()),
        arguments.as_bytes()
    );
    accept(request(r#"{"name":"x","__proto__":{"name":"y"}}"#));
}

#[test]
fn envelopes_that_are_not_one_message_are_refused() {
    for (src, fault) in [
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, Fault::Version),
        (r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#, Fault::Version),
        (r#"{"id":1,"method":"x"}"#, Fault::Version),
        ("{}", Fault::Version),
        (r#"{"jsonrpc":"2.0"}"#, Fault::Shape),
        (r#"{"jsonrpc":"2.0","id":1}"#, Fault::Shape),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#, Fault::Shape),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            Fault::Shape,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, Fault::Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, Fault::Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, Fault::Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#, Fault::Params),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":null}"#, Fault::Params),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":"y"}"#, Fault::Params),
        (r#"{"jsonrpc":"2.0","id":1,"result":[]}"#, Fault::Response),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}"#, Fault::Response),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"x"}}"#,
            Fault::Response,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":2}}"#,
            Fault::Response,
        ),
    ] {
        let found = refuse(src);
        assert_eq!(found, fault, "{src}");
        assert_eq!(found.code(), INVALID_REQUEST);
    }
}

#[test]
fn repeated_members_of_arguments_pass_where_an_operator_allows_them() {
    let rules = Rules {
        duplicate_arguments: true,
        ..Rules::CLIENT
    };
    let allowed = call(r#"{"a":1,"a":2,"b":[{"c":1,"c":2}]}"#);
    assert!(scan(allowed.as_bytes(), &rules).is_ok());
    for src in [
        request(r#"{"name":"a","name":"b"}"#),
        request(r#"{"other":{"a":1,"a":2}}"#),
    ] {
        assert_eq!(scan(src.as_bytes(), &rules).unwrap_err().fault(), Fault::Duplicate);
    }
}
