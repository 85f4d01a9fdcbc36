#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

#[test]
fn every_registered_metric_is_on_the_page_with_its_labels() {
    // What the sources register by name, however the lines are broken.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let beside = std::fs::read_dir(folder.join("metrics"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = beside
        .filter(|file| !file.ends_with("tests.rs"))
        .chain([folder.join("metrics.rs")]);
    let source: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let calls = source.split(".register").skip(1);
    let registered: BTreeSet<&str> = calls.filter_map(|call| call.split('"').nth(1)).collect();
    assert!(registered.len() >= 10);
    let page = markdown();
    for name in &registered {
        assert!(
            page.contains(&format!("| `{name}")),
            "`{name}` is not on the page; touch it in `shown`"
        );
    }
    for metric in shown().into_iter().chain(shown_by_control()) {
        assert!(
            metric.samples > 0,
            "`{}` has no sample, so its labels are unknown; touch it in `shown`",
            metric.name
        );
        assert!(!metric.help.is_empty() && !metric.kind.is_empty(), "{metric:?}");
    }
    let of = |name: &str| shown().into_iter().find(|metric| metric.name == name).unwrap();
    assert!(of("meshgate_refusals").labels.contains("reason"));
    assert!(
        of("mcp_server_operation_duration_seconds")
            .labels
            .contains("mcp_method_name")
    );
    assert_eq!(of("mcp_server_operation_duration_seconds").unit, "seconds");
}

#[test]
fn every_field_of_a_record_is_described_once() {
    let mut written = BTreeSet::new();
    for record in examples() {
        let mut line = Vec::new();
        record.push_line(&mut line, &mut crate::record::Clock::default());
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&line).unwrap();
        written.extend(object.into_iter().map(|(name, _)| name));
    }
    let described: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    let unique: BTreeSet<String> = described.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(unique.len(), described.len());
    assert_eq!(
        written, unique,
        "describe it in `FIELDS`, and give it a value in `examples`"
    );
}
