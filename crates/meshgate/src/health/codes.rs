//! What a check of a running mesh may find, declared once: for the command, for programs that match on codes, and for the
//! page that explains each (`docs/reference/mesh-checks.md`).
//!
//! A code never changes its meaning and is never used again for another. Those of files begin with `MG0`, these with
//! `MG2`.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// It works, and will not for ever.
    Warning,
    /// Calls fail, or will soon.
    Error,
}

impl Level {
    /// The word in findings.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// Stable, `MG2001` and up.
    pub(crate) code: &'static str,
    /// How bad.
    pub(crate) level: Level,
    /// What it means, in one line.
    pub(crate) meaning: &'static str,
    /// What follows from it when nothing is done.
    pub(crate) follows: &'static str,
    /// What to do.
    pub(crate) remedy: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $level:ident, $meaning:literal, $follows:literal, $remedy:literal;)*) => {
        $(#[doc = $meaning] pub(crate) const $name: &Code = &Code {
            code: $code,
            level: Level::$level,
            meaning: $meaning,
            follows: $follows,
            remedy: $remedy,
        };)*
        /// Every code, in the order of the page.
        pub(crate) const ALL: &[&Code] = &[$($name),*];
    };
}

codes! {
    CLOCK = "MG2001", Error, "clocks are apart",
        "Certificates and caller contexts are valid between two times. A clock that is half a minute off refuses calls of parts \
         whose clock is right, and a clock that is hours off sees certificates that are expired or not valid yet.",
        "let a time service run on every machine (`timedatectl`, `chronyc tracking`), and set the one that is named";
    UNSETTLED = "MG2002", Warning, "the control plane is young and waits for its proxies",
        "For a minute after its start, in which every proxy has the time to come back, gateways add endpoints and take none \
         away. Calls go on.",
        "wait a minute";
    SET_BACK = "MG2003", Error, "the store of the control plane is older than what proxies have seen",
        "A backup was put back. Proxies take what it says only from a higher epoch, and what was applied since the backup is missing.",
        "restart the control plane, which raises the epoch, and apply what is missing";
    RENEWAL_LATE = "MG2101", Error, "a certificate is past two thirds of its life",
        "A proxy renews its certificate after a third of its life. This one has failed to for as long again; when the rest is \
         over, its calls end.",
        "look at the log of the proxy for why it cannot renew: usually the control plane is not reached, or the identity is denied";
    EXPIRED = "MG2102", Error, "a certificate has expired",
        "Nobody talks to this proxy. A proxy that runs enrols again by itself with the key it holds, for 30 days.",
        "start the proxy, or let it reach the control plane; after 30 days it needs a join token (`meshgate join-token`)";
    ROOT_ENDS = "MG2103", Warning, "the root certificate ends in less than 60 days",
        "With the root every certificate of the mesh ends.",
        "run `meshgate cert rotate-root`; it needs no restart and no call fails";
    ROTATION_OPEN = "MG2105", Warning, "the root is being replaced",
        "The mesh trusts the old root and the new one until every proxy has the new one and a certificate under it.",
        "wait, or let the proxies that are named come back; `meshgate cert show` says who still needs the old root";
    TOKEN_REUSED = "MG2106", Error, "a join token was shown a second time",
        "A token is good once. Either somebody of yours used it twice, or somebody else had it first and is in the mesh now.",
        "look who joined (`meshgate cert show`); when it was not yours, refuse that certificate with `meshgate cert deny SERIAL` and make another token";
    UNKNOWN_ISSUANCE = "MG2107", Error, "a certificate is in use that the authority has not written down",
        "Somebody has a key of the authority, or its log was changed.",
        "find out who uses it; replace the root with `meshgate cert rotate-root` and let the parts join anew";
    LOG_BROKEN = "MG2108", Error, "the log of issued certificates does not hold together",
        "Entries were changed or taken out. What was issued cannot be told for sure.",
        "compare it with a backup of the control plane's state directory";
    GUESSING = "MG2109", Warning, "somebody tries to enrol again and again",
        "Addresses that fail often have to wait. A token cannot be guessed; a proxy with an old token, or somebody who looks for \
         one, can be found.",
        "look at the address that the message names";
    NACK = "MG2201", Error, "a proxy refuses the configuration",
        "It serves the last configuration that it took, whole. Changes since then do not count there.",
        "correct the object that is named and apply it again; `meshgate describe` shows it";
    BEHIND = "MG2202", Warning, "a proxy has not taken the newest configuration",
        "It serves an older revision.",
        "wait some seconds; when it stays, look at the proxy's log, and whether it reaches the control plane";
    VERSIONS = "MG2203", Warning, "a proxy is more than one minor version away from the control plane",
        "Neighbouring minor versions understand each other. What lies further apart is not tested together.",
        "upgrade the control plane first, then the proxies, one minor version at a time";
    GONE = "MG2204", Warning, "a proxy that has a valid certificate is not connected",
        "It may run on with what it has: losing the control plane changes nothing for it. It does not hear of changes.",
        "start it, or let it reach the control plane's address; a proxy that is gone for good leaves when its certificate ends";
    PORT = "MG2205", Error, "a proxy's address does not take connections from here",
        "Gateways reach a sidecar at the address that it reports. From this machine it cannot be reached, so from a gateway on \
         this machine it cannot either.",
        "open the port (7320 for sidecars, 7321 for gateways), or start the proxy with the address others can reach";
    UNREACHED = "MG2301", Error, "a server has no endpoint",
        "Its tools are missing from every view, and calls to it are refused with `server_away`.",
        "start its sidecar: `meshgate join-token --server NAME`, then `meshgate sidecar --server NAME -- COMMAND`";
    AWAY = "MG2302", Error, "a sidecar does not reach its server",
        "Where it is the server's only endpoint, calls are refused with `server_away`; otherwise the other endpoints take them.",
        "look at the server: its sidecar's log has the last lines it wrote";
    OTHER_VERSION = "MG2303", Warning, "sidecars of a version that gets no calls have joined",
        "The `Server` names another version.",
        "name it in `spec.sidecar.version`, or stop them";
    HIDDEN = "MG2304", Warning, "no view shows a server",
        "Nobody can call it, and no gateway may.",
        "add it to a `View`, or delete it";
    NO_GATEWAY = "MG2305", Error, "no gateway is connected",
        "Applications have no address that follows this control plane.",
        "start one: `meshgate join-token --gateway NAME`, then `meshgate gateway`";
}

