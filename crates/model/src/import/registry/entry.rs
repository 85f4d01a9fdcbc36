//! What a registry answers: a page of entries, read leniently, because fields are added there all the time.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Longest cursor that is sent back, in bytes.
const CURSOR_BYTES_MAX: usize = 1024;

/// A page of entries.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub(super) servers: Vec<Listed>,
    /// Where the next page begins, where there is one.
    pub next: Option<String>,
}

impl Page {
    /// Entries on it.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Keeps only the first entries.
    pub fn truncate(&mut self, entries_max: usize) {
        self.servers.truncate(entries_max);
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) server: Server,
    #[serde(rename = "_meta", default)]
    meta: BTreeMap<String, serde_json::Value>,
}

impl Listed {
    /// What the registry itself says about the entry: `active`, `deprecated`, `deleted`.
    pub(super) fn status(&self) -> &str {
        self.meta
            .get("io.modelcontextprotocol.registry/official")
            .and_then(|official| official.get("status"))
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Server {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) version: String,
    pub(super) repository: Option<Repository>,
    #[serde(default)]
    pub(super) packages: Vec<Package>,
    #[serde(default)]
    pub(super) remotes: Vec<Remote>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Repository {
    #[serde(default)]
    pub(super) url: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Package {
    pub(super) registry_type: String,
    pub(super) registry_base_url: Option<String>,
    pub(super) identifier: String,
    pub(super) version: Option<String>,
    pub(super) runtime_hint: Option<String>,
    pub(super) transport: Transport,
    pub(super) runtime_arguments: Vec<Argument>,
    pub(super) package_arguments: Vec<Argument>,
    pub(super) environment_variables: Vec<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Transport {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

/// A remote endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Remote {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) url: String,
    pub(super) headers: Vec<Named>,
    pub(super) variables: BTreeMap<String, Input>,
}

/// Something a person is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Input {
    pub(super) description: String,
    pub(super) is_required: bool,
    pub(super) is_secret: bool,
    pub(super) value: Option<String>,
    pub(super) default: Option<String>,
    pub(super) choices: Vec<String>,
}

/// A variable or header.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) input: Input,
    pub(super) variables: BTreeMap<String, Input>,
}

/// An argument on a command line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Argument {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) value_hint: String,
    #[serde(flatten)]
    pub(super) input: Input,
    pub(super) variables: BTreeMap<String, Input>,
}

#[derive(Deserialize)]
struct Listing {
    servers: Vec<Listed>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    next_cursor: Option<String>,
}

/// Reads what a registry answered: a list of entries, or one entry.
///
/// # Errors
/// What is wrong with it, in one sentence without a full stop.
pub fn page(answer: &[u8]) -> Result<Page, String> {
    let whole: serde_json::Value =
        serde_json::from_slice(answer).map_err(|cause| format!("the answer is not JSON: {cause}"))?;
    let wrong = |cause: serde_json::Error| format!("the answer is no list of servers: {cause}");
    if whole.get("server").is_some() {
        let listed: Listed = serde_json::from_value(whole).map_err(wrong)?;
        return Ok(Page {
            servers: vec![listed],
            next: None,
        });
    }
    let listing: Listing = serde_json::from_value(whole).map_err(wrong)?;
    let next = listing.metadata.next_cursor.filter(|cursor| !cursor.is_empty());
    if next.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
        return Err(format!(
            "the cursor of the next page has more than {CURSOR_BYTES_MAX} bytes"
        ));
    }
    Ok(Page {
        servers: listing.servers,
        next,
    })
}
