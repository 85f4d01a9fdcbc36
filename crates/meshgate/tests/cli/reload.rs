//! A gateway that runs takes over its file when that has changed, and keeps the last good one when the new one is bad.

use super::bad_files::{Bad, corpus};
use super::up::{Request, Up};
use super::{Ended, Place, away_mesh};

/// Another server, so that the file says something else.
fn with(name: &str) -> String {
    away_mesh() + &server(name)
}

pub(crate) fn server(name: &str) -> String {
    format!(
        "---\napiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {{name: {name}}}\nspec:\n  http: {{url: \"http://127.0.0.1:9/mcp\"}}\n"
    )
}

/// Replaces a file as editors do.
fn replace(place: &Place, name: &str, text: &str) {
    let beside = place.file(&format!("{name}.new"), text);
    std::fs::rename(beside, place.path().join(name)).unwrap();
}

fn has_server(status: &serde_json::Value, name: &str) -> bool {
    status["servers"]
        .as_array()
        .unwrap()
        .iter()
        .any(|server| server["name"] == name)
}

fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err))
}

#[test]
fn a_file_that_was_replaced_is_taken_over_by_itself() {
    let up = Up::start(&away_mesh());
    replace(&up.place, "mesh.yaml", &with("second"));
    let status = up.status_until(|status| has_server(status, "second"));
    assert_eq!(status["configuration"]["revision"], 2, "{status}");
    up.hear("a new configuration is served");
    // Written in place, and with the same content once more.
    up.place.file("mesh.yaml", &with("third"));
    up.status_until(|status| has_server(status, "third") && !has_server(status, "second"));
    up.place.file("mesh.yaml", &with("third"));
    assert_eq!(
        up.place.run(&["reload"]).out.trim(),
        "nothing to do: the file is what is served (configuration 3)"
    );
}

#[test]
fn a_link_that_was_swapped_on_the_way_to_the_file_is_seen() {
    let place = Place::new();
    let put = |version: &str, text: &str| {
        std::fs::create_dir(place.path().join(version)).unwrap();
        place.file(&format!("{version}/mesh.yaml"), text);
    };
    let link = |target: &str, name: &str| {
        let beside = place.path().join(format!("{name}.new"));
        std::os::unix::fs::symlink(target, &beside).unwrap();
        std::fs::rename(beside, place.path().join(name)).unwrap();
    };
    put("..v1", &away_mesh());
    put("..v2", &with("second"));
    link("..v1", "..data");
    link("..data/mesh.yaml", "mesh.yaml");
    // As an orchestrator does with a mounted configuration: the file itself is never touched.
    let up = Up::start_in(place);
    let beside = up.place.path().join("..data.new");
    std::os::unix::fs::symlink("..v2", &beside).unwrap();
    std::fs::rename(beside, up.place.path().join("..data")).unwrap();
    up.status_until(|status| has_server(status, "second"));
}

#[test]
fn d46_a_bad_file_is_kept_out_and_said_to_be_bad_until_a_good_one_comes() {
    let up = Up::start(&away_mesh());
    replace(&up.place, "mesh.yaml", &with("second").replace("http:", "htpt:"));
    let line = up.hear("the last good one is served on");
    assert!(line.contains("MG0003") && line.contains("mesh.yaml:"), "{line}");
    let status = up.status_until(|status| !status["configuration"]["failure"].is_null());
    let failure = &status["configuration"]["failure"];
    assert!(
        failure["sinceSeconds"].is_u64() && failure["findings"][0]["line"].is_u64(),
        "{failure}"
    );
    assert!(has_server(&status, "ledger") && !has_server(&status, "second"));
    let text = up.place.run(&["status"]).out;
    assert!(
        text.contains("the file is refused for") && text.contains("help: its fields are"),
        "{text}"
    );
    let metrics = up.admin("/metrics");
    assert!(metrics.contains("meshgate_configuration_refused 1"), "{metrics}");
    assert!(
        metrics.contains("meshgate_reloads_total{outcome=\"refused\"} 1"),
        "{metrics}"
    );
    replace(&up.place, "mesh.yaml", &with("second"));
    let status = up.status_until(|status| has_server(status, "second"));
    assert!(status["configuration"]["failure"].is_null(), "{status}");
    assert!(up.admin("/metrics").contains("meshgate_configuration_refused 0"));
}

