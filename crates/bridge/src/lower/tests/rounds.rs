use meshgate_mcp::{Method, Revision};

use super::super::{ANSWERS_BYTES_MAX, Capabilities, Ending, QUESTIONS_MAX, ROUNDS_MAX, Rounds, Step};
use super::{Counted, NEWEST, read, revision, text};

const REQUEST: &str = r#"{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{"name":"t","_meta":{}}}"#;
const ALL: Capabilities = Capabilities::from_bits(u16::MAX);

struct Call {
    rounds: Rounds,
    mint: Counted,
}

impl Call {
    fn new(method: Method, revision: &'static Revision, can: Capabilities) -> Self {
        let rounds = Rounds::new(method, revision, can, br#""c1""#.to_vec(), REQUEST.into());
        Self {
            rounds,
            mint: Counted::default(),
        }
    }

    fn tool(can: Capabilities) -> Self {
        Self::new(Method::ToolsCall, NEWEST, can)
    }

    fn server(&mut self, src: &str) -> Step {
        self.rounds.message(src.as_bytes(), &read(src), &mut self.mint)
    }

    fn asks(&mut self, requests: &str, state: &str) -> Step {
        self.server(&format!(
            r#"{{"jsonrpc":"2.0","id":"c1","result":{{"resultType":"input_required","inputRequests":{requests}{state}}}}}"#
        ))
    }

    fn client(&mut self, id: &str, answer: &str) -> Step {
        let src = format!(r#"{{"jsonrpc":"2.0","id":"{id}",{answer}}}"#);
        self.rounds.answered(id, src.as_bytes(), &read(&src))
    }
}

fn questions(step: Step) -> Vec<String> {
    let Step::Ask(questions) = step else { panic!("{step:?}") };
    questions.into_iter().map(|q| text(q.message)).collect()
}

fn retried(step: Step) -> String {
    let Step::Retry(request) = step else { panic!("{step:?}") };
    let request = text(request);
    request
        .strip_prefix(r#"{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{"name":"t","_meta":{}"#)
        .unwrap()
        .strip_suffix("}}")
        .unwrap()
        .to_owned()
}

fn answered(step: Step) -> String {
    let Step::Done { answer, .. } = step else {
        panic!("{step:?}")
    };
    text(answer)
}

const FORM: &str = r#"{"k":{"method":"elicitation/create","params":{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}}}"#;
const URL: &str =
    r#"{"k":{"method":"elicitation/create","params":{"mode":"url","message":"Sign in.","url":"https://a.example/x"}}}"#;
const SAMPLING: &str = r#"{"k":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}}"#;
const ROOTS: &str = r#"{"k":{"method":"roots/list"}}"#;

#[test]
fn a_call_without_questions_is_one_round() {
    let mut call = Call::tool(ALL);
    let step = call.server(r#"{"jsonrpc":"2.0","id":"c1","result":{"resultType":"complete","content":[]}}"#);
    assert_eq!(
        step,
        Step::Done {
            before: vec![],
            answer: br#"{"jsonrpc":"2.0","id":"c1","result":{"content":[]}}"#.to_vec()
        }
    );
}

#[test]
fn a_form_becomes_a_real_question_and_its_answer_the_next_round() {
    let mut call = Call::tool(ALL);
    let step = call.asks(FORM, r#","requestState":"st\"ate""#);
    assert_eq!(
        questions(step),
        [
            r#"{"jsonrpc":"2.0","id":"home-1","method":"elicitation/create","params":{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}}"#
        ]
    );
    let step = call.client("home-1", r#""result":{"action":"accept","content":{"n":1.0}}"#);
    assert_eq!(
        retried(step),
        r#","inputResponses":{"k":{"action":"accept","content":{"n":1.0}}},"requestState":"st\"ate""#
    );
    assert_eq!(call.rounds.round(), 2);
}

#[test]
fn the_mode_of_a_form_is_not_named_to_clients_that_have_one_mode() {
    let mut call = Call::new(
        Method::ToolsCall,
        revision("2025-06-18"),
        Capabilities::ELICITATION_FORM,
    );
    assert_eq!(
        questions(call.asks(FORM, "")),
        [
            r#"{"jsonrpc":"2.0","id":"home-1","method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}"#
        ]
    );
}

#[test]
fn state_is_given_back_only_when_there_was_some() {
    let mut call = Call::tool(ALL);
    questions(call.asks(ROOTS, ""));
    assert_eq!(
        retried(call.client("home-1", r#""result":{"roots":[]}"#)),
        r#","inputResponses":{"k":{"roots":[]}}"#
    );
}

#[test]
fn several_questions_are_asked_together_and_wait_for_each_other() {
    let mut call = Call::tool(ALL);
    let both =
        r#"{"a":{"method":"roots/list"},"b\u0020c":{"method":"sampling/createMessage","params":{"messages":[]}}}"#;
    assert_eq!(questions(call.asks(both, "")).len(), 2);
    assert_eq!(call.client("home-2", r#""result":{"role":"assistant"}"#), Step::Quiet);
    assert_eq!(
        retried(call.client("home-1", r#""result":{"roots":[]}"#)),
        r#","inputResponses":{"a":{"roots":[]},"b\u0020c":{"role":"assistant"}}"#
    );
}

#[test]
fn an_answer_nobody_waits_for_changes_nothing() {
    let mut call = Call::tool(ALL);
    let both = r#"{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#;
    questions(call.asks(both, ""));
    assert_eq!(call.client("home-9", r#""result":{}"#), Step::Quiet);
    assert_eq!(call.client("home-1", r#""result":{"roots":[1]}"#), Step::Quiet);
    assert_eq!(call.client("home-1", r#""result":{"roots":[2]}"#), Step::Quiet);
    assert!(retried(call.client("home-2", r#""result":{}"#)).contains(r#""a":{"roots":[1]}"#));
}

#[test]
fn state_without_questions_is_retried_at_once() {
    let mut call = Call::tool(Capabilities::NONE);
    let src = r#"{"jsonrpc":"2.0","id":"c1","result":{"resultType":"input_required","requestState":"later"}}"#;
    assert_eq!(retried(call.server(src)), r#","requestState":"later""#);
}

#[test]
fn neither_questions_nor_state_is_a_broken_server() {
    let mut call = Call::tool(ALL);
    assert!(answered(call.asks("{}", "")).contains("without saying which"));
}

#[test]
fn a_refused_elicitation_is_a_cancelled_one() {
    let mut call = Call::tool(ALL);
    questions(call.asks(FORM, ""));
    assert_eq!(
        retried(call.client("home-1", r#""error":{"code":-1,"message":"no"}"#)),
        r#","inputResponses":{"k":{"action":"cancel"}}"#
    );
}

#[test]
fn a_question_that_was_answered_is_not_taken_back() {
    let both = r#"{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#;
    let mut call = Call::tool(ALL);
    questions(call.asks(both, ""));
    let Step::Done { before, .. } = call.client("home-1", r#""error":{"code":-1,"message":"no"}"#) else {
        panic!("it goes on")
    };
    let [only] = &before[..] else { panic!("{before:?}") };
    assert!(text(only.clone()).contains("home-2"));
}

#[test]
fn refused_sampling_or_roots_fails_the_call() {
    for (requests, said) in [
        (SAMPLING, "sampling: User rejected"),
        (ROOTS, "listing roots: User rejected"),
    ] {
        let mut call = Call::tool(ALL);
        questions(call.asks(requests, ""));
        let answer = answered(call.client("home-1", r#""error":{"code":-1,"message":"User rejected"}"#));
        assert!(
            answer.contains(said) && answer.contains(r#""executed":"unknown""#),
            "{answer}"
        );
    }
}

#[test]
fn a_kind_the_client_did_not_declare_fails_the_call_and_asks_nothing() {
    let with_tools = SAMPLING.replace(r#""messages":[]"#, r#""messages":[],"tools":[]"#);
    let cases = [
        (FORM, Capabilities::ELICITATION_URL, "`elicitation.form`"),
        (SAMPLING, Capabilities::ROOTS, "`sampling`"),
        (with_tools.as_str(), Capabilities::SAMPLING, "`sampling.tools`"),
        (ROOTS, Capabilities::SAMPLING, "`roots`"),
    ];
    for (requests, can, named) in cases {
        let answer = answered(Call::tool(can).asks(requests, ""));
        assert!(answer.contains(named) && answer.contains("-32602"), "{answer}");
        assert!(answer.contains(r#""requiredCapabilities":{""#), "{answer}");
    }
}

#[test]
fn a_url_elicitation_gets_an_id_and_its_completion_is_told() {
    let mut call = Call::tool(ALL);
    assert_eq!(
        questions(call.asks(URL, "")),
        [
            r#"{"jsonrpc":"2.0","id":"home-1","method":"elicitation/create","params":{"mode":"url","message":"Sign in.","url":"https://a.example/x","elicitationId":"elicitation-1"}}"#
        ]
    );
    retried(call.client("home-1", r#""result":{"action":"accept"}"#));
    let Step::Done { before, .. } = call.server(r#"{"jsonrpc":"2.0","id":"c1","result":{"content":[]}}"#) else {
        panic!("the call goes on")
    };
    assert_eq!(
        before.into_iter().map(text).collect::<Vec<_>>(),
        [
            r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"elicitation-1"}}"#
        ]
    );
}

#[test]
fn a_page_of_a_call_that_failed_is_not_told_complete() {
    let mut call = Call::tool(ALL);
    questions(call.asks(URL, ""));
    retried(call.client("home-1", r#""result":{"action":"accept"}"#));
    let step = call.server(r#"{"jsonrpc":"2.0","id":"c1","error":{"code":-32603,"message":"m"}}"#);
    assert!(matches!(step, Step::Done { before, .. } if before.is_empty()));
}

#[test]
fn a_declined_url_elicitation_is_never_told_complete() {
    let mut call = Call::tool(ALL);
    questions(call.asks(URL, ""));
    retried(call.client("home-1", r#""result":{"action":"decline"}"#));
    let step = call.server(r#"{"jsonrpc":"2.0","id":"c1","result":{"content":[]}}"#);
    assert!(matches!(step, Step::Done { before, .. } if before.is_empty()));
}

#[test]
fn a_url_for_a_client_without_url_mode_is_told_to_the_model() {
    let mut call = Call::new(
        Method::ToolsCall,
        revision("2025-06-18"),
        Capabilities::ELICITATION_FORM,
    );
    let answer = answered(call.asks(URL, ""));
    assert!(
        answer.contains(r#""isError":true"#) && answer.contains("https://a.example/x"),
        "{answer}"
    );
    let mut call = Call::new(Method::PromptsGet, NEWEST, Capabilities::NONE);
    assert!(answered(call.asks(URL, "")).contains("-32603"));
}

#[test]
fn the_rounds_of_a_call_are_bounded() {
    for (asking, fits) in [(ROUNDS_MAX - 2, true), (ROUNDS_MAX - 1, true), (ROUNDS_MAX, false)] {
        let mut call = Call::tool(ALL);
        let mut step = Step::Quiet;
        for _ in 0..asking {
            step = call
                .server(r#"{"jsonrpc":"2.0","id":"c1","result":{"resultType":"input_required","requestState":"s"}}"#);
        }
        if fits {
            retried(step);
            answered(call.server(r#"{"jsonrpc":"2.0","id":"c1","result":{"content":[]}}"#));
        } else {
            assert!(answered(step).contains("more than 10 rounds"));
        }
    }
}

#[test]
fn the_questions_of_a_round_are_bounded() {
    for (count, fits) in [
        (QUESTIONS_MAX - 1, true),
        (QUESTIONS_MAX, true),
        (QUESTIONS_MAX + 1, false),
    ] {
        let many: Vec<String> = (0..count)
            .map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#))
            .collect();
        let step = Call::tool(ALL).asks(&format!("{{{}}}", many.join(",")), "");
        if fits {
            assert_eq!(questions(step).len(), count);
        } else {
            assert!(answered(step).contains("too many"));
        }
    }
}

#[test]
fn the_answers_of_a_round_are_bounded_together() {
    let both = r#"{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#;
    let answer = |bytes: usize| {
        let around = r#"{"x":""}"#.len();
        format!(r#""result":{{"x":"{}"}}"#, "y".repeat(bytes - around))
    };
    let half = ANSWERS_BYTES_MAX / 2;
    for (rest, fits) in [(half - 1, true), (half, true), (half + 1, false)] {
        let mut call = Call::tool(ALL);
        questions(call.asks(both, ""));
        assert_eq!(call.client("home-1", &answer(ANSWERS_BYTES_MAX - half)), Step::Quiet);
        let step = call.client("home-2", &answer(rest));
        if fits {
            retried(step);
            // The next round begins with nothing.
            questions(call.asks(both, ""));
            assert_eq!(call.client("home-3", &answer(ANSWERS_BYTES_MAX)), Step::Quiet);
        } else {
            assert!(answered(step).contains("longer than 3145728 bytes"));
        }
    }
}

#[test]
fn input_is_asked_for_only_where_the_protocol_has_a_place_for_it() {
    let mut call = Call::new(Method::Complete, NEWEST, ALL);
    assert!(answered(call.asks(ROOTS, "")).contains("no place for it"));
}

#[test]
fn questions_that_are_none_fail_the_call() {
    for broken in [
        r#"{"k":7}"#,
        r#"{"k":{"method":"tools/call","params":{}}}"#,
        r#"{"k":{"method":"elicitation/create"}}"#,
        r#"{"k":{"method":"elicitation/create","params":{"mode":"telepathy"}}}"#,
    ] {
        assert!(
            answered(Call::tool(ALL).asks(broken, "")).contains("-32603"),
            "{broken}"
        );
    }
}

#[test]
fn notifications_pass_and_requests_of_a_server_do_not() {
    let mut call = Call::tool(ALL);
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    assert_eq!(call.server(log), Step::Pass(log.into()));
    assert_eq!(
        call.server(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#),
        Step::Quiet
    );
}

#[test]
fn progress_keeps_growing_over_rounds() {
    let mut call = Call::tool(ALL);
    let progress = |p: u32| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{p}}}}}"#
        )
    };
    assert!(matches!(call.server(&progress(5)), Step::Pass(_)));
    call.server(r#"{"jsonrpc":"2.0","id":"c1","result":{"resultType":"input_required","requestState":"s"}}"#);
    assert_eq!(call.server(&progress(2)), Step::Pass(progress(7).into()));
}

#[test]
fn a_call_that_is_ended_from_outside_answers_with_its_own_id() {
    for (why, code) in [
        (Ending::Cancelled, "-32603"),
        (Ending::Deadline, "-32603"),
        (Ending::Away, "-32603"),
        (Ending::Unanswered, "-32603"),
    ] {
        let answer = answered(Call::tool(ALL).rounds.end(why));
        assert!(answer.contains(r#""id":"c1""#) && answer.contains(code), "{answer}");
    }
}

#[test]
fn questions_of_a_call_that_ends_are_taken_back() {
    let mut call = Call::tool(ALL);
    let both = r#"{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#;
    questions(call.asks(both, ""));
    call.client("home-1", r#""result":{"roots":[]}"#);
    let Step::Done { before, .. } = call.rounds.end(Ending::Deadline) else {
        panic!("it goes on")
    };
    assert_eq!(
        before.into_iter().map(text).collect::<Vec<_>>(),
        [
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"home-2","reason":"the call that asked is over"}}"#
        ]
    );
}
