#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use http_body_util::BodyExt as _;

use super::*;

const ID: &[u8] = b"7";
const RESULT: &[u8] = br#"{"jsonrpc":"2.0","id":7,"result":{}}"#;

async fn sent(answering: impl Future<Output = Result<Answered, Refusal>> + Send + 'static) -> (StatusCode, String) {
    let caught = Box::pin(caught(answering));
    let response = match modern(Bytes::from_static(ID), caught, Hop::Gateway).await {
        Ok(response) => response,
        Err(refusal) => refused(Some(ID), &refusal),
    };
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn whole() -> Answered {
    Answered::One(Told::Result(Bytes::from_static(RESULT)))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_silent_for_long_is_answered_by_a_stream_that_stays_awake() {
    let (status, text) = sent(async {
        tokio::time::sleep(KEEP_ALIVE * 5 / 2).await;
        Ok(whole())
    })
    .await;
    assert_eq!(status, StatusCode::OK);
    let result = std::str::from_utf8(RESULT).unwrap();
    assert!(text.starts_with(":\n\n"), "{text}");
    assert!(text.ends_with(&format!("data: {result}\n\n")), "{text}");
}

#[tokio::test]
async fn an_open_stream_does_not_keep_the_request_that_it_answers() {
    let request = Bytes::from(br#"{"id":7}"#.to_vec());
    let notice = Told::Notice(Bytes::from_static(b"{}"));
    let telling = futures_util::stream::once(std::future::ready(Ok(notice))).chain(futures_util::stream::pending());
    let answering = Box::pin(async move { Ok(Answered::Stream(Box::pin(telling))) });
    let open = modern(request.slice(6..7), answering, Hop::Gateway)
        .await
        .map_err(drop)
        .unwrap();
    assert!(request.is_unique());
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn a_silent_call_that_is_refused_in_the_end_says_so_on_its_stream() {
    let (status, text) = sent(async {
        tokio::time::sleep(KEEP_ALIVE * 2).await;
        Err(Refusal::new(Reason::Deadline, "too late"))
    })
    .await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains(r#""id":7,"error""#) && text.contains("too late"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_answers_in_time_is_one_json_body() {
    let (status, text) = sent(async { Ok(whole()) }).await;
    assert_eq!((status, text.as_bytes()), (StatusCode::OK, RESULT));
    let error = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"no"}}"#);
    let (status, _) = sent(async { Ok(Answered::One(Told::Error(error, codes::METHOD_NOT_FOUND))) }).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_long_result_leaves_in_the_pieces_it_came_in() {
    let pieces = [&b"{\"jsonrpc\""[..], b":\"2.0\",", b"\"id\":7,\"result\":{}}"].map(Bytes::from_static);
    let whole = pieces.concat();
    assert_eq!(Told::Pieces(pieces.to_vec()).into_bytes(), whole);
    let told = Told::Pieces(pieces.to_vec());
    let answering = Box::pin(std::future::ready(Ok(Answered::One(told))));
    let mut body = modern(Bytes::from_static(ID), answering, Hop::Gateway)
        .await
        .unwrap()
        .into_body();
    let mut left = whole.len();
    for piece in pieces {
        assert_eq!(body.size_hint().exact(), Some(left as u64));
        assert!(!body.is_end_stream());
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame.as_ptr(), piece.as_ptr(), "not copied");
        left -= piece.len();
    }
    assert!(body.is_end_stream() && body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_call_and_may_have_run() {
    let (status, text) = sent(async { panic!("a secret of the call") }).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains(r#""executed":"unknown""#), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let (status, text) = sent(async {
        tokio::time::sleep(KEEP_ALIVE * 2).await;
        panic!("late")
    })
    .await;
    assert_eq!(status, StatusCode::OK, "the status has gone out");
    assert!(text.contains(r#""reason":"internal""#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_ends_with_an_error_and_goes_on_no_further() {
    let notice = || {
        Ok(Told::Notice(Bytes::from_static(
            br#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
        )))
    };
    let telling: Telling = Box::pin(futures_util::stream::iter([notice(), notice()]));
    let (_, text) = sent(async { Ok(Answered::Stream(telling)) }).await;
    assert_eq!(text.matches("notifications/x").count(), 2, "{text}");
    assert_eq!(text.matches(r#""error""#).count(), 1, "{text}");
    let result = || Ok(Told::Result(Bytes::from_static(RESULT)));
    let telling: Telling = Box::pin(futures_util::stream::iter([notice(), result(), notice()]));
    let (_, text) = sent(async { Ok(Answered::Stream(telling)) }).await;
    assert_eq!(
        text.matches("notifications/x").count(),
        1,
        "nothing follows the response: {text}"
    );
}
