//! The limits of distribution, with the reason for each.

use std::time::Duration;

/// One resource, in bytes. A thousand endpoints are 150 KB, four thousand denials 500 KB, the largest document of a mesh file
/// less; and one resource must fit a message.
pub const RESOURCE_BYTES_MAX: usize = 2 << 20;
/// All resources of one proxy, in bytes: thirty times a mesh of a thousand servers.
pub const SNAPSHOT_BYTES_MAX: usize = 64 << 20;
/// All resources of one proxy: a gateway that shows five thousand servers has two for each, and applications.
pub const RESOURCES_MAX: usize = 20_000;
/// One message on the stream, in bytes, in both directions: the largest `Hello` has 2.4 MB, the largest part one
/// resource and the names of all that are gone.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How much a part carries before another is begun, in bytes, so that a slow reader is not sent megabytes at once.
pub const PART_BYTES: usize = 1 << 20;
/// Parts of one change: each carries a resource at least, and one more the manifest.
pub const PARTS_MAX: usize = RESOURCES_MAX + 1;
/// A name of a resource, in bytes: a kind, a slash and a name of at most 63, or a trust domain of at most 255.
pub const NAME_BYTES_MAX: usize = 255;
/// Proxies of one server or gateway.
pub const ENDPOINTS_MAX: usize = 1_000;
/// Gateways that may call one server.
pub const GATEWAYS_MAX: usize = 256;
/// Identities and certificates that are cut off. Entries may go once their certificates have ended.
pub const DENIALS_MAX: usize = 4_096;
/// Root certificates at once: two during a rotation, and some of other meshes.
pub const ROOTS_MAX: usize = 16;
/// One root certificate, in bytes.
pub const ROOT_BYTES_MAX: usize = 16 << 10;
/// Keys that sign manifests at once: two during a rotation.
pub const SNAPSHOT_KEYS_MAX: usize = 4;
/// A key ring, in bytes.
pub const KEY_RING_BYTES_MAX: usize = 64 << 10;
/// Text for people in a message, in bytes; longer text is cut.
pub const TEXT_BYTES_MAX: usize = 1 << 10;
/// How far the epoch may move at once. It counts how often a store was set back; a jump beyond this is a fault or an attack,
/// and would lock a proxy to it for good.
pub const EPOCH_STEP_MAX: u64 = 1 << 20;

/// Without a message for so long a sender says that it is there.
pub const BEAT: Duration = Duration::from_secs(10);
/// Without a message for so long the other end is taken for lost: three beats and some.
pub const SILENCE: Duration = Duration::from_secs(35);
/// How long opening a stream may take.
pub const OPENING: Duration = Duration::from_secs(10);
/// How long a proxy may take to answer a change: compiling and writing it takes less than a second.
pub const ANSWER: Duration = Duration::from_secs(30);
/// After so long a proxy is sent once more what it has refused: a full disk may have room again.
pub const REFUSED_AGAIN: Duration = Duration::from_secs(60);
/// The first wait before a stream is opened again is between nothing and this; the next ones twice as long each.
pub const RETRY: Duration = Duration::from_secs(1);
/// The longest such wait: ten thousand proxies that come back within it are three hundred a second.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// A stream that lived so long was sound: the waits begin anew.
pub const STEADY: Duration = Duration::from_secs(30);

/// A change is sent when nothing has changed for so long,
pub const QUIET: Duration = Duration::from_millis(50);
/// or after so long, whatever changes.
pub const QUIET_MAX: Duration = Duration::from_millis(500);
/// What is urgent is sent at once, and then not before so long: endpoints that come and go must not undo the rest.
pub const URGENT_GAP: Duration = Duration::from_millis(10);
/// Streams at once.
pub const SESSIONS_MAX: usize = 20_000;
/// Streams of one identity at once: a server with a thousand instances, during a restart of all of them.
pub const SESSIONS_OF_IDENTITY_MAX: usize = 2_000;
/// New streams a second: 10,000 in 20 s, at half a core for their handshakes.
pub const ADMITTED_PER_SECOND: u32 = 500;
/// New streams at once after a quiet time.
pub const ADMITTED_BURST: u32 = 500;
/// New streams of one identity a second, so that one that opens them in a loop does not keep others out.
pub const ADMITTED_OF_IDENTITY_PER_SECOND: u32 = 50;
/// New streams of one identity at once after a quiet time.
pub const ADMITTED_OF_IDENTITY_BURST: u32 = 100;
/// The longest time in which all proxies are told to renew their certificates: at 50 a second, ten thousand take 200 s.
pub const RENEW_MAX: Duration = Duration::from_secs(600);
/// The longest time a proxy is told to wait.
pub const LATER_MAX: Duration = Duration::from_secs(30);
