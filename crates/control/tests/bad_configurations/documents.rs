//! Documents that are wrong, each beside a configuration that is right: the kind and name it is under, what it says, and the
//! code of what is wrong with it.

pub(crate) struct Bad {
    pub(crate) what: &'static str,
    pub(crate) code: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) json: String,
}

/// One with a `spec`, under a kind and a name.
fn spec(what: &'static str, code: &'static str, kind: &'static str, name: &'static str, spec: &str) -> Bad {
    Bad {
        what,
        code,
        kind,
        name,
        json: format!(
            r#"{{"apiVersion":"meshgate.dev/v1alpha1","kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
        ),
    }
}

fn whole(what: &'static str, code: &'static str, json: &str) -> Bad {
    Bad {
        what,
        code,
        kind: "Server",
        name: "documents",
        json: json.to_owned(),
    }
}

/// The configuration that is right.
pub(crate) fn good() -> Vec<(&'static str, &'static str, String)> {
    let of = |kind, name, text: &str| {
        let one = spec("right", "", kind, name, text);
        (kind, name, one.json)
    };
    vec![
        of("Mesh", "corp", r#"{"trustDomain":"corp.example"}"#),
        of("Gateway", "main", r#"{"listeners":[{"address":"127.0.0.1:7300"}]}"#),
        of("Server", "documents", r#"{"sidecar":{}}"#),
        of("Server", "projects", r#"{"http":{"url":"http://127.0.0.1:9000/mcp"}}"#),
        of(
            "View",
            "all",
            r#"{"path":"/mcp","servers":[{"name":"documents"},{"name":"projects"}]}"#,
        ),
        of(
            "View",
            "one",
            r#"{"path":"/views/one/mcp","servers":[{"name":"documents"}]}"#,
        ),
        of(
            "Application",
            "assistant",
            r#"{"tokens":[{"environment":"ASSISTANT"}],"views":["all","one"]}"#,
        ),
    ]
}

/// Every one of them.
pub(crate) fn all() -> Vec<Bad> {
    [forms(), servers(), reaches(), views(), edges(), sizes()]
        .into_iter()
        .flatten()
        .collect()
}

/// What is no document, or none of its kind.
fn forms() -> Vec<Bad> {
    let good = r#"{"apiVersion":"meshgate.dev/v1alpha1","kind":"Server","metadata":{"name":"documents"},"spec":{"sidecar":{}}}"#;
    vec![
        whole("no JSON", "MG0001", r#"{"kind": "#),
        whole("cut in the middle", "MG0001", &good[..good.len() - 20]),
        whole("NUL", "MG0001", &format!("{good}\0")),
        whole("a list", "MG0008", "[1, 2]"),
        whole("a text", "MG0008", r#""documents""#),
        whole(
            "no version",
            "MG0009",
            &good.replace(r#""apiVersion":"meshgate.dev/v1alpha1","#, ""),
        ),
        whole("another version", "MG0009", &good.replace("v1alpha1", "v9")),
        whole("no kind", "MG0010", &good.replace(r#""kind":"Server","#, "")),
        whole("another kind", "MG0010", &good.replace("Server", "Sever")),
        whole("no name", "MG0004", &good.replace(r#""name":"documents""#, "")),
        whole("a blank name", "MG0101", &good.replace(r#""documents""#, r#""""#)),
        whole(
            "a name with a slash",
            "MG0101",
            &good.replace("documents", "../documents"),
        ),
        whole("a name in capitals", "MG0101", &good.replace("documents", "Documents")),
        whole(
            "a field twice",
            "MG0006",
            &good.replace(r#""spec":"#, r#""spec":{"sidecar":{}},"spec":"#),
        ),
        whole(
            "an unknown field at the top",
            "MG0003",
            &good.replace(r#""spec":"#, r#""spce":{},"spec":"#),
        ),
        whole(
            "an unknown field of metadata",
            "MG0003",
            &good.replace(r#""name":"#, r#""nmae":"x","name":"#),
        ),
        whole(
            "a spec that is a list",
            "MG0002",
            &good.replace(r#"{"sidecar":{}}"#, "[]"),
        ),
        whole(
            "a spec that is null",
            "MG0002",
            &good.replace(r#"{"sidecar":{}}"#, "null"),
        ),
        whole(
            "a team with a space",
            "MG0101",
            &good.replace(r#""documents""#, r#""documents","team":"a b""#),
        ),
    ]
}

/// What a server cannot be.
fn servers() -> Vec<Bad> {
    let of = |what, code, text: &str| spec(what, code, "Server", "documents", text);
    vec![
        of("blank", "MG0303", "{}"),
        of("an unknown field", "MG0003", r#"{"sidecar":{},"htpt":{}}"#),
        of(
            "an unknown field of the sidecar",
            "MG0003",
            r#"{"sidecar":{"versoin":"v1"}}"#,
        ),
        of("a blank version", "MG0317", r#"{"sidecar":{"version":""}}"#),
        of(
            "a version that is a path",
            "MG0317",
            r#"{"sidecar":{"version":"../v2"}}"#,
        ),
        of(
            "a version that is too long",
            "MG0317",
            &format!(r#"{{"sidecar":{{"version":"{}"}}}}"#, "v".repeat(64)),
        ),
        of("the alias of another", "MG0302", r#"{"sidecar":{},"alias":"projects"}"#),
        of(
            "an alias with the separator",
            "MG0301",
            r#"{"sidecar":{},"alias":"a__b"}"#,
        ),
        of("a blank alias", "MG0301", r#"{"sidecar":{},"alias":""}"#),
        of("an era that never was", "MG0005", r#"{"sidecar":{},"era":"ancient"}"#),
        of("a time without a unit", "MG0002", r#"{"sidecar":{},"deadline":5}"#),
        of("a time of years", "MG0105", r#"{"sidecar":{},"deadline":"90000h"}"#),
        of("no time at all", "MG0105", r#"{"sidecar":{},"deadline":"0s"}"#),
        of(
            "a deadline beyond the hard one",
            "MG0312",
            r#"{"sidecar":{},"deadline":"10m","hardDeadline":"1m"}"#,
        ),
        of("a text for a mapping", "MG0002", r#"{"sidecar":"yes"}"#),
        of(
            "sharing nobody knows",
            "MG0005",
            r#"{"sidecar":{},"sharing":"everybody"}"#,
        ),
    ]
}

/// How a server cannot be reached.
fn reaches() -> Vec<Bad> {
    let of = |what, code, text: &str| spec(what, code, "Server", "projects", text);
    vec![
        of(
            "two ways to reach it",
            "MG0303",
            r#"{"stdio":{"command":"a"},"http":{"url":"http://127.0.0.1:9/"}}"#,
        ),
        of(
            "a URL of another kind",
            "MG0309",
            r#"{"http":{"url":"file:///etc/passwd"}}"#,
        ),
        of(
            "a URL with a password",
            "MG0309",
            r#"{"http":{"url":"http://a:b@127.0.0.1:9/"}}"#,
        ),
        of("a blank URL", "MG0309", r#"{"http":{"url":""}}"#),
        of("a URL without a host", "MG0309", r#"{"http":{"url":"http:///mcp"}}"#),
        of("a blank command", "MG0304", r#"{"stdio":{"command":""}}"#),
        of("a command with NUL", "MG0304", r#"{"stdio":{"command":"a\u0000b"}}"#),
        of(
            "a variable with `=`",
            "MG0306",
            r#"{"stdio":{"command":"a","env":{"A=B":"c"}}}"#,
        ),
        of(
            "a header that frames",
            "MG0310",
            r#"{"http":{"url":"http://127.0.0.1:9/","headers":{"Content-Length":"1"}}}"#,
        ),
        of(
            "a header with a line in it",
            "MG0310",
            r#"{"http":{"url":"http://127.0.0.1:9/","headers":{"X-A":"a\r\nX-B: c"}}}"#,
        ),
        of(
            "a value from two places",
            "MG0307",
            r#"{"stdio":{"command":"a","env":{"A":{"fromFile":"/a","fromEnvironment":"B"}}}}"#,
        ),
    ]
}

/// What a view and an application cannot be.
fn views() -> Vec<Bad> {
    let of = |what, code, text: &str| spec(what, code, "View", "all", text);
    let app = |what, code, text: &str| spec(what, code, "Application", "assistant", text);
    vec![
        of(
            "of a server that is not there",
            "MG0403",
            r#"{"path":"/mcp","servers":[{"name":"nobody"}]}"#,
        ),
        of("of itself", "MG0403", r#"{"path":"/mcp","servers":[{"name":"all"}]}"#),
        of(
            "of a server twice",
            "MG0404",
            r#"{"path":"/mcp","servers":[{"name":"documents"},{"name":"documents"}]}"#,
        ),
        of(
            "on the path of another",
            "MG0402",
            r#"{"path":"/views/one/mcp","servers":[{"name":"documents"}]}"#,
        ),
        of(
            "on a path that climbs",
            "MG0401",
            r#"{"path":"/../mcp","servers":[{"name":"documents"}]}"#,
        ),
        of(
            "on no path",
            "MG0401",
            r#"{"path":"","servers":[{"name":"documents"}]}"#,
        ),
        of(
            "two tools under one name",
            "MG0409",
            r#"{"path":"/mcp","servers":[{"name":"documents","tools":{"rename":{"a":"x","b":"x"}}}]}"#,
        ),
        of(
            "a tool renamed into what is no name",
            "MG0408",
            r#"{"path":"/mcp","servers":[{"name":"documents","tools":{"rename":{"a":"b c"}}}]}"#,
        ),
        of(
            "naming of no kind",
            "MG0005",
            r#"{"path":"/mcp","naming":"guess","servers":[{"name":"documents"}]}"#,
        ),
        of(
            "open to whoever asks, in words",
            "MG0002",
            r#"{"path":"/mcp","anonymous":"yes","servers":[{"name":"documents"}]}"#,
        ),
        app(
            "of a view that is not there",
            "MG0208",
            r#"{"tokens":[{"environment":"A"}],"views":["nobody"]}"#,
        ),
        app(
            "of every view and one",
            "MG0505",
            r#"{"tokens":[{"environment":"A"}],"views":["*","all"]}"#,
        ),
        app(
            "a digest that is none",
            "MG0502",
            r#"{"tokens":[{"sha256":"abc"}],"views":["all"]}"#,
        ),
        app("a token from nowhere", "MG0501", r#"{"tokens":[{}],"views":["all"]}"#),
        app(
            "an unknown field",
            "MG0003",
            r#"{"tokens":[{"environment":"A"}],"veiws":["all"]}"#,
        ),
    ]
}

/// What a gateway and the mesh cannot be.
fn edges() -> Vec<Bad> {
    let of = |what, code, text: &str| spec(what, code, "Gateway", "main", text);
    let mesh = |what, code, text: &str| spec(what, code, "Mesh", "corp", text);
    vec![
        of("no listener", "MG0201", r#"{"listeners":[]}"#),
        of(
            "open to the world without TLS",
            "MG0202",
            r#"{"listeners":[{"address":"0.0.0.0:7300"}]}"#,
        ),
        of(
            "one address twice",
            "MG0205",
            r#"{"listeners":[{"address":"127.0.0.1:7300"},{"address":"127.0.0.1:7300"}]}"#,
        ),
        of(
            "an address that is none",
            "MG0002",
            r#"{"listeners":[{"address":"localhost"}]}"#,
        ),
        of(
            "a host that is none",
            "MG0206",
            r#"{"listeners":[{"address":"127.0.0.1:7300","hosts":["a b"]}]}"#,
        ),
        of(
            "an origin that is none",
            "MG0207",
            r#"{"listeners":[{"address":"127.0.0.1:7300","origins":["chat"]}]}"#,
        ),
        of(
            "a view that is not there",
            "MG0208",
            r#"{"listeners":[{"address":"127.0.0.1:7300"}],"views":["nobody"]}"#,
        ),
        mesh(
            "a trust domain in capitals",
            "MG0107",
            r#"{"trustDomain":"Corp.Example"}"#,
        ),
        mesh("a blank trust domain", "MG0107", r#"{"trustDomain":""}"#),
        mesh(
            "certificates that never end",
            "MG0105",
            r#"{"trustDomain":"corp.example","certificates":{"life":"87600h"}}"#,
        ),
        mesh(
            "spans to nowhere",
            "MG0108",
            r#"{"trustDomain":"corp.example","traces":{"otlp":"nowhere"}}"#,
        ),
        mesh(
            "an admin listener for everybody",
            "MG0209",
            r#"{"trustDomain":"corp.example","admin":{"address":"0.0.0.0:7301"}}"#,
        ),
        mesh(
            "less than nothing",
            "MG0002",
            r#"{"trustDomain":"corp.example","limits":{"callBurst":-1}}"#,
        ),
        mesh(
            "more than a number can be",
            "MG0002",
            r#"{"trustDomain":"corp.example","limits":{"callBurst":99999999999999999999}}"#,
        ),
        mesh(
            "ten times too large",
            "MG0105",
            r#"{"trustDomain":"corp.example","limits":{"callsInFlight":4000000000}}"#,
        ),
    ]
}

/// What is too large or too deep.
fn sizes() -> Vec<Bad> {
    let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    let text = "x".repeat(64 << 10);
    vec![
        spec(
            "nested without end",
            "MG0001",
            "Server",
            "documents",
            &format!(r#"{{"sidecar":{{}},"x":{deep}}}"#),
        ),
        spec(
            "instructions of 64 KiB",
            "MG0407",
            "View",
            "all",
            &format!(r#"{{"path":"/mcp","servers":[{{"name":"documents"}}],"instructions":"{text}"}}"#),
        ),
        spec(
            "ten times more than a file may have",
            "MG0007",
            "View",
            "all",
            &format!(
                r#"{{"path":"/mcp","servers":[{{"name":"documents"}}],"instructions":"{}"}}"#,
                "x".repeat(10 << 20)
            ),
        ),
    ]
}
