#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Admission, rule by rule.

use http::Request;

use super::*;

fn listener(hosts: Option<&[&str]>, origins: Option<&[&str]>, tls: bool) -> Listener {
    let owned = |list: &[&str]| list.iter().map(|s| Arc::from(*s)).collect();
    Listener {
        address: "127.0.0.1:8443".parse().unwrap(),
        tls: tls.then(|| meshgate_model::TlsFiles {
            certificate: "c".into(),
            key: "k".into(),
        }),
        hosts: hosts.map(owned),
        origins: origins.map(owned),
    }
}

fn parts(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::post("/mcp");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn modern_headers<'a>(method: &'a str, name: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    headers.extend(name.map(|n| ("mcp-name", n)));
    headers
}

fn call(name: &str) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{{}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
    .into_bytes()
}

fn modern(headers: &[(&str, &str)], body: &[u8]) -> Result<Method, Refusal> {
    let message = scan(body, &Limits::default(), false)?;
    check_modern(&parts(headers).headers, body, &message, true)
}

#[test]
fn d12_hosts_that_are_not_served_are_refused() {
    let ours = Authorities::of(&listener(Some(&["good.example"]), None, true), 8443);
    for host in ["good.example:8443", "GOOD.example:8443"] {
        assert!(ours.check(&parts(&[("host", host)])).is_ok(), "{host}");
    }
    // A-028, A-032 and relatives.
    for host in [
        "attacker.example:8443",
        "good.example",
        "good.example:80",
        "good/health?x=",
        "",
        "127.0.0.1:8443",
    ] {
        let refusal = ours.check(&parts(&[("host", host)])).unwrap_err();
        assert_eq!(refusal.reason, Reason::Host, "{host}");
    }
    assert_eq!(ours.check(&parts(&[])).unwrap_err().reason, Reason::Host, "no host");
    let twice = parts(&[("host", "good.example:8443"), ("host", "good.example:8443")]);
    assert_eq!(ours.check(&twice).unwrap_err().reason, Reason::Host, "two hosts");
}

#[test]
fn d12_origins_that_are_not_allowed_are_refused() {
    let ours = Authorities::of(
        &listener(Some(&["good.example"]), Some(&["https://good.example"]), true),
        8443,
    );
    let check = |origin: &str| ours.check(&parts(&[("host", "good.example:8443"), ("origin", origin)]));
    for origin in ["https://good.example", "https://GOOD.example:443"] {
        assert!(check(origin).is_ok(), "{origin}");
    }
    // A-029.
    for origin in [
        "null",
        "http://localhost.evil.com",
        "https://good.example.evil",
        "https://user@good.example",
        "http://good.example",
        "",
    ] {
        assert_eq!(check(origin).unwrap_err().reason, Reason::Origin, "{origin}");
    }
}

#[test]
fn d38_an_empty_list_of_hosts_or_origins_admits_nobody() {
    let nobody = Authorities::of(&listener(Some(&[]), Some(&[]), false), 8443);
    assert!(nobody.check(&parts(&[("host", "localhost:8443")])).is_err());
    let no_origin = Authorities::of(&listener(None, Some(&[]), false), 8443);
    let own = parts(&[("host", "localhost:8443"), ("origin", "http://localhost:8443")]);
    assert_eq!(no_origin.check(&own).unwrap_err().reason, Reason::Origin);
}

#[test]
fn loopback_answers_to_its_own_names_and_origins() {
    let ours = Authorities::of(&listener(None, None, false), 7300);
    for host in ["localhost:7300", "127.0.0.1:7300", "[::1]:7300"] {
        let origin = format!("http://{host}");
        assert!(
            ours.check(&parts(&[("host", host), ("origin", &origin)])).is_ok(),
            "{host}"
        );
    }
    assert!(ours.check(&parts(&[("host", "localhost:7301")])).is_err());
}

#[test]
fn a031_only_plain_json_that_accepts_both_answers_is_taken() {
    let both = "application/json, text/event-stream";
    let form = |headers: &[(&str, &str)]| check_form(&parts(headers).headers).map_err(|r| r.reason);
    assert_eq!(
        form(&[("content-type", "application/json; charset=utf-8"), ("accept", both)]),
        Ok(())
    );
    assert_eq!(form(&[("content-type", "application/json"), ("accept", "*/*")]), Ok(()));
    for kind in ["text/plain", "application/jsonx", ""] {
        assert_eq!(
            form(&[("content-type", kind), ("accept", both)]),
            Err(Reason::UnsupportedMedia),
            "{kind}"
        );
    }
    for coding in ["gzip", "gzip, gzip", "br"] {
        let headers = [
            ("content-type", "application/json"),
            ("accept", both),
            ("content-encoding", coding),
        ];
        assert_eq!(form(&headers), Err(Reason::UnsupportedMedia), "a021 {coding}");
    }
    for accept in [
        "application/json",
        "text/event-stream",
        "text/html",
        "application/json, text/event-stream;q=0",
    ] {
        assert_eq!(
            form(&[("content-type", "application/json"), ("accept", accept)]),
            Err(Reason::NotAcceptable),
            "{accept}"
        );
    }
}

