//! The rows. First come those that refuse, then those that lose, then one that carries the rest.

use meshgate_mcp::Revision;

use super::{Carriage, Feature, Link, Row, Which, cannot};

const ANY: Which = Which { has: |_| true };
const MODERN: Which = Which {
    has: Revision::is_modern,
};
const LEGACY: Which = Which {
    has: |revision| !revision.is_modern(),
};
const FORM: Which = Which {
    has: |revision| revision.elicitation_form,
};
const NO_FORM: Which = Which {
    has: |revision| !revision.elicitation_form,
};
const NO_URL: Which = Which {
    has: |revision| !revision.elicitation_url,
};
const LEGACY_FORM: Which = Which {
    has: |revision| !revision.is_modern() && revision.elicitation_form,
};
const LEGACY_URL: Which = Which {
    has: |revision| !revision.is_modern() && revision.elicitation_url,
};
const NO_LINKS: Which = Which {
    has: |revision| !revision.resource_link,
};
const NARROW: Which = Which {
    has: |revision| revision.resource_link && !revision.structured_any,
};
const AUDIO: Which = Which {
    has: |revision| revision.audio,
};
const NO_AUDIO: Which = Which {
    has: |revision| !revision.audio,
};
const CONTEXT: Which = Which {
    has: |revision| revision.completion_context,
};
const NO_CONTEXT: Which = Which {
    has: |revision| !revision.completion_context,
};
const LINKS: Which = Which {
    has: |revision| revision.resource_link,
};

/// Every row; for each feature the first that fits decides.
pub const ROWS: &[Row] = &[
    row(Feature::Tools, NO_LINKS, LINKS, lost(LINKS_LOST)),
    row(Feature::Tools, NO_AUDIO, AUDIO, lost(AUDIO_LOST)),
    row(Feature::Tools, NARROW, MODERN, lost(ANY_LOST)),
    row(Feature::Tools, ANY, ANY, Carriage::Carried),
    row(Feature::Resources, ANY, ANY, Carriage::Carried),
    row(Feature::Templates, ANY, ANY, Carriage::Carried),
    row(Feature::Prompts, NO_LINKS, LINKS, lost(PROMPTS_LOST)),
    row(Feature::Prompts, NO_AUDIO, AUDIO, lost(AUDIO_LOST)),
    row(Feature::Prompts, ANY, ANY, Carriage::Carried),
    row(Feature::Completion, CONTEXT, NO_CONTEXT, lost(CONTEXT_LOST)),
    row(Feature::Completion, ANY, ANY, Carriage::Carried),
    row(
        Feature::ElicitationForm,
        ANY,
        NO_FORM,
        refused(&cannot::UNKNOWN_TO_SERVER),
    ),
    row(Feature::ElicitationForm, NO_FORM, MODERN, refused(&cannot::UNDECLARED)),
    row(
        Feature::ElicitationForm,
        NO_FORM,
        LEGACY_FORM,
        refused(&cannot::QUESTION),
    ),
    row(Feature::ElicitationForm, FORM, FORM, Carriage::Carried),
    row(
        Feature::ElicitationUrl,
        ANY,
        NO_URL,
        refused(&cannot::UNKNOWN_TO_SERVER),
    ),
    row(Feature::ElicitationUrl, NO_URL, MODERN, refused(&cannot::URL_IN_WORDS)),
    row(Feature::ElicitationUrl, NO_URL, LEGACY_URL, refused(&cannot::QUESTION)),
    row(Feature::ElicitationUrl, ANY, ANY, Carriage::Carried),
    row(Feature::Sampling, ANY, ANY, Carriage::Carried),
    row(Feature::Roots, ANY, ANY, Carriage::Carried),
    row(Feature::Progress, ANY, ANY, Carriage::Carried),
    row(Feature::Logging, ANY, LEGACY, lost(LOGS_LOST)),
    Row {
        link: Some(Link::Stdio),
        ..row(Feature::Logging, ANY, MODERN, lost(PIPE_LOGS_LOST))
    },
    row(Feature::Logging, ANY, ANY, Carriage::Carried),
    row(Feature::Cancel, ANY, ANY, Carriage::Carried),
    row(Feature::ListChanged, ANY, ANY, Carriage::Carried),
    row(Feature::ResourceUpdates, ANY, ANY, Carriage::Carried),
    row(Feature::Pagination, ANY, ANY, Carriage::Carried),
];

const LINKS_LOST: &str = "a link to a resource arrives as text, structured content and output schemas are left out (their \
    text stays), and audio arrives as a line of text at a client of 2024-11-05";
const AUDIO_LOST: &str = "audio arrives as a line of text";
const ANY_LOST: &str = "structured content that is no object, and an output schema that describes none, are left out; \
    the text stays";
const PROMPTS_LOST: &str =
    "a link to a resource arrives as text, and audio as a line of text at a client of 2024-11-05";
const CONTEXT_LOST: &str =
    "`context`, the arguments that are filled in already, is left out: the server has no word for it";
const LOGS_LOST: &str = "a message is delivered while one request is in flight on the server's session, and dropped \
    otherwise: nothing in it says which request it is about";
const PIPE_LOGS_LOST: &str = "a message is delivered while one call that wants log messages is in flight, and dropped \
    otherwise: all of them arrive on one pipe, and nothing in one says which call it is about";

const fn row(feature: Feature, client: Which, server: Which, carriage: Carriage) -> Row {
    Row {
        feature,
        client,
        server,
        link: None,
        carriage,
    }
}

const fn lost(what: &'static str) -> Carriage {
    Carriage::WithLoss(what)
}

const fn refused(why: &'static cannot::Cannot) -> Carriage {
    Carriage::Refused(why)
}
