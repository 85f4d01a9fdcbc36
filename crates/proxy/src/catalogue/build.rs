//! Building a view: one pass over its servers' items makes both what is listed and what calls resolve to.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use meshgate_mcp::content::{self, Direction, UriKind};
use meshgate_mcp::{Kind, MODERN, Object, REVISIONS, Rules, Splice, elements, json, lookup, meta, scan};
use meshgate_model::{Naming, View, ViewServer, naming};

use super::instructions::merged;
use super::read::whole_object;
use super::{Capabilities, Item, ListKind, ServerInView, ServerList, ToolEntry, ToolFacts, ViewList, ViewState};

/// The only extensions that a merged view offers: those whose routing the mesh implements.
const MERGED_EXTENSIONS: [&str; 1] = ["io.modelcontextprotocol/ui"];

/// What the gateway calls itself, towards clients (`serverInfo`) and servers (`clientInfo`).
pub fn gateway_identity() -> &'static [u8] {
    concat!(
        "{\"name\":\"meshgate\",\"version\":\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    )
    .as_bytes()
}

/// Builds a view from what its servers offer now.
pub(super) fn view_state(view: &Arc<View>, servers: Vec<ServerInView>, items_max: usize) -> ViewState {
    let prefixed = view.naming == Naming::Prefixed;
    let merged = view.is_merged() || prefixed;
    let mut state = ViewState {
        view: view.clone(),
        merged,
        tools: HashMap::new(),
        prompts: HashMap::new(),
        lists: Default::default(),
        discover: Bytes::new(),
        capabilities_raw: Bytes::new(),
        instructions: instructions(view, &servers),
        capabilities: union(&servers),
        own_lists: servers.iter().any(|s| s.server.catalogue_per_caller),
        tolerates_duplicates: servers.iter().any(|s| s.server.duplicate_arguments),
        servers,
    };
    for kind in ListKind::ALL {
        let list = build_list(&mut state, kind, items_max);
        if let Some(slot) = state.lists.get_mut(kind as usize) {
            *slot = list;
        }
    }
    state.capabilities_raw = Bytes::from(capabilities_raw(&state));
    state.discover = Bytes::from(discover(&state));
    state
}

fn union(servers: &[ServerInView]) -> Capabilities {
    let mut all = Capabilities::default();
    for c in servers
        .iter()
        .filter_map(|s| s.catalogue.as_ref())
        .map(|c| c.capabilities)
    {
        all.tools |= c.tools;
        all.prompts |= c.prompts;
        all.resources |= c.resources;
        all.subscribe |= c.subscribe;
        all.completions |= c.completions;
        all.logging |= c.logging;
        all.tasks |= c.tasks;
    }
    // A server that has never answered may offer anything: lists are empty until it does, not absent.
    let unknown = servers.iter().any(|s| s.catalogue.is_none());
    all.tools |= unknown;
    all.prompts |= unknown;
    all.resources |= unknown;
    all.list_changed = [true; 3];
    all
}

/// One list of the view; fills the tables that calls resolve by as it goes.
fn build_list(state: &mut ViewState, kind: ListKind, items_max: usize) -> ViewList {
    let view = state.view.clone();
    let mut items = Vec::new();
    for index in 0..state.servers.len() {
        let (Some(entry), Some(server)) = (view.servers.get(index), state.servers.get(index).cloned()) else {
            continue;
        };
        let Some(catalogue) = &server.catalogue else { continue };
        let Some(list) = catalogue.lists.get(kind as usize) else {
            continue;
        };
        let shown = expose(state, index, entry, kind, list);
        if !server.away {
            items.extend(shown);
        }
    }
    let tail = tail(state, kind);
    let mut hasher = DefaultHasher::new();
    items.hash(&mut hasher);
    let digest = hasher.finish();
    let mut list = ViewList {
        items,
        tail,
        whole: None,
        digest,
    };
    if list.items.len() <= items_max {
        list.whole = Some(Bytes::from(super::serve::result(kind, &list.items, None, &list.tail)));
    }
    list
}