#[test]
fn a_file_that_is_gone_keeps_what_is_served() {
    let up = Up::start(&away_mesh());
    std::fs::remove_file(up.place.path().join("mesh.yaml")).unwrap();
    let status = up.status_until(|status| !status["configuration"]["failure"].is_null());
    assert_eq!(
        status["configuration"]["failure"]["findings"][0]["code"], "MG0704",
        "{status}"
    );
    up.place.file("mesh.yaml", &away_mesh());
    up.status_until(|status| status["configuration"]["failure"].is_null());
}

#[test]
fn a_hang_up_reads_the_file_again_and_a_file_that_is_not_watched_waits_for_it() {
    let place = Place::new();
    place.file("mesh.yaml", &away_mesh());
    let up = Up::start_args(place, &["up", "--no-watch"]);
    replace(&up.place, "mesh.yaml", &with("second"));
    up.signal("-HUP");
    let status = up.status_until(|status| has_server(status, "second"));
    assert_eq!(status["configuration"]["watched"], false);
}

#[test]
fn r53_a_file_that_takes_away_too_much_needs_a_word() {
    let all = away_mesh() + &server("b") + &server("c");
    let up = unwatched(&all);
    up.place.file("mesh.yaml", &away_mesh());
    let refused = up.place.run(&["reload", "-o", "json"]);
    let said = json(&refused);
    assert_eq!((refused.code, &said["outcome"]), (1, &"refused".into()), "{said}");
    assert_eq!(said["findings"][0]["code"], "MG0702", "{said}");
    let remedy = said["findings"][0]["remedy"].as_str().unwrap();
    assert!(remedy.contains("meshgate reload --allow-shrink"), "{remedy}");
    let allowed = up.place.run(&["reload", "--allow-shrink"]);
    assert_eq!(allowed.code, 0, "{}", allowed.out);
    assert!(
        allowed.out.contains("- Server/b") && allowed.out.contains("applied: configuration 2"),
        "{}",
        allowed.out
    );
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_applies() {
    let up = unwatched(&away_mesh());
    let text = with("second").replace("address: 127.0.0.1:0", "address: 127.0.0.1:1");
    up.place.file("mesh.yaml", &text);
    let reloaded = up.place.run(&["reload"]);
    assert_eq!(reloaded.code, 0, "{}", reloaded.out);
    assert!(
        reloaded.out.contains("MG0701") && reloaded.out.contains("+ Server/second"),
        "{}",
        reloaded.out
    );
    assert!(up.place.run(&["status"]).out.contains("waiting for the next start:"));
    // It is said as long as it is so, also when the file is read again for something else.
    up.place.file("mesh.yaml", &(text + &server("third")));
    assert!(up.place.run(&["reload"]).out.contains("MG0701"));
}

#[test]
fn a_diff_says_what_would_change_and_its_code_says_whether() {
    let up = unwatched(&away_mesh());
    let same = up.place.run(&["diff", "mesh.yaml"]);
    assert_eq!(
        (same.code, same.out.trim()),
        (0, "the file would change nothing"),
        "{}",
        same.err
    );
    let secret = "headers: {Authorization: \"Bearer canary-of-the-test\"}";
    let other = with("second").replace("9/mcp\"}", &format!("9/mcp\", {secret}}}"));
    up.place.file("other.yaml", &other);
    for args in [
        ["diff", "other.yaml", "-o", "json"],
        ["diff", "other.yaml", "-o", "text"],
    ] {
        let differs = up.place.run(&args);
        assert_eq!(differs.code, 3, "{}{}", differs.out, differs.err);
        assert!(!differs.out.contains("canary"), "{}", differs.out);
        assert!(
            differs.out.contains("second") && differs.out.contains("http.headers.authorization"),
            "{}",
            differs.out
        );
    }
    let checked = up.place.run(&["check", "--against-running", "other.yaml"]);
    assert_eq!(checked.code, 3, "{}{}", checked.out, checked.err);
    assert!(checked.out.contains("+ Server/second"), "{}", checked.out);
    assert_eq!(up.place.run(&["check", "--against-running", "mesh.yaml"]).code, 0);
    up.place.file("bad.yaml", "kind: [");
    for args in [&["diff", "bad.yaml"][..], &["check", "--against-running", "bad.yaml"]] {
        let refused = up.place.run(args);
        assert_eq!(refused.code, 1, "{}", refused.out);
        assert!(
            refused.out.contains("MG0001") && refused.out.contains("would be refused"),
            "{}",
            refused.out
        );
    }
    assert_eq!(up.status()["configuration"]["revision"], 1, "nothing was taken over");
    assert_eq!(Place::new().run(&["diff"]).code, 69);
}

#[test]
fn a_token_that_was_replaced_in_its_file_is_the_only_one_that_counts() {
    let place = Place::new();
    place.file("app.token", "first-token-of-the-application\n");
    let application = "---\napiVersion: meshgate.dev/v1alpha1\nkind: Application\nmetadata: {name: app}\nspec: {tokens: [{file: app.token}], views: ['*']}\n";
    place.file("mesh.yaml", &(away_mesh() + application));
    let up = Up::start_in(place);
    let status = |token: &str| {
        let answer = up.call(&Request {
            method: "tools/list",
            token: Some(token),
            ..Request::default()
        });
        answer.lines().next().unwrap().to_owned()
    };
    assert!(status("first-token-of-the-application").contains(" 200 "));
    replace(&up.place, "app.token", "second-token-of-the-application\n");
    up.status_until(|status| status["configuration"]["revision"] == 2);
    assert!(status("first-token-of-the-application").contains(" 401 "));
    assert!(status("second-token-of-the-application").contains(" 200 "));
    replace(&up.place, "app.token", "short\n");
    up.status_until(|status| status["configuration"]["failure"]["findings"][0]["code"] == "MG0705");
    assert!(
        status("second-token-of-the-application").contains(" 200 "),
        "the last good one counts"
    );
}

fn unwatched(text: &str) -> Up {
    let place = Place::new();
    place.file("mesh.yaml", text);
    Up::start_args(place, &["up", "--no-watch"])
}

#[test]
fn d46_every_bad_file_of_the_corpus_is_refused_with_its_place_and_remedy_and_harms_nobody() {
    let up = unwatched(&away_mesh());
    let token = up.token();
    let bad = corpus();
    assert!(bad.len() >= 30);
    let wrong: Vec<String> = bad.iter().filter_map(|bad| wrong_with(&up, bad).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let status = up.status();
    assert_eq!(
        (
            &status["configuration"]["revision"],
            &status["configuration"]["reloads"]
        ),
        (&1.into(), &0.into())
    );
    let answer = up.call(&Request {
        method: "tools/list",
        token: Some(&token),
        ..Request::default()
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    up.place.file("mesh.yaml", &away_mesh());
    assert_eq!(up.place.run(&["reload"]).code, 0);
    assert!(up.status()["configuration"]["failure"].is_null());
}

/// Whether the gateway refuses a file for the reason it should, and says where and what to do.
fn wrong_with(up: &Up, (what, text, code): &Bad) -> Result<(), String> {
    up.place.file("mesh.yaml", text);
    let ended = up.place.run(&["reload", "-o", "json"]);
    let said = json(&ended);
    let is = |holds: bool, why: &str| {
        if holds {
            Ok(())
        } else {
            Err(format!("{what}: {why}: {said}"))
        }
    };
    is(ended.code == 1 && said["outcome"] == "refused", "it is not refused")?;
    let findings = said["findings"].as_array().unwrap();
    let finding = findings.iter().find(|f| f["code"] == *code);
    let finding = finding.ok_or_else(|| format!("{what}: no {code} in {said}"))?;
    let words = |field: &str| finding[field].as_str().unwrap().len();
    is(
        finding["severity"] == "error" && words("message") > 10,
        "it does not say what is wrong",
    )?;
    let about_a_place = !matches!(*code, "MG0702" | "MG0704" | "MG0705" | "MG0706") && *what != "too large";
    is(!about_a_place || finding["line"].is_u64(), "it does not say where")?;
    // Where the form is wrong, the message says which is right.
    is(
        words("remedy") > 5 || matches!(*code, "MG0001" | "MG0002" | "MG0007"),
        "it does not say what to do",
    )
}