const HEAD: &str = "# What `meshgate check` finds in a running mesh

<!-- Generated from the program. Regenerate: `cargo xtask codegen`. -->

`meshgate check` without a file asks the control plane how everything is, looks at the addresses it names from where you
stand, and prints one finding for each thing that is wrong or will be. Its exit code is 0 without an error, and 1 with one.
`meshgate check FILE` is about a file; its codes are in [errors](errors.md#findings), and those of them that are about
objects (such as `MG0305`, a command without a version) are found here too. A code never changes its meaning.

| code | | meaning |
|---|---|---|
";

/// The page, as the text of its file.
pub(crate) fn markdown() -> String {
    use std::fmt::Write as _;
    let mut page = HEAD.to_owned();
    for code in ALL {
        let (id, anchor) = (code.code, code.code.to_lowercase());
        let _ = writeln!(page, "| [{id}](#{anchor}) | {} | {} |", code.level.word(), code.meaning);
    }
    for code in ALL {
        let (id, level, meaning) = (code.code, code.level.word(), code.meaning);
        let _ = write!(
            page,
            "\n## {id}\n\n{level}: {meaning}.\n\n**What follows.** {}\n\n**What to do.** {}.\n",
            code.follows,
            capital(code.remedy)
        );
    }
    page
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_code_is_given_once_and_has_a_section_with_a_remedy() {
        let page = markdown();
        let mut seen = std::collections::BTreeSet::new();
        for code in ALL {
            assert!(seen.insert(code.code), "{} is given twice", code.code);
            assert!(page.contains(&format!("\n## {}\n", code.code)));
            assert!(code.remedy.len() > 5 && code.follows.len() > 20, "{}", code.code);
            assert!(
                code.code
                    .strip_prefix("MG2")
                    .unwrap()
                    .bytes()
                    .all(|b| b.is_ascii_digit()),
                "{}",
                code.code
            );
        }
    }
}
