//! Numbers and text that no client may send.

use super::*;

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
    accept(request(
        r#"{"reason":"\u0000","other":["\u0000"],"_meta":{"vendor":"\u0000"}}"#,
    ));
    accept(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"\u0000"}}"#);
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
