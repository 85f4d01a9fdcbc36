//! What no client may send, and each limit at one less, exactly, and one more.

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
fn d08_depth_is_refused_at_one_more_than_the_limit() {
    // The message and `params` and `arguments` are levels one to three.
    let of = |depth: usize| call(&format!("{{\"a\":{}{}}}", "[".repeat(depth - 3), "]".repeat(depth - 3)));
    accept(of(63));
    accept(of(64));
    assert_eq!(refuse(of(65)), Fault::Depth { max: 64 });
    let of = |depth: usize| {
        let nested = format!("{}{}", "[".repeat(depth - 2), "]".repeat(depth - 2));
        scan(
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":{nested}}}}}"#).as_bytes(),
            &Rules::SERVER,
        )
    };
    assert!(of(511).is_ok() && of(512).is_ok());
    assert_eq!(of(513).unwrap_err().fault(), Fault::Depth { max: 512 });
}

#[test]
fn d06_a014_numbers_stay_text_and_malformed_ones_are_refused() {
    for number in [
        "1e400",
        "-0",
        "1.0",
        "1E+2",
        "123456789012345678901234567890",
        "0.10",
        "-0.0e-0",
    ] {
        let src = call(&format!("{{\"n\":{number}}}"));
        let value = crate::lookup(src.as_bytes(), accept(&src).body.unwrap().span, &["arguments", "n"]).unwrap();
        assert_eq!(value.raw(src.as_bytes()), number.as_bytes());
    }
    for number in [
        "0x1", "01", "-01", "00", "+1", "1.", ".5", "1e", "1e+", "-", "1.2.3", "1a", "--1", "1_000", "0b1",
    ] {
        let fault = refuse(call(&format!("{{\"n\":{number}}}")));
        assert_eq!(fault.code(), PARSE_ERROR, "{number}");
    }
    for word in [
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "True",
        "nul",
        "nulll",
        "undefined",
        "tru",
        "falsehood",
    ] {
        assert_eq!(refuse(call(&format!("{{\"n\":{word}}}"))).code(), PARSE_ERROR, "{word}");
    }
    assert_eq!(
        refuse(call(&format!("{{\"n\":{}}}", "9".repeat(1_000_000)))),
        Fault::NumberLength { max: 40 }
    );
}

#[test]
fn d08_numbers_are_refused_at_one_more_than_the_limit() {
    let of = |length: usize| call(&format!("{{\"n\":{}}}", "7".repeat(length)));
    accept(of(39));
    accept(of(40));
    assert_eq!(refuse(of(41)), Fault::NumberLength { max: 40 });
    let src = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"n":{}}}}}"#, "7".repeat(1000));
    assert!(scan(src.as_bytes(), &Rules::SERVER).is_ok());
}

