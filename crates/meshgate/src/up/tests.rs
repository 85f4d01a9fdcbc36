//! What ends `up` beside a signal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

const FILE: &str = "apiVersion: meshgate.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec: {accessLog: off}\n---\n\
    apiVersion: meshgate.dev/v1alpha1\nkind: Gateway\nmetadata: {name: edge}\nspec: {listeners: [{address: \"127.0.0.1:0\"}]}\n---\n\
    apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: remote}\nspec: {sidecar: {}}\n";

#[test]
fn a_mesh_whose_gateway_has_lost_a_listener_ends_and_says_who() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new("mesh.yaml".to_owned(), FILE.to_owned());
    let state = StateDirectory::open(StatePath::find(Some(&directory.path().join("state"))).unwrap()).unwrap();
    let free = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let options = MeshOptions {
        control: free,
        api: free,
    };
    let assembly = Assembly::prepare(source, state, options).unwrap();
    let (heard, hears) = mpsc::channel(1);
    // Sockets cannot be used on this runtime: each listener that is given to it ends at once.
    let serving = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let mut ground = Ground {
        serving,
        metrics: Arc::new(Metrics::new()),
        reload: (Some(heard), hears),
    };
    let ended = keep_runtime().unwrap().block_on(async {
        let waits = async |_: Running, signals: &mut Signals| {
            signals.next().await;
            ExitCode::SUCCESS
        };
        tokio::time::timeout(Duration::from_secs(30), assembly.mesh(options, &mut ground, waits)).await
    });
    let failure = ended.expect("it does not run on").unwrap_err();
    assert_eq!(failure.code(), SYSTEM);
    assert!(
        failure.words().0.contains("spiffe://test.mesh/gateway/edge"),
        "{failure}"
    );
}
