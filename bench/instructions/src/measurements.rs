//! What is counted: the steps of a call by themselves, and whole calls.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meshgate_identity::KeyRing;
use meshgate_mcp::{Era, Message, Method, Rules, Splice, meta, scan};
use meshgate_proxy::call::Caller;
use meshgate_proxy::catalogue::ViewState;
use meshgate_proxy::classify::{Reshape, Shaped};
use meshgate_proxy::refusal::{Reason, Refusal};
use meshgate_proxy::resolve::{self, Call, TraceKeys};
use meshgate_proxy::respond;
use meshgate_telemetry::TraceContext;

use crate::{Failure, messages, scene::Scene};

/// Whole calls of one measurement, so that what happens once in many calls is in it.
const CALLS: u64 = 50;
const ID: u64 = 1_000_000_000;
const HOP_ID: u64 = 4_711;
/// The text of `echo`.
const SHORT_BYTES: usize = 92;
const LONG_BYTES: usize = 16 * 1024;

/// The name in the table of figures, and the way to it.
type Measurement = (&'static str, fn() -> Result<(), Failure>);

/// All measurements.
pub(crate) const ALL: &[Measurement] = &[
    ("scan-call", || scanning(&messages::call(ID), &Rules::CLIENT)),
    ("scan-result", || {
        scanning(&messages::result(ID, SHORT_BYTES, false), &Rules::SERVER)
    }),
    ("scan-result-16k", || {
        scanning(&messages::result(ID, LONG_BYTES, false), &Rules::SERVER)
    }),
    ("scan-result-16k-escapes", || {
        scanning(&messages::result(ID, LONG_BYTES, true), &Rules::SERVER)
    }),
    ("scan-list-50", || scanning(&messages::list(ID, 50), &Rules::SERVER)),
    ("splice-call", splicing),
    ("resolve-call", resolving),
    ("respond-result", || responding(SHORT_BYTES)),
    ("respond-result-16k", || responding(LONG_BYTES)),
    ("respond-refusal", refusing),
    ("call-50", || calling(Era::Modern, SHORT_BYTES)),
    ("call-50-16k", || calling(Era::Modern, LONG_BYTES)),
    ("legacy-call-50", || calling(Era::Legacy, SHORT_BYTES)),
    ("list-50-tools", listing),
    ("records-50", recording),
];

/// The one function that callgrind counts, with everything below it.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    // What comes back is used, so that none of the work can be left out.
    black_box(work())
}

fn broken(what: impl std::fmt::Display) -> Failure {
    what.to_string()
}

fn scanning(message: &[u8], rules: &Rules) -> Result<(), Failure> {
    measured(|| scan(black_box(message), rules)).map(drop).map_err(broken)
}

/// What a call changes on its way out: the id, a name, a new member of `_meta`.
fn splicing() -> Result<(), Failure> {
    let body = messages::call(ID);
    let message = scan(&body, &Rules::CLIENT).map_err(broken)?;
    let spliced = measured(|| spliced(&body, &message)).ok_or("the call lacks what is spliced")?;
    scan(&spliced, &Rules::CLIENT).map(drop).map_err(broken)
}

fn spliced(body: &[u8], message: &Message) -> Option<Vec<u8>> {
    let mut splice = Splice::new(body);
    splice.replace(message.id?.span, b"4711".as_slice());
    splice.replace(message.body_value(body, "name")?.span, br#""echo""#.as_slice());
    let trace = br#""00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#;
    splice.insert(message.meta.as_ref()?, meta::TRACEPARENT, trace.as_slice());
    Some(splice.finish())
}

/// A call and the view it is made in; the scene keeps the view's server.
struct Asked {
    _scene: Scene,
    view: Arc<ViewState>,
    keys: Arc<KeyRing>,
    caller: Arc<Caller>,
    call: Call,
}

fn asked() -> Result<Asked, Failure> {
    let scene = Scene::new(SHORT_BYTES)?;
    let routing = scene.catalogues.routing().load_full();
    let view = routing.views.values().next().cloned().ok_or("there is no view")?;
    let body = Bytes::from(messages::call(ID));
    let message = scan(&body, &Rules::CLIENT).map_err(broken)?;
    let application = Some("local".into());
    Ok(Asked {
        _scene: scene,
        view,
        keys: Arc::new(KeyRing::generate(&mut |bytes| bytes.fill(7))),
        caller: Arc::new(Caller::new(application, None)),
        call: Call {
            body,
            message,
            method: Method::ToolsCall,
        },
    })
}

/// From a scanned call to the one that goes to the server.
fn resolving() -> Result<(), Failure> {
    let asked = asked()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let trace = TraceKeys {
        traceparent: TraceContext::root([7; 24]).header_value(),
        continued: false,
    };
    measured(|| {
        let to = resolve::destination(&asked.view, &asked.call, &asked.caller, Some(&asked.keys), 0)?;
        resolve::outbound(&asked.view, &asked.call, &to, HOP_ID, deadline, &trace)
    })
    .map(drop)
    .map_err(|refusal| broken(refusal.message))
}

/// From a server's answer to the one that goes to the client.
fn responding(text_bytes: usize) -> Result<(), Failure> {
    let asked = asked()?;
    let destination = resolve::destination(&asked.view, &asked.call, &asked.caller, Some(&asked.keys), 0)
        .map_err(|refusal| broken(refusal.message))?;
    let mut shape = Reshape {
        view: asked.view,
        call: asked.call,
        destination,
        caller: asked.caller,
        keys: Some(asked.keys),
        owner: None,
        hop_id: HOP_ID,
        now: || 0,
        bytes_max: 8 << 20,
        progress: None,
        lowered: None,
    };
    let body = Bytes::from(messages::result(HOP_ID, text_bytes, false));
    let answer = measured(|| match shape.shape(&body) {
        Ok(Shaped::Response(body, _)) => Some(respond::ReplyBody::full(body)),
        Ok(Shaped::Long(pieces, _)) => Some(respond::ReplyBody::pieces(pieces)),
        _ => None,
    });
    answer.map(drop).ok_or_else(|| "the answer was not taken".to_owned())
}

fn refusing() -> Result<(), Failure> {
    let refusal = Refusal::new(Reason::InvalidParams, "unknown tool: other").rule("view");
    drop(measured(|| respond::refused(Some(b"1000000000"), black_box(&refusal))));
    Ok(())
}

/// Whole calls, with what client and server cost.
fn calling(era: Era, text_bytes: usize) -> Result<(), Failure> {
    let mut scene = Scene::of(era, text_bytes)?;
    measured(|| scene.calls(CALLS))
}

fn listing() -> Result<(), Failure> {
    let mut scene = Scene::new(SHORT_BYTES)?;
    measured(|| scene.list())
}

/// Counting and writing the records of calls.
fn recording() -> Result<(), Failure> {
    let mut scene = Scene::new(SHORT_BYTES)?;
    scene.calls(CALLS)?;
    measured(|| scene.written());
    Ok(())
}
