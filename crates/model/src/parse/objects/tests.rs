#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::finding::codes;
use crate::{Config, Finding, Reach, Role, Snapshot, parse};

fn object(kind: &str, name: &str, spec: &str) -> Vec<u8> {
    format!(r#"{{"apiVersion":"meshgate.dev/v1alpha1","kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{spec}}}"#)
        .into_bytes()
}

fn compile(objects: &[Vec<u8>], role: &Role) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
    Config::of_objects(objects.iter().map(Vec::as_slice)).and_then(|config| config.compile_as(role))
}

fn gateway(name: &str) -> Role {
    Role::Gateway {
        name: name.into(),
        started: Arc::new(BTreeMap::new()),
    }
}

fn typed() -> Reach {
    Reach::Http {
        url: "http://127.0.0.1:9/mcp".into(),
        headers: Vec::new(),
    }
}

fn sidecar(server: &str) -> Role {
    Role::Sidecar {
        server: server.into(),
        reach: Box::new(typed()),
    }
}

fn corp() -> Vec<Vec<u8>> {
    vec![
        object("Mesh", "corp", "{}"),
        object("Gateway", "main", r#"{"views":["desk"]}"#),
        object(
            "Gateway",
            "lab",
            r#"{"listeners":[{"address":"127.0.0.1:0"}],"views":["bench"]}"#,
        ),
        object("Server", "documents", r#"{"sidecar":{}}"#),
        object("Server", "projects", r#"{"sidecar":{"version":"v2"}}"#),
        object(
            "View",
            "desk",
            r#"{"servers":[{"name":"documents"},{"name":"projects"}]}"#,
        ),
        object(
            "View",
            "bench",
            r#"{"path":"/bench/mcp","anonymous":true,"servers":[{"name":"projects"}]}"#,
        ),
        object("Application", "assist", r#"{"tokens":[],"views":["desk","elsewhere"]}"#),
    ]
}

#[test]
fn each_gateway_of_a_mesh_has_its_own_document_and_views() {
    let (main, _) = compile(&corp(), &gateway("main")).unwrap();
    assert_eq!(&*main.gateway.name, "main");
    assert_eq!(main.views.len(), 1);
    assert_eq!(main.views[0].servers.len(), 2);
    let (lab, _) = compile(&corp(), &gateway("lab")).unwrap();
    assert_eq!(lab.gateway.listeners[0].address.port(), 0);
    assert!(lab.view_at("/bench/mcp").is_some() && lab.view("desk").is_none());
    let (other, _) = compile(&corp(), &gateway("other")).unwrap();
    assert_eq!(
        &*other.gateway.name, "other",
        "a gateway without a document has the defaults"
    );
    assert!(other.gateway.listeners[0].is_loopback());
}

#[test]
fn a_file_of_one_gateway_has_one_gateway() {
    let found = compile(&corp(), &Role::Alone).unwrap_err();
    assert!(found.iter().any(|f| f.code == codes::ONE_ONLY), "{found:?}");
}

#[test]
fn an_anonymous_view_matters_to_the_gateway_that_serves_it() {
    let tls = r#"{"certificate":"/c","key":"/k"}"#;
    let open = format!(r#"{{"views":["desk"],"listeners":[{{"address":"10.0.0.1:443","tls":{tls},"hosts":["a"]}}]}}"#);
    let mut objects = corp();
    objects[1] = object("Gateway", "main", &open);
    assert!(compile(&objects, &gateway("main")).is_ok());
    objects[1] = object("Gateway", "main", &open.replace("desk", "bench"));
    let found = compile(&objects, &gateway("main")).unwrap_err();
    assert_eq!(found.last().unwrap().code, codes::ANONYMOUS);
    assert_eq!(found.last().unwrap().document.as_deref(), Some("View/bench"));
}

#[test]
fn a_sidecar_knows_its_own_server_only_and_reaches_it_as_was_typed() {
    let (snapshot, _) = compile(&corp(), &sidecar("projects")).unwrap();
    assert_eq!(snapshot.servers.len(), 1);
    assert_eq!(snapshot.servers["projects"].reach, typed());
    let desk = snapshot.view("desk").unwrap();
    assert_eq!(
        desk.servers.len(),
        1,
        "the other server of the view is another sidecar's"
    );
    assert!(snapshot.may_use("assist", desk));
    let told: Vec<Vec<u8>> = corp()
        .into_iter()
        .filter(|o| !o.windows(11).any(|w| w == b"\"documents\""))
        .collect();
    assert!(compile(&told, &sidecar("projects")).is_ok());
}

#[test]
fn a_sidecar_whose_server_has_gone_has_no_server() {
    let (snapshot, _) = compile(&corp(), &sidecar("stranger")).unwrap();
    assert!(snapshot.servers.is_empty());
    assert!(snapshot.views.iter().all(|view| view.servers.is_empty()));
}

#[test]
fn d38_what_a_control_plane_leaves_out_is_not_there() {
    let (snapshot, _) = compile(
        &[object("Server", "documents", r#"{"sidecar":{}}"#)],
        &sidecar("documents"),
    )
    .unwrap();
    assert!(snapshot.views.is_empty(), "no view of everything is made up");
    assert!(snapshot.applications.is_empty(), "and nobody is let in");
}

#[test]
fn what_a_file_leaves_to_its_reader_is_written_out_for_the_parts() {
    let server = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: a}\nspec: {sidecar: {}}\n";
    let full = parse("mesh.yaml", server).unwrap().in_full();
    assert_eq!(full.gateways(), ["default".into()]);
    let kinds: Vec<&str> = full.documents.iter().map(|d| d.spec.kind()).collect();
    assert_eq!(kinds, ["Server", "Mesh", "Gateway", "View", "Application"]);
    let (plain, _) = parse("mesh.yaml", server).unwrap().compile().unwrap();
    let (written, _) = full.compile().unwrap();
    assert_eq!(plain.views, written.views);
    assert_eq!(plain.applications, written.applications);
    assert_eq!(plain.gateway, written.gateway);
}

#[test]
fn r05_no_program_is_started_because_a_control_plane_says_so() {
    let told = [object(
        "Server",
        "shell",
        r#"{"stdio":{"command":"/bin/sh","args":["-c","evil"]}}"#,
    )];
    let (snapshot, _) = compile(&told, &gateway("main")).unwrap();
    assert!(matches!(snapshot.servers["shell"].reach, Reach::Sidecar { .. }));
    let (snapshot, _) = compile(&told, &sidecar("shell")).unwrap();
    assert_eq!(snapshot.servers["shell"].reach, typed());
    let own = Reach::Stdio {
        command: "/usr/bin/true".into(),
        args: Vec::new(),
        env: Vec::new(),
        cwd: None,
    };
    let role = Role::Gateway {
        name: "main".into(),
        started: Arc::new(BTreeMap::from([("shell".into(), own.clone())])),
    };
    let (snapshot, _) = compile(&told, &role).unwrap();
    assert_eq!(
        snapshot.servers["shell"].reach, own,
        "what was typed here is started, and not what was told"
    );
}

#[test]
fn an_object_of_the_wrong_form_is_refused_and_named() {
    let cases = [
        (
            object("Server", "a", r#"{"sidecar":{},"extra":1}"#),
            codes::UNKNOWN_FIELD,
            Some("Server/a"),
        ),
        (
            object("Server", "a", r#"{"sidecar":{"version":7}}"#),
            codes::FORM,
            Some("Server/a"),
        ),
        (object("Thing", "a", "{}"), codes::KIND, Some("Thing/a")),
        (object("View", "a", "{}"), codes::FORM, Some("View/a")),
        (b"{".to_vec(), codes::FORM, None),
        (
            br#"{"apiVersion":"meshgate.dev/v9","kind":"Mesh","metadata":{"name":"m"},"spec":{}}"#.to_vec(),
            codes::API_VERSION,
            Some("Mesh/m"),
        ),
    ];
    for (json, code, document) in cases {
        let found = compile(std::slice::from_ref(&json), &gateway("main")).unwrap_err();
        assert_eq!(
            (found[0].code, found[0].document.as_deref()),
            (code, document),
            "{}",
            json.escape_ascii()
        );
    }
}

#[test]
fn tokens_come_beside_their_application_and_prove_it() {
    let digest = "ab".repeat(32);
    let json = format!(r#"[{{"sha256":"{digest}"}},{{"file":"/run/token"}}]"#);
    let objects = corp();
    let config = Config::of_objects(objects.iter().map(Vec::as_slice)).unwrap();
    let (snapshot, _) = config
        .clone()
        .with_tokens("assist", json.as_bytes())
        .and_then(|config| config.compile_as(&gateway("main")))
        .unwrap();
    assert_eq!(
        &*snapshot.application_by_token_digest(&[0xab; 32]).unwrap().name,
        "assist"
    );
    assert_eq!(snapshot.application("assist").unwrap().tokens.len(), 2);
    let found = config.with_tokens("assist", b"[{}, 7]").unwrap_err();
    assert_eq!(found[0].document.as_deref(), Some("Application/assist"));
}
