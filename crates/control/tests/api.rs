//! The admin API: nobody without the token, nothing half done, and every answer says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{MESH, Mesh, ask};
use serde_json::{Value, json};

fn apply(text: &str) -> Value {
    json!({"sources": [{"name": "/etc/mesh.yaml", "text": text}]})
}

/// The codes of errors in an answer.
fn errors(answer: &common::Answer) -> Vec<String> {
    let answer = answer.json();
    let findings = answer["findings"].as_array().unwrap().iter();
    let errors = findings.filter(|finding| finding["severity"] == "error");
    errors
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect()
}

/// Every method and path of the OpenAPI document, with something in the place of each parameter.
fn operations(document: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace("{kind}", "Server").replace("{name}", "documents");
        for method in ["get", "post", "put", "patch", "delete"] {
            if !item[method].is_null() {
                all.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    all
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");
    let served = format!("{}\n", meshgate_control::api::openapi_text());
    if std::env::var_os("MESHGATE_REGENERATE").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == served,
        "docs/reference/openapi.json is stale; run `MESHGATE_REGENERATE=1 cargo nextest run -p meshgate-control --test api`"
    );
}

#[tokio::test]
async fn every_route_is_closed_without_the_token_and_open_with_it() {
    let mesh = Mesh::start().await;
    let document = mesh.operator("GET", "/v1/openapi.json", &Value::Null).await.json();
    let operations = operations(&document);
    assert!(operations.len() >= 20, "{operations:?}");
    let right = mesh.running.operator_token().expose().to_owned();
    let bearer = format!("Bearer {right}");
    let wrong = format!("Bearer {}x", right);
    let upper = format!("Bearer {}", right.to_uppercase());
    let basic = format!("Basic {right}");
    let refused: [&[(&str, &str)]; 7] = [
        &[],
        &[("authorization", &wrong)],
        &[("authorization", &upper)],
        &[("authorization", &basic)],
        &[("authorization", "Bearer ")],
        &[("authorization", &bearer), ("authorization", &wrong)],
        &[("cookie", &bearer)],
    ];
    let nowhere = [
        ("GET".to_owned(), "/v1/nothing".to_owned()),
        ("GET".to_owned(), "/".to_owned()),
    ];
    for (method, path) in operations.iter().chain(&nowhere) {
        for headers in refused {
            let answer = ask(mesh.api(), method, path, headers, "{}").await;
            assert_eq!(answer.status, 401, "{method} {path} {headers:?}: {}", answer.text);
            assert!(answer.headers.contains_key("www-authenticate"));
            assert!(answer.json()["message"].as_str().unwrap().contains("operator-token"));
        }
        let page = [("authorization", bearer.as_str()), ("origin", "http://127.0.0.1")];
        assert_eq!(
            ask(mesh.api(), method, path, &page, "{}").await.status,
            403,
            "{method} {path}"
        );
    }
    for (method, path) in &operations {
        let answer = ask(mesh.api(), method, path, &[("authorization", &bearer)], "").await;
        assert!(
            ![401, 403, 405].contains(&answer.status),
            "{method} {path}: {}",
            answer.status
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for (method, path) in &nowhere {
        assert_eq!(
            ask(mesh.api(), method, path, &[("authorization", &bearer)], "")
                .await
                .status,
            404
        );
    }
    let status = mesh.operator("GET", "/v1/status", &Value::Null).await.json();
    assert_eq!(status["revision"], 1, "nothing was changed by any of it");
}

#[tokio::test]
async fn the_token_is_its_owners_alone_and_the_same_after_a_restart() {
    let mesh = Mesh::bare().await;
    let path = mesh.directory.path().join("control/operator-token");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, mesh.running.operator_token().expose());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
    let mesh = mesh.restart().await;
    assert_eq!(text, mesh.running.operator_token().expose());
}

#[tokio::test]
async fn documents_are_applied_listed_compared_and_deleted() {
    let mesh = Mesh::bare().await;
    let looked = mesh.operator("POST", "/v1/diff", &apply(MESH)).await.json();
    assert_eq!(
        (&looked["outcome"], &looked["revision"]),
        (&json!("wouldApply"), &json!(0))
    );
    let applied = mesh.operator("POST", "/v1/apply", &apply(MESH)).await.json();
    assert_eq!(
        (&applied["outcome"], &applied["revision"]),
        (&json!("applied"), &json!(1)),
        "{applied}"
    );
    let again = mesh.operator("POST", "/v1/apply", &apply(MESH)).await.json();
    assert_eq!(
        (&again["outcome"], &again["revision"]),
        (&json!("unchanged"), &json!(1))
    );
    assert_eq!(again["changes"], json!([]));

    let changed = "apiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata: {name: plans}\nspec: {servers: [{name: projects}], listTtl: 5s}\n";
    let dry = json!({"sources": [{"name": "/x", "text": changed}], "dryRun": true});
    let dry = mesh.operator("POST", "/v1/apply", &dry).await.json();
    assert_eq!(dry["outcome"], "wouldApply");
    assert_eq!(dry["changes"][0]["name"], "plans");
    let stale = json!({"sources": [{"name": "/x", "text": changed}], "ifRevision": 0});
    let stale = mesh.operator("POST", "/v1/apply", &stale).await;
    assert_eq!(stale.status, 409, "{}", stale.text);
    let good = json!({"sources": [{"name": "/x", "text": changed}], "ifRevision": 1});
    assert_eq!(mesh.operator("POST", "/v1/apply", &good).await.json()["revision"], 2);

    let servers = mesh
        .operator("GET", "/v1/documents?kind=Server", &Value::Null)
        .await
        .json();
    let names: Vec<&Value> = servers["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["document"]["metadata"]["name"])
        .collect();
    assert_eq!(names, ["documents", "projects"]);
    let one = mesh
        .operator("GET", "/v1/documents/View/plans", &Value::Null)
        .await
        .json();
    assert_eq!(
        (&one["revision"], &one["document"]["spec"]["listTtl"]),
        (&json!(2), &json!("5s"))
    );
    assert_eq!(
        mesh.operator("GET", "/v1/documents/View/none", &Value::Null)
            .await
            .status,
        404
    );
    assert_eq!(
        mesh.operator("DELETE", "/v1/documents/View/none", &Value::Null)
            .await
            .status,
        404
    );
    let dry = mesh
        .operator("DELETE", "/v1/documents/Application/planner?dryRun=true", &Value::Null)
        .await
        .json();
    assert_eq!(dry["outcome"], "wouldApply");
    let gone = mesh
        .operator("DELETE", "/v1/documents/Application/planner", &Value::Null)
        .await
        .json();
    assert_eq!((&gone["outcome"], &gone["revision"]), (&json!("applied"), &json!(3)));
    let mesh = mesh.restart().await;
    let all = mesh.operator("GET", "/v1/documents", &Value::Null).await.json();
    assert_eq!(
        (&all["revision"], all["items"].as_array().unwrap().len()),
        (&json!(3), 6)
    );
}

#[tokio::test]
async fn what_is_wrong_is_refused_whole_and_named_where_its_author_wrote_it() {
    let mesh = Mesh::start().await;
    let text = "apiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata: {name: more}\nspec: {servers: [{name: nobody}]}\n---\n\
                apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: good}\nspec: {sidecar: {}}\n";
    let refused = mesh.operator("POST", "/v1/apply", &apply(text)).await;
    assert_eq!(refused.status, 422);
    let refused = refused.json();
    let finding = &refused["findings"][0];
    assert_eq!(
        (&refused["outcome"], &finding["code"]),
        (&json!("refused"), &json!("MG0403"))
    );
    let span = finding["span"].as_array().unwrap();
    let at = |n: usize| usize::try_from(span[n].as_u64().unwrap()).unwrap();
    assert_eq!(&text[at(0)..at(1)], "nobody");
    assert_eq!(
        mesh.operator("GET", "/v1/documents/Server/good", &Value::Null)
            .await
            .status,
        404
    );
    // A change that is right by itself and breaks what is kept names what is kept.
    let broken = mesh
        .operator("DELETE", "/v1/documents/Server/documents", &Value::Null)
        .await;
    assert_eq!(broken.status, 422, "{}", broken.text);
    assert_eq!(broken.json()["findings"][0]["source"], "kept/View/papers");
    for (text, status) in [("{", 422), ("kind: Server", 422), ("", 200)] {
        let answer = mesh.operator("POST", "/v1/apply", &apply(text)).await;
        assert_eq!(answer.status, status, "{text:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_change_that_takes_too_much_or_locks_everybody_out_needs_a_word() {
    let mesh = Mesh::start().await;
    let head = "apiVersion: meshgate.dev/v1alpha1\n";
    let nobody = format!(
        "{head}kind: Application\nmetadata: {{name: assistant}}\nspec: {{tokens: [], views: [papers]}}\n---\n\
         {head}kind: Application\nmetadata: {{name: planner}}\nspec: {{tokens: [], views: [plans]}}\n"
    );
    let refused = mesh.operator("POST", "/v1/apply", &apply(&nobody)).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert_eq!(errors(&refused), ["MG0706"]);
    assert!(refused.text.contains("--allow-shrink"));
    let less = format!("{head}kind: Server\nmetadata: {{name: only}}\nspec: {{sidecar: {{}}}}\n");
    let replace =
        |allow: bool| json!({"sources": [{"name": "/x", "text": less}], "replace": true, "allowShrink": allow});
    let refused = mesh.operator("POST", "/v1/apply", &replace(false)).await;
    assert_eq!(refused.status, 422);
    assert!(errors(&refused).contains(&"MG0702".to_owned()), "{}", refused.text);
    // The name of the mesh goes with its document, and with it the trust domain: nobody has joined, so it may.
    let done = mesh.operator("POST", "/v1/apply", &replace(true)).await;
    assert_eq!(done.status, 200, "{}", done.text);
}

#[tokio::test]
async fn the_trust_domain_is_that_of_the_first_documents_until_somebody_has_joined() {
    let mesh = Mesh::bare().await;
    let domain = |mesh: &Mesh| mesh.running.plane().certificates().trust_domain;
    assert_eq!(domain(&mesh), "default.mesh");
    mesh.apply(MESH).await;
    assert_eq!(domain(&mesh), "corp.mesh");
    let early = mesh.token(common::gateway("default")).await;
    let head = "apiVersion: meshgate.dev/v1alpha1\nkind: Mesh\nmetadata: {name: corp}\nspec: ";
    mesh.apply(&format!("{head}{{trustDomain: corp.example}}")).await;
    assert_eq!(domain(&mesh), "corp.example");
    assert!(
        mesh.operator("GET", "/v1/join-tokens", &Value::Null)
            .await
            .json()
            .as_array()
            .unwrap()
            .is_empty()
    );
    let late = mesh.token(common::gateway("default")).await;
    assert_ne!(
        early.root(),
        late.root(),
        "whoever comes with the first one is told of another mesh"
    );
    mesh.member(common::gateway("default")).await;
    let moved = mesh
        .operator(
            "POST",
            "/v1/apply",
            &apply(&format!("{head}{{trustDomain: other.example}}")),
        )
        .await;
    assert_eq!(
        (moved.status, errors(&moved)),
        (422, vec!["MG0107".to_owned()]),
        "{}",
        moved.text
    );
    let findings = moved.json()["findings"].clone();
    let finding = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["code"] == "MG0107")
        .unwrap();
    assert_eq!(
        (&finding["document"], &finding["path"]),
        (&"Mesh/corp".into(), &"spec.trustDomain".into())
    );
    let message = finding["message"].as_str().unwrap();
    assert!(
        message.contains("other.example") && message.contains("corp.example"),
        "{message}"
    );
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(remedy.contains("trustDomain: corp.example"), "{remedy}");
    // A mesh whose document goes, and with it the name of its domain, would be another one too.
    let gone = mesh.operator("DELETE", "/v1/documents/Mesh/corp", &Value::Null).await;
    assert_eq!(
        (gone.status, errors(&gone)),
        (422, vec!["MG0107".to_owned()]),
        "{}",
        gone.text
    );
    let mesh = mesh.restart().await;
    assert_eq!(domain(&mesh), "corp.example");
    // Who has joined serves on, and what it is told is of the domain that it knows.
    mesh.apply(&format!("{head}{{trustDomain: corp.example, accessLog: off}}"))
        .await;
    mesh.member(common::gateway("default")).await;
}

#[tokio::test]
async fn bodies_are_limited_typed_and_strict() {
    let mesh = Mesh::start().await;
    let bearer = format!("Bearer {}", mesh.running.operator_token().expose());
    let send = |kind: &'static str, body: String| {
        let headers = [
            ("authorization".to_owned(), bearer.clone()),
            ("content-type".to_owned(), kind.to_owned()),
        ];
        let api = mesh.api();
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            ask(api, "POST", "/v1/apply", &headers, body).await
        }
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/yaml",
    ] {
        assert_eq!(send(kind, "{}".to_owned()).await.status, 415, "{kind}");
    }
    let unknown = send("application/json", "{\"sources\": [], \"dryrun\": true}".to_owned()).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.text.contains("dryrun"), "{}", unknown.text);
    assert_eq!(
        send("application/json; charset=utf-8", "{}".to_owned()).await.status,
        200
    );
    let most = meshgate_control::limits::API_BODY_BYTES_MAX;
    for (len, status) in [(most - 1, 200), (most, 200), (most + 1, 413)] {
        let body = format!("{{}}{}", " ".repeat(len - 2));
        assert_eq!(send("application/json", body).await.status, status, "{len}");
    }
    let deny = json!({"subject": "spiffe://corp.mesh/gateway/default", "reason": " "});
    assert_eq!(mesh.operator("POST", "/v1/denials", &deny).await.status, 422);
    let deny = json!({"subject": "gateway", "reason": "x"});
    assert_eq!(mesh.operator("POST", "/v1/denials", &deny).await.status, 422);
    assert_eq!(
        mesh.operator("DELETE", "/v1/denials?subject=gateway", &Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn the_api_is_open_to_other_machines_with_tls_only() {
    let directory = tempfile::tempdir().unwrap();
    let parts = meshgate_control::ControlParts {
        api: "0.0.0.0:0".parse().unwrap(),
        ..meshgate_control::ControlParts::new(directory.path().join("control"))
    };
    let refused = meshgate_control::Control::start(parts).await.err().unwrap().to_string();
    assert!(
        refused.contains("without TLS") && refused.contains("127.0.0.1"),
        "{refused}"
    );
    assert!(
        !directory.path().join("control").exists(),
        "nothing was made before it was refused"
    );
}

#[tokio::test]
async fn a_second_control_plane_with_the_same_state_does_not_start() {
    let mesh = Mesh::start().await;
    let parts = meshgate_control::ControlParts::new(mesh.directory.path().join("control"));
    let refused = meshgate_control::Control::start(parts).await.err().unwrap().to_string();
    assert!(refused.contains("in use by another control plane"), "{refused}");
}
