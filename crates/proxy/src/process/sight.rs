//! What the admin interface sees of a part: its assembly, and how it stands with its membership.

use std::sync::Arc;
use std::time::SystemTime;

use crate::admin::Sight;
use crate::admin::shape::{MemberStatus, Status, Tools};
use crate::member::{Alarm, Member};

/// What the admin interface sees of a part of a mesh.
pub(super) struct MemberSight {
    assembly: Arc<dyn Sight>,
    member: Arc<Member>,
}

impl MemberSight {
    pub(super) fn new(assembly: Arc<dyn Sight>, member: Arc<Member>) -> Self {
        Self { assembly, member }
    }

    fn member(&self) -> MemberStatus {
        let standing = self.member.standing();
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs()
        };
        MemberStatus {
            identity: self.member.id().to_string(),
            instance: format!("{:016x}", self.member.instance),
            control: standing.control,
            connected: standing.connected,
            since_seconds: standing.since.elapsed().unwrap_or_default().as_secs(),
            why: standing.why,
            epoch: standing.position.map_or(0, |position| position.epoch),
            revision: standing.position.map_or(0, |position| position.revision),
            refused: standing.refused,
            certificate_serial: standing.serial,
            certificate_ends: seconds(standing.ends),
            certificate_alarm: match standing.alarm {
                Alarm::None => None,
                Alarm::Late => Some("late".to_owned()),
                Alarm::Ended => Some("ended".to_owned()),
            },
            renewal_failed: standing.renewal,
        }
    }
}

impl Sight for MemberSight {
    fn status(&self) -> Status {
        Status {
            member: Some(self.member()),
            ..self.assembly.status()
        }
    }

    fn tools(&self, view: Option<&str>) -> Option<Tools> {
        self.assembly.tools(view)
    }

    fn metrics(&self) -> String {
        self.assembly.metrics()
    }

    fn unready(&self) -> Option<String> {
        self.assembly.unready()
    }
}
