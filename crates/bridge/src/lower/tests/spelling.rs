//! Questions in the words of each revision.

use meshgate_mcp::Method;

use super::super::{Capabilities, Rounds, Step};
use super::{Counted, read, revision, text};

const ALL: Capabilities = Capabilities::from_bits(u16::MAX);

/// The parameters of the one question that a client of `name` is asked, or the error that ends the call.
fn asked(name: &str, can: Capabilities, question: &str) -> String {
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
    let mut rounds = Rounds::new(Method::ToolsCall, revision(name), can, b"1".to_vec(), request.into());
    let src = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required","inputRequests":{{"k":{question}}}}}}}"#
    );
    match rounds.message(src.as_bytes(), &read(&src), &mut Counted::default()) {
        Step::Ask(questions) => {
            let [question] = &questions[..] else {
                panic!("{questions:?}")
            };
            let whole = text(question.message.clone());
            let params = whole.split_once(r#","params":"#).unwrap().1;
            params.strip_suffix('}').unwrap().to_owned()
        }
        Step::Done { answer, .. } => text(answer),
        other => panic!("{other:?}"),
    }
}

fn sampled(name: &str, can: Capabilities, params: &str) -> String {
    asked(
        name,
        can,
        &format!(r#"{{"method":"sampling/createMessage","params":{params}}}"#),
    )
}

fn form(name: &str, properties: &str) -> String {
    asked(
        name,
        ALL,
        &format!(
            r#"{{"method":"elicitation/create","params":{{"message":"m","requestedSchema":{{"type":"object","properties":{properties}}}}}}}"#
        ),
    )
}

#[test]
fn context_is_asked_for_where_the_client_offers_it_and_left_out_elsewhere() {
    let params = r#"{"messages":[],"includeContext":"thisServer","maxTokens":1}"#;
    let without = r#"{"messages":[],"maxTokens":1}"#;
    assert_eq!(sampled("2025-11-25", ALL, params), params);
    for (name, can) in [
        ("2025-11-25", Capabilities::SAMPLING),
        ("2025-06-18", Capabilities::SAMPLING),
        ("2024-11-05", Capabilities::SAMPLING),
    ] {
        assert_eq!(sampled(name, can, params), without, "{name}");
    }
}

#[test]
fn several_blocks_of_one_message_become_messages_of_one_block_before_2025_11_25() {
    let params = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"x":1},{"role":"assistant","content":{"type":"text","text":"c"}},{"role":"user","content":[]}],"maxTokens":1}"#;
    assert_eq!(sampled("2025-11-25", Capabilities::SAMPLING, params), params);
    let apart = r#"{"messages":[{"role":"user","content":{"type":"text","text":"a"},"x":1},{"role":"user","content":{"type":"text","text":"b"},"x":1},{"role":"assistant","content":{"type":"text","text":"c"}},{"role":"user","content":{"type":"text","text":""}}],"maxTokens":1}"#;
    for name in ["2024-11-05", "2025-03-26", "2025-06-18"] {
        assert_eq!(sampled(name, Capabilities::SAMPLING, params), apart, "{name}");
    }
}

#[test]
fn sound_to_sample_from_becomes_text_for_2024_11_05_only() {
    let sound = r#"{"type":"audio","data":"AA==","mimeType":"audio/wav"}"#;
    let said = r#"{"type":"text","text":"[audio, audio/wav; this client's protocol revision cannot carry it]"}"#;
    for (content, lowered) in [
        (sound.to_owned(), said.to_owned()),
        (format!("[{sound}]"), said.to_owned()),
    ] {
        let params = |content: &str| format!(r#"{{"messages":[{{"role":"user","content":{content}}}],"maxTokens":1}}"#);
        assert_eq!(
            sampled("2024-11-05", Capabilities::SAMPLING, &params(&content)),
            params(&lowered)
        );
        assert_eq!(
            sampled("2025-03-26", Capabilities::SAMPLING, &params(&content)),
            params(sound)
        );
    }
}

#[test]
fn sampling_that_speaks_of_tools_needs_a_client_that_declared_them() {
    let speaking = [
        r#"{"messages":[],"maxTokens":1,"tools":[]}"#,
        r#"{"messages":[],"maxTokens":1,"toolChoice":{"mode":"auto"}}"#,
        r#"{"messages":[{"role":"assistant","content":{"type":"tool_use","id":"1","name":"t","input":{}}}],"maxTokens":1}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"tool_result","toolUseId":"1","content":[]}]}],"maxTokens":1}"#,
    ];
    for params in speaking {
        assert_eq!(sampled("2025-11-25", ALL, params), params);
        for name in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let refused = sampled(name, Capabilities::SAMPLING, params);
            assert!(
                refused.contains(r#""code":-32602"#)
                    && refused.contains(r#""requiredCapabilities":{"sampling":{"tools":{}}}"#),
                "{name}: {refused}"
            );
        }
    }
}

#[test]
fn choices_with_titles_have_a_list_of_names_before_2025_11_25() {
    let titled = r#"{"f":{"type":"string","oneOf":[{"const":"a","title":"A \"one\""},{"const":"b"}],"default":"a"},"n":{"type":"integer"}}"#;
    assert!(form("2025-11-25", titled).contains(titled));
    assert_eq!(
        form("2025-06-18", titled),
        r#"{"message":"m","requestedSchema":{"type":"object","properties":{"f":{"type":"string","default":"a","enum":["a","b"],"enumNames":["A \"one\"","b"]},"n":{"type":"integer"}}}}"#
    );
    // What is no list of choices is not ours to repair.
    for strange in [
        r#"{"f":{"type":"string","oneOf":[{"const":1}]}}"#,
        r#"{"f":{"oneOf":[7]}}"#,
        r#"{"f":7}"#,
    ] {
        assert!(form("2025-06-18", strange).contains(strange), "{strange}");
    }
}

#[test]
fn a_field_of_several_choices_is_not_asked_of_a_client_that_cannot_show_it() {
    let several = r#"{"colours":{"type":"array","items":{"type":"string","enum":["red","green"]}}}"#;
    assert!(form("2025-11-25", several).contains(several));
    let refused = form("2025-06-18", several);
    for word in ["-32603", "`colours`", "2025-06-18", r#""executed":"unknown""#] {
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn an_address_that_is_no_page_is_not_told_in_words() {
    for (url, told) in [
        ("https://a.example/x", true),
        ("HTTP://a.example", true),
        ("javascript:alert(1)", false),
        ("file:///etc/passwd", false),
        ("", false),
    ] {
        let question =
            format!(r#"{{"method":"elicitation/create","params":{{"mode":"url","message":"m","url":"{url}"}}}}"#);
        let answer = asked("2025-06-18", Capabilities::ELICITATION_FORM, &question);
        assert_eq!(answer.contains(r#""isError":true"#), told, "{answer}");
        assert_eq!(!url.is_empty() && answer.contains(url), told, "{answer}");
    }
}