#[test]
fn d06_a015_bytes_that_are_not_utf8_are_refused() {
    let bad: [&[u8]; 12] = [
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe0\x80\x80",
        b"\x80",
        b"\xc3",
        b"\xf0\x9f\x98",
        b"\xc1\xbf",
        b"\xed\xbf\xbf",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x28\xa1",
    ];
    for bytes in bad {
        for pad in [0, 1, 7, 8, 15] {
            let string = [&b"a".repeat(pad)[..], bytes].concat();
            for (before, after) in [(r#"{"s":""#, r#""}"#), (r#"{""#, r#"":1}"#)] {
                let arguments = [before.as_bytes(), &string, after.as_bytes()].concat();
                let src = [request("@").split_once('@').unwrap().0.as_bytes(), &arguments, b"}"].concat();
                assert_eq!(refuse(&src), Fault::Utf8, "{bytes:x?}");
                let mut src = call("@").into_bytes();
                let at = src.iter().position(|byte| *byte == b'@').unwrap();
                src.splice(at..=at, arguments);
                assert_eq!(refuse(&src), Fault::Utf8, "{bytes:x?}");
                assert_eq!(scan(&src, &Rules::SERVER).unwrap_err().fault(), Fault::Utf8);
            }
        }
    }
    assert_eq!(refuse(b"{\"jsonrpc\":\"2.0\",\xff").code(), PARSE_ERROR);
    accept(call("{\"s\":\"\u{7ff}\u{800}\u{ffff}\u{10ffff}\u{d7ff}\u{e000}\"}"));
}

#[test]
fn d06_a015_lone_surrogates_are_refused_from_clients_and_pass_from_servers() {
    for text in [
        r"\ud800",
        r"\udc00",
        r"\ud800x",
        r"\ud800\n",
        r"\ud800\ud800",
        r"\udc00\ud800",
        r"\uDBFF\u0041",
    ] {
        assert_eq!(
            refuse(call(&format!("{{\"s\":\"{text}\"}}"))),
            Fault::Surrogate,
            "{text}"
        );
        assert_eq!(refuse(call(&format!("{{\"{text}\":1}}"))), Fault::Surrogate, "{text}");
        let src = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"s":"{text}"}}}}"#);
        let message = scan(src.as_bytes(), &Rules::SERVER).unwrap();
        assert!(
            message
                .body_value(src.as_bytes(), "s")
                .unwrap()
                .str(src.as_bytes())
                .unwrap()
                .contains('\u{fffd}')
        );
    }
    accept(call(r#"{"s":"\ud83d\ude00"}"#));
    for text in [r"\ud83", r"\u12g4", r"\x", r"\", r"\u", r"\u+123"] {
        assert_eq!(
            refuse(call(&format!("{{\"s\":\"{text}\"}}"))).code(),
            PARSE_ERROR,
            "{text}"
        );
    }
}

#[test]
fn d06_a016_the_nul_character_is_refused_in_names_and_addresses() {
    for params in [
        r#"{"name":"ok\u0000evil"}"#,
        r#"{"uri":"file:\u0000"}"#,
        r#"{"taskId":"\u0000"}"#,
        r#"{"na\u0000me":"x"}"#,
        r#"{"_meta":{"progress\u0000Token":1}}"#,
        r#"{"ref":{"type":"ref/prompt","name":"a\u0000"}}"#,
        r#"{"notifications":{"resourceSubscriptions":["a\u0000"]}}"#,
    ] {
        assert_eq!(refuse(request(params)), Fault::Nul, "{params}");
    }
    assert_eq!(
        refuse(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000"}"#),
        Fault::Nul
    );
    assert_eq!(
        refuse(r#"{"jsonrpc":"2.0","id":"\u0000","method":"tools/list"}"#),
        Fault::Nul
    );
    accept(call(r#"{"plain\u0000data":"\u0000"}"#));
}

#[test]
fn d06_a017_a_byte_order_mark_is_refused() {
    for mark in [&b"\xef\xbb\xbf"[..], b"\xfe\xff", b"\xff\xfe"] {
        let src = [mark, br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#].concat();
        assert_eq!(refuse(&src).code(), PARSE_ERROR);
    }
    assert_eq!(refuse(b"\xef\xbb\xbf{}"), Fault::Bom);
    assert_eq!(refuse(b" \xef\xbb\xbf{}").code(), PARSE_ERROR);
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
fn d08_id_length_is_counted_in_characters() {
    for char in ["x", "é", "😀", "\\n", "\\u00e9"] {
        let of = |length: usize| with_id(&format!("\"{}\"", char.repeat(length)));
        accept(of(255));
        accept(of(256));
        assert_eq!(refuse(of(257)), Fault::Id, "{char}");
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
fn d08_size_is_refused_at_one_more_than_the_limit() {
    for rules in [
        Rules::CLIENT,
        Rules {
            bytes_max: 1000,
            ..Rules::CLIENT
        },
        Rules::SERVER,
    ] {
        let max = rules.bytes_max;
        let of = |length: usize| {
            let (before, after) = (r#"{"jsonrpc":"2.0","id":1,"result":{"s":""#, r#""}}"#);
            format!("{before}{}{after}", "x".repeat(length - before.len() - after.len()))
        };
        for length in [max - 1, max] {
            assert!(scan(of(length).as_bytes(), &rules).is_ok());
        }
        assert_eq!(
            scan(of(max + 1).as_bytes(), &rules).unwrap_err().fault(),
            Fault::Size { max }
        );
    }
}

#[test]
fn d08_values_are_refused_at_one_more_than_the_limit() {
    // Seven values stand around the array: the message, jsonrpc, id, method, params, the array itself.
    let of = |count: usize| request(&format!("{{\"a\":[{}]}}", vec!["0"; count - 6].join(",")));
    accept(of(19_999));
    accept(of(20_000));
    assert_eq!(refuse(of(20_001)), Fault::Nodes { max: 20_000 });
    let src = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":[{}]}}}}"#,
        vec!["0"; 50_000].join(",")
    );
    assert!(scan(src.as_bytes(), &Rules::SERVER).is_ok());
}

#[test]
fn d08_recorded_members_are_refused_at_one_more_than_the_limit() {
    let of = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!("\"{n}\":0")).collect();
        scan(
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{}}}}}"#, members.join(",")).as_bytes(),
            &Rules::SERVER,
        )
    };
    assert!(of(limits::MEMBERS_MAX - 1).is_ok() && of(limits::MEMBERS_MAX).is_ok());
    assert_eq!(
        of(limits::MEMBERS_MAX + 1).unwrap_err().fault(),
        Fault::Members {
            max: limits::MEMBERS_MAX
        }
    );
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
