//! What a client can be asked, as a set of bits.
//!
//! Both directions of the bridge decide by it: a legacy client declares it once for a session, a modern one with every
//! request, and a legacy server is told it in the handshake of a session of its own.

use meshgate_mcp::{Kind, MODERN, Object, Revision, Span};

/// A set of the client capabilities that decide whether a question can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u16);

impl Capabilities {
    /// Nothing declared.
    pub const NONE: Self = Self(0);
    /// Elicitation by form.
    pub const ELICITATION_FORM: Self = Self(1);
    /// Elicitation by URL.
    pub const ELICITATION_URL: Self = Self(1 << 1);
    /// Sampling.
    pub const SAMPLING: Self = Self(1 << 2);
    /// Sampling with `tools` and `toolChoice`.
    pub const SAMPLING_TOOLS: Self = Self(1 << 3);
    /// Listing roots.
    pub const ROOTS: Self = Self(1 << 4);
    /// Sampling with the context of servers (`includeContext`).
    pub const SAMPLING_CONTEXT: Self = Self(1 << 5);

    const ALL: u16 = 0b11_1111;

    /// What a modern `clientCapabilities` object declares. A client that says nothing of the kinds of elicitation has the
    /// first one that there was.
    pub fn read(src: &[u8], declared: Span) -> Self {
        let Some(declared) = Object::read(src, declared) else {
            return Self::NONE;
        };
        let mut set = Self::NONE;
        for member in &declared.members {
            let value = Object::read(src, member.value.span).filter(|_| member.value.kind == Kind::Object);
            let Some(value) = value else { continue };
            let has = |name: &str| value.get(src, name).is_some_and(|kind| kind.kind != Kind::Null);
            set = set.with(match &*member.name(src) {
                "roots" => Self::ROOTS,
                "sampling" => Self::SAMPLING
                    .with(Self::SAMPLING_TOOLS.when(has("tools")))
                    .with(Self::SAMPLING_CONTEXT.when(has("context"))),
                "elicitation" => Self::ELICITATION_URL
                    .when(has("url"))
                    .with(Self::ELICITATION_FORM.when(has("form") || !has("url"))),
                _ => Self::NONE,
            });
        }
        set
    }

    /// What of it a peer of that revision has a name for.
    #[must_use]
    pub fn known_to(self, revision: &Revision) -> Self {
        let sampling = Self::SAMPLING.with(Self::ROOTS);
        let more = Self::SAMPLING_TOOLS
            .with(Self::SAMPLING_CONTEXT)
            .when(revision.sampling_tools);
        let form = Self::ELICITATION_FORM.when(revision.elicitation_form);
        let url = Self::ELICITATION_URL.when(revision.elicitation_url);
        Self(self.0 & sampling.with(more).with(form).with(url).0)
    }

    /// The `capabilities` of an `initialize` request of that revision. Changes of the roots are not announced, because
    /// nobody could say them.
    pub fn to_legacy(self, revision: &Revision) -> String {
        let can = self.known_to(revision);
        let kinds = |names: [(Self, &str); 2]| {
            let named = names.iter().filter(|(kind, _)| can.contains(*kind));
            let named: Vec<String> = named.map(|(_, name)| format!("\"{name}\":{{}}")).collect();
            format!("{{{}}}", named.join(","))
        };
        let mut members = Vec::new();
        if can.contains(Self::ROOTS) {
            members.push("\"roots\":{}".to_owned());
        }
        if can.contains(Self::SAMPLING) {
            let kinds = kinds([(Self::SAMPLING_TOOLS, "tools"), (Self::SAMPLING_CONTEXT, "context")]);
            members.push(format!("\"sampling\":{kinds}"));
        }
        if can.contains(Self::ELICITATION_FORM) && !revision.elicitation_url {
            members.push("\"elicitation\":{}".to_owned());
        } else if can.contains(Self::ELICITATION_FORM) || can.contains(Self::ELICITATION_URL) {
            let kinds = kinds([(Self::ELICITATION_FORM, "form"), (Self::ELICITATION_URL, "url")]);
            members.push(format!("\"elicitation\":{kinds}"));
        }
        format!("{{{}}}", members.join(","))
    }

    /// The same as a modern `clientCapabilities` object.
    pub fn to_declared(self) -> String {
        self.to_legacy(MODERN)
    }

    const fn when(self, yes: bool) -> Self {
        if yes { self } else { Self::NONE }
    }

    /// Whether nothing is declared.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether everything in `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set as bits, for a sealed claim.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set of these bits; unknown bits mean nothing.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL)
    }

    /// The name a person knows the capability by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ELICITATION_FORM => "elicitation.form",
            Self::ELICITATION_URL => "elicitation.url",
            Self::SAMPLING => "sampling",
            Self::SAMPLING_TOOLS => "sampling.tools",
            Self::ROOTS => "roots",
            Self::SAMPLING_CONTEXT => "sampling.context",
            _ => "capabilities",
        }
    }
}

#[cfg(test)]
mod tests {
    use meshgate_mcp::REVISIONS;

    use super::*;

    fn read(declared: &str) -> Capabilities {
        let end = u32::try_from(declared.len()).unwrap();
        Capabilities::read(declared.as_bytes(), Span { start: 0, end })
    }

    #[test]
    fn a_modern_declaration_is_read_by_its_kinds() {
        for (declared, bits) in [
            ("{}", Capabilities::NONE),
            ("null", Capabilities::NONE),
            (r#"{"roots":true,"sampling":null,"elicitation":[]}"#, Capabilities::NONE),
            (r#"{"roots":{}}"#, Capabilities::ROOTS),
            (r#"{"elicitation":{}}"#, Capabilities::ELICITATION_FORM),
            (r#"{"elicitation":{"url":{}}}"#, Capabilities::ELICITATION_URL),
            (
                r#"{"elicitation":{"url":{},"form":{}}}"#,
                Capabilities::ELICITATION_FORM.with(Capabilities::ELICITATION_URL),
            ),
            (r#"{"sampling":{"tools":null}}"#, Capabilities::SAMPLING),
            (
                r#"{"sampling":{"tools":{}},"extensions":{"a/b":{}}}"#,
                Capabilities::SAMPLING.with(Capabilities::SAMPLING_TOOLS),
            ),
        ] {
            assert_eq!(read(declared), bits, "{declared}");
        }
    }

    #[test]
    fn each_revision_is_told_what_it_has_a_name_for() {
        let all = read(r#"{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}"#);
        let told: Vec<_> = REVISIONS
            .iter()
            .take(4)
            .map(|revision| all.to_legacy(revision))
            .collect();
        assert_eq!(
            told,
            [
                r#"{"roots":{},"sampling":{}}"#,
                r#"{"roots":{},"sampling":{}}"#,
                r#"{"roots":{},"sampling":{},"elicitation":{}}"#,
                r#"{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}"#,
            ]
        );
        let url = read(r#"{"elicitation":{"url":{}}}"#);
        let told: Vec<_> = REVISIONS
            .iter()
            .take(4)
            .map(|revision| url.to_legacy(revision))
            .collect();
        assert_eq!(told, ["{}", "{}", "{}", r#"{"elicitation":{"url":{}}}"#]);
    }
}
