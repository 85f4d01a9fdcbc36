#![allow(clippy::unwrap_used)]

use meshgate_proxy::admin::shape::{EndpointStatus, ListenerStatus, Load, ViewStatus};

use super::*;

fn endpoint((version, state, in_flight): (&str, &str, usize)) -> EndpointStatus {
    EndpointStatus {
        instance: "0000000000000001".into(),
        version: version.into(),
        address: "127.0.0.1:7320".into(),
        state: state.into(),
        in_flight,
        connections: 1,
        stream_connections: 0,
    }
}

#[test]
fn a_status_reads_like_a_page() {
    let status = Status {
        version: "0.1.0".into(),
        pid: 42,
        mesh: "corp".into(),
        revision: 7,
        uptime_seconds: 200,
        unready: None,
        listeners: vec![ListenerStatus {
            url: "http://127.0.0.1:7300".into(),
            ..ListenerStatus::default()
        }],
        views: vec![ViewStatus {
            name: "default".into(),
            path: "/mcp".into(),
            servers: vec!["documents".into(), "projects".into()],
            away: vec!["projects".into()],
            tools: 4,
            anonymous: false,
        }],
        servers: vec![
            ServerStatus {
                name: "documents".into(),
                state: "up".into(),
                reach: "stdio".into(),
                era: Some("modern".into()),
                revision: Some("2026-07-28".into()),
                tools: Some(4),
                pid: Some(43),
                ..ServerStatus::default()
            },
            ServerStatus {
                name: "projects".into(),
                state: "away".into(),
                reach: "http".into(),
                why: Some("connection\nrefused".into()),
                away_seconds: Some(61),
                restarts: 2,
                endpoints: [("v1", "up", 3), ("v2", "out", 0)].map(endpoint).into(),
                ..ServerStatus::default()
            },
        ],
        load: Load::default(),
        member: None,
        configuration: None,
    };
    assert_eq!(
        shown(&status),
        "\
meshgate 0.1.0 · mesh corp · process 42 · up 3 min · revision 7
listening on http://127.0.0.1:7300

 VIEW     PATH  TOOLS  SERVERS              AWAY
 default  /mcp  4      documents, projects  projects

 SERVER     STATE  ERA     REACH       TOOLS  CALLS  RESTARTS  NOTE
 documents  up     modern  stdio (43)  4      0      0         2026-07-28
 projects   away           http               0      2         for 61 s: connection refused

 ENDPOINT  VERSION  STATE  ADDRESS         CALLS  CONNECTIONS  STREAMS
 projects  v1       up     127.0.0.1:7320  3      1            0
 projects  v2       out    127.0.0.1:7320  0      1            0

0 connection(s), 0 call(s) running, 0 session(s), 0 stream(s), 0 child process(es), 0 record(s) lost"
    );
}

#[test]
fn times_are_said_as_people_say_them() {
    assert_eq!(
        [ago(0), ago(119), ago(120), ago(7_200), ago(200_000)],
        ["0 s", "119 s", "2 min", "2 h", "2 d"]
    );
}