/// The items of one server as the view shows them, entered into the view's tables.
fn expose(state: &mut ViewState, index: usize, entry: &ViewServer, kind: ListKind, list: &ServerList) -> Vec<Bytes> {
    let view = state.view.clone();
    let alias = entry.server.alias.clone();
    let mut admitted: Vec<(&Item, Arc<str>)> = Vec::with_capacity(list.items.len());
    for item in &list.items {
        let exposed = match kind {
            ListKind::Tools if !entry.tools.admits(&item.key) => continue,
            ListKind::Tools => exposed_name(&view, &alias, entry.tools.renamed(&item.key)),
            ListKind::Prompts => exposed_name(&view, &alias, &item.key),
            ListKind::Resources | ListKind::Templates => item.key.clone(),
        };
        let taken = match kind {
            ListKind::Tools => state.tools.contains_key(&exposed),
            ListKind::Prompts => state.prompts.contains_key(&exposed),
            _ => false,
        };
        if taken {
            tracing::warn!(view = %view.name, name = %exposed, alias = %alias, "another server of the view has this name already; this one is not shown");
            continue;
        }
        match kind {
            ListKind::Tools => {
                let facts = item.facts.clone().unwrap_or_else(|| Arc::new(ToolFacts::default()));
                state.tools.insert(
                    exposed.clone(),
                    ToolEntry {
                        server: index,
                        original: item.key.clone(),
                        facts,
                    },
                );
            }
            ListKind::Prompts => {
                state.prompts.insert(exposed.clone(), (index, item.key.clone()));
            }
            _ => {}
        }
        admitted.push((item, exposed));
    }
    if state.merged || admitted.iter().any(|(item, exposed)| item.key != *exposed) {
        let names = admitted
            .iter()
            .map(|(item, exposed)| (item.key.clone(), exposed.clone()));
        let form = (&view.path, &alias, view.is_merged());
        let make = || rewrite(&admitted, kind, &alias, view.is_merged());
        list.shown.get(form, names.collect(), make)
    } else {
        admitted.iter().map(|(item, _)| item.raw.clone()).collect()
    }
}

fn exposed_name(view: &View, alias: &str, name: &str) -> Arc<str> {
    match view.naming {
        Naming::Prefixed => Arc::from(naming::exposed(alias, name)),
        Naming::Plain => Arc::from(name),
    }
}

/// Names, URIs and provenance spliced into the items; every other byte stays.
fn rewrite(items: &[(&Item, Arc<str>)], kind: ListKind, alias: &str, wrap: bool) -> Vec<Bytes> {
    let mut whole = format!("{{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{{\"{}\":[", kind.member()).into_bytes();
    for (i, (item, _)) in items.iter().enumerate() {
        if i > 0 {
            whole.push(b',');
        }
        whole.extend_from_slice(&item.raw);
    }
    whole.extend_from_slice(b"]}}");
    let rules = Rules {
        bytes_max: usize::MAX,
        ..Rules::SERVER
    };
    let Some(message) = scan(&whole, &rules).ok() else {
        return Vec::new();
    };
    let Some(array) = message
        .body
        .as_ref()
        .and_then(|b| b.get(&whole, kind.member()))
        .copied()
    else {
        return Vec::new();
    };
    let mut splice = Splice::new(&whole);
    if wrap {
        content::map_uris(
            &whole,
            &message,
            kind.method(),
            Direction::ToClient,
            &mut |uri, k| Some(wrapped(alias, uri, k)),
            &mut splice,
        );
    }
    for (value, (item, exposed)) in elements(&whole, array.span).zip(items) {
        let Some(object) = Object::read(&whole, value.span) else {
            continue;
        };
        if matches!(kind, ListKind::Tools | ListKind::Prompts)
            && item.key != *exposed
            && let Some(name) = object.get(&whole, kind.key())
        {
            splice.replace(name.span, json::quote(exposed));
        }
        if wrap {
            provenance(&whole, &object, alias, &mut splice);
        }
    }
    let spliced = Bytes::from(splice.finish());
    cut(&spliced, kind)
}

/// Says in the item's `_meta` which server it comes from.
fn provenance(whole: &[u8], object: &Object, alias: &str, splice: &mut Splice<'_>) {
    match object.get(whole, "_meta") {
        Some(fields) if fields.kind == Kind::Object => {
            if let Some(fields) = Object::read(whole, fields.span)
                && fields.get(whole, meta::VENDOR_SERVER).is_none()
            {
                splice.insert(&fields, meta::VENDOR_SERVER, json::quote(alias));
            }
        }
        Some(_) => {}
        None => {
            let mut value = b"{".to_vec();
            json::push_quoted(&mut value, meta::VENDOR_SERVER);
            value.push(b':');
            json::push_quoted(&mut value, alias);
            value.push(b'}');
            splice.insert(object, "_meta", value);
        }
    }
}

/// A URI in the form that clients of a merged view see.
pub fn wrapped(alias: &str, uri: &str, kind: UriKind) -> String {
    match kind {
        UriKind::Template => naming::wrap_template(alias, uri),
        UriKind::Resource | UriKind::Ui => naming::wrap_uri(alias, uri),
    }
}

fn cut(spliced: &Bytes, kind: ListKind) -> Vec<Bytes> {
    let rules = Rules {
        bytes_max: usize::MAX,
        ..Rules::SERVER
    };
    let Ok(message) = scan(spliced, &rules) else {
        return Vec::new();
    };
    let Some(array) = message.body.as_ref().and_then(|b| b.get(spliced, kind.member())) else {
        return Vec::new();
    };
    elements(spliced, array.span)
        .map(|v| spliced.slice(v.span.start as usize..v.span.end as usize))
        .collect()
}