#[test]
fn a003_a_routing_header_that_comes_twice_is_refused() {
    for name in [
        "mcp-name",
        "mcp-method",
        "mcp-protocol-version",
        "mcp-session-id",
        "authorization",
        "mcp-param-region",
    ] {
        let headers = [
            ("content-type", "application/json"),
            ("accept", "*/*"),
            (name, "a"),
            (name, "a"),
        ];
        assert_eq!(
            check_once(&parts(&headers).headers).unwrap_err().reason,
            Reason::HeaderMismatch,
            "{name}"
        );
    }
}

#[test]
fn d02_headers_that_differ_from_the_body_are_refused() {
    let body = call("\"danger\"");
    assert_eq!(
        modern(&modern_headers("tools/call", Some("danger")), &body).unwrap(),
        Method::ToolsCall
    );
    let refused = [
        ("a001", modern_headers("tools/list", Some("danger"))),
        ("a002", modern_headers("tools/call", Some("safe"))),
        ("case", modern_headers("tools/call", Some("Danger"))),
        ("method case", modern_headers("Tools/Call", Some("danger"))),
        ("name left out", modern_headers("tools/call", None)),
        (
            "a007",
            vec![
                ("mcp-protocol-version", "2025-11-25"),
                ("mcp-method", "tools/call"),
                ("mcp-name", "danger"),
            ],
        ),
        (
            "version left out",
            vec![("mcp-method", "tools/call"), ("mcp-name", "danger")],
        ),
        (
            "method left out",
            vec![("mcp-protocol-version", "2026-07-28"), ("mcp-name", "danger")],
        ),
    ];
    for (case, headers) in refused {
        assert_eq!(
            modern(&headers, &body).unwrap_err().reason,
            Reason::HeaderMismatch,
            "{case}"
        );
    }
}

#[test]
fn d03_encoded_names_are_decoded_before_they_are_compared() {
    assert!(
        modern(
            &modern_headers("tools/call", Some("=?base64?c2FmZQ==?=")),
            &call("\"safe\"")
        )
        .is_ok()
    );
    let refused = [
        ("a004", "=?base64?c2FmZQ==?=", "\"danger\""),
        ("a005 padding", "=?base64?c2FmZQ?=", "\"safe\""),
        ("a005 space", "=?base64?c2Fm ZQ==?=", "\"safe\""),
        ("a005 trailing bits", "=?base64?c2FmZR==?=", "\"safe\""),
        ("a005 utf-8", "=?base64?/w==?=", "\"safe\""),
        ("a005 case", "=?BASE64?c2FmZQ==?=", "\"safe\""),
        ("a006", "=?base64?x?=", "\"=?base64?x?=\""),
    ];
    for (case, header, name) in refused {
        let refusal = modern(&modern_headers("tools/call", Some(header)), &call(name)).unwrap_err();
        assert_eq!(refusal.reason, Reason::HeaderMismatch, "{case}");
    }
}

#[test]
fn a_modern_request_without_its_meta_is_invalid() {
    let headers = modern_headers("tools/list", None);
    for meta in [
        "",
        r#","params":{}"#,
        r#","params":{"_meta":{}}"#,
        r#","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list"{meta}}}"#);
        let message = scan(body.as_bytes(), &Limits::default(), false).unwrap();
        assert_eq!(face(&parts(&headers).headers, body.as_bytes(), &message), Face::Modern);
        assert_eq!(
            modern(&headers, body.as_bytes()).unwrap_err().reason,
            Reason::InvalidMeta,
            "{meta}"
        );
    }
}

#[test]
fn a_version_that_is_not_served_is_named_with_those_that_are() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let headers = [("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")];
    let refusal = modern(&headers, body).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnsupportedVersion);
    let data = String::from_utf8(refusal.data.unwrap()).unwrap();
    assert!(
        data.contains(r#""requested":"2099-01-01""#) && data.contains(r#""supported":["2026-07-28""#),
        "{data}"
    );
}

#[test]
fn what_says_nothing_modern_of_itself_is_legacy() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let message = scan(body, &Limits::default(), false).unwrap();
    for headers in [
        vec![],
        vec![("mcp-protocol-version", "2025-11-25")],
        vec![("mcp-protocol-version", "zzzz")],
    ] {
        assert_eq!(
            face(&parts(&headers).headers, body, &message),
            Face::Legacy,
            "{headers:?}"
        );
    }
}