/// Everything of a list result but its items and cursor: `,"resultType":…,"ttlMs":…,"cacheScope":…,"_meta":{…}`.
fn tail(state: &ViewState, kind: ListKind) -> Vec<u8> {
    let mut tail = cache_hints(state.view.list_ttl_ms);
    let single = if state.view.is_merged() {
        None
    } else {
        state.servers.first()
    };
    let list = single
        .and_then(|s| s.catalogue.as_ref())
        .and_then(|c| c.lists.get(kind as usize));
    for member in list.map(|l| l.extra.as_slice()).unwrap_or_default() {
        tail.push(b',');
        tail.extend_from_slice(member);
    }
    tail.extend_from_slice(b",\"_meta\":{");
    json::push_quoted(&mut tail, meta::SERVER_INFO);
    tail.push(b':');
    tail.extend_from_slice(gateway_identity());
    for member in list.map(|l| l.extra_meta.as_slice()).unwrap_or_default() {
        tail.push(b',');
        tail.extend_from_slice(member);
    }
    let away: Vec<&str> = state
        .servers
        .iter()
        .filter(|s| s.away)
        .map(|s| &*s.server.alias)
        .collect();
    if !away.is_empty() {
        tail.push(b',');
        json::push_quoted(&mut tail, meta::VENDOR_AWAY);
        tail.extend_from_slice(b":[");
        for (i, alias) in away.iter().enumerate() {
            if i > 0 {
                tail.push(b',');
            }
            json::push_quoted(&mut tail, alias);
        }
        tail.push(b']');
    }
    tail.push(b'}');
    tail
}

/// `,"resultType":"complete","ttlMs":…,"cacheScope":"private"`: what is shown depends on who asks.
fn cache_hints(ttl_ms: u64) -> Vec<u8> {
    format!(",\"resultType\":\"complete\",\"ttlMs\":{ttl_ms},\"cacheScope\":\"private\"").into_bytes()
}

/// A view of one server shows that server's capabilities as they are; a merged one shows the union.
fn capabilities_raw(state: &ViewState) -> Vec<u8> {
    if let (false, Some(catalogue)) = (
        state.view.is_merged(),
        state.servers.first().and_then(|s| s.catalogue.as_ref()),
    ) {
        let discover = &catalogue.discover;
        if let Some(value) = whole_object(discover).and_then(|o| o.get(discover, "capabilities").copied()) {
            return value.raw(discover).to_vec();
        }
    }
    let c = state.capabilities;
    let mut members: Vec<String> = Vec::new();
    if c.tools {
        members.push("\"tools\":{\"listChanged\":true}".to_owned());
    }
    if c.prompts {
        members.push("\"prompts\":{\"listChanged\":true}".to_owned());
    }
    if c.resources {
        members.push(format!(
            "\"resources\":{{\"subscribe\":{},\"listChanged\":true}}",
            c.subscribe
        ));
    }
    if c.completions {
        members.push("\"completions\":{}".to_owned());
    }
    let extensions: Vec<String> = MERGED_EXTENSIONS.iter().filter_map(|id| extension(state, id)).collect();
    if !extensions.is_empty() {
        members.push(format!("\"extensions\":{{{}}}", extensions.join(",")));
    }
    format!("{{{}}}", members.join(",")).into_bytes()
}

/// An extension's settings as the first server that has it gave them.
fn extension(state: &ViewState, id: &str) -> Option<String> {
    state
        .servers
        .iter()
        .filter_map(|s| s.catalogue.as_ref())
        .find_map(|catalogue| {
            let object = whole_object(&catalogue.discover)?;
            let value = lookup(&catalogue.discover, object.span, &["capabilities", "extensions", id])?;
            Some(format!(
                "\"{id}\":{}",
                std::str::from_utf8(value.raw(&catalogue.discover)).ok()?
            ))
        })
}

fn discover(state: &ViewState) -> Vec<u8> {
    let mut out = b"{\"supportedVersions\":[".to_vec();
    json::push_quoted(&mut out, MODERN.name);
    for revision in REVISIONS.iter().rev().filter(|r| r.name != MODERN.name) {
        out.push(b',');
        json::push_quoted(&mut out, revision.name);
    }
    out.extend_from_slice(b"],\"capabilities\":");
    out.extend_from_slice(&state.capabilities_raw);
    if let Some(instructions) = &state.instructions {
        out.extend_from_slice(b",\"instructions\":");
        json::push_quoted(&mut out, instructions);
    }
    out.extend_from_slice(&cache_hints(state.view.list_ttl_ms));
    out.extend_from_slice(b",\"_meta\":{");
    json::push_quoted(&mut out, meta::SERVER_INFO);
    out.push(b':');
    out.extend_from_slice(gateway_identity());
    out.extend_from_slice(b"}}");
    out
}

/// The configured instructions, or the servers' own: of one server as they are, of several under headings.
fn instructions(view: &View, servers: &[ServerInView]) -> Option<Arc<str>> {
    if let Some(configured) = &view.instructions {
        return (!configured.is_empty()).then(|| configured.clone());
    }
    let mut given = servers.iter().filter_map(|s| {
        let text = s.catalogue.as_ref()?.instructions.clone()?;
        Some((s.server.alias.clone(), text))
    });
    if !view.is_merged() {
        return given.next().map(|(_, text)| text);
    }
    merged(&given.collect::<Vec<_>>())
}
