//! `Mcp-Param-*`: arguments that a tool's schema asks to have repeated in headers.
//!
//! A schema marks a property with `x-mcp-header`. The specification is narrow about where the mark may stand, so that
//! every reader finds the same value: on a property of type string, integer or boolean that is reached from the root
//! through `properties` alone. A tool that breaks this must not be offered at all.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::{HeaderError, decode, encode};
use crate::limits::{
    PARAM_HEADERS_MAX, PARAM_NAME_BYTES_MAX, PARAM_PATH_BYTES_MAX, SCHEMA_DEPTH_MAX, SCHEMA_NODES_MAX,
};
use crate::read::{elements, lookup, value_at};
use crate::value::{Kind, Member, Object, Span, Value};

/// The annotation in a schema.
const ANNOTATION: &str = "x-mcp-header";

/// How much of a server's keyword an error repeats.
const KEYWORD_CHARS_SHOWN: usize = 64;

/// The type of an argument that a header mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// Text, compared exactly.
    String,
    /// An integer, compared as a number.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// One argument that a header mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeader {
    /// N of `Mcp-Param-N`, as the schema writes it.
    pub name: String,
    /// The member names that lead from the arguments to the value.
    pub path: Vec<String>,
    /// The type of the value.
    pub kind: ParamKind,
}

/// Why a tool must be dropped from a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamHeaderError {
    /// The schema is not an object.
    #[error("the input schema is not a JSON object")]
    Schema,
    /// The annotation is not a header name.
    #[error("`x-mcp-header` of `{path}` is not a header name; use letters, digits and `-`")]
    Name {
        /// The property.
        path: String,
    },
    /// Two annotations make one header.
    #[error("`x-mcp-header` `{name}` is used twice; header names ignore letter case")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A property whose type no header can mirror.
    #[error("`x-mcp-header` of `{path}` stands on a type other than string, integer or boolean")]
    Type {
        /// The property.
        path: String,
    },
    /// An annotation outside of a chain of `properties`.
    #[error("`x-mcp-header` stands under `{keyword}`; only properties reached through `properties` may carry it")]
    Place {
        /// The keyword that breaks the chain.
        keyword: String,
    },
    /// More than can be searched.
    #[error("the input schema is too large to search for `x-mcp-header`")]
    TooLarge,
}

/// Keywords whose value is data, where the annotation would be nothing but a word.
const DATA: &[&str] = &["default", "const", "enum", "examples", "required", ANNOTATION];

/// Keywords whose value is a map from names to schemas.
const SUBSCHEMA_MAP: &[&str] = &[
    "properties",
    "patternProperties",
    "dependentSchemas",
    "$defs",
    "definitions",
];

/// A schema that was found, and how it is reached. The schemas stand in one list and name their parents, because a
/// copy of the path in each would let a server fill our memory with a few long names.
struct Schema {
    span: Span,
    parent: usize,
    depth: usize,
    reached: Reached,
}

/// How a schema is reached from its parent.
#[derive(Clone, Copy)]
enum Reached {
    /// It is the root.
    Root,
    /// As the property of this name, and the parent by properties alone.
    Property(Member),
    /// Somewhere behind this keyword.
    Apart(Member),
}

/// The headers that a tool's input schema asks for.
///
/// # Errors
/// When an annotation is malformed or misplaced: the tool must be dropped.
pub fn param_headers(input_schema: &[u8]) -> Result<Vec<ParamHeader>, ParamHeaderError> {
    let src = input_schema;
    let mut found: Vec<ParamHeader> = Vec::new();
    // Nearly no schema has the annotation, and no spelling of it but an escaped one lacks these letters.
    if memchr::memmem::find(src, ANNOTATION.as_bytes()).is_none() && memchr::memchr(b'\\', src).is_none() {
        return Ok(found);
    }
    let root = value_at(src, Span::new(0, src.len())).filter(|root| root.kind == Kind::Object);
    let root = root.ok_or(ParamHeaderError::Schema)?;
    let mut schemas = vec![Schema {
        span: root.span,
        parent: 0,
        depth: 0,
        reached: Reached::Root,
    }];
    let mut next = 0;
    while let Some(schema) = schemas.get(next) {
        let Some(object) = Object::read(src, schema.span) else {
            break;
        };
        if let Some(annotation) = object.get(src, ANNOTATION) {
            let header = annotated(src, &schemas, next, &object, annotation)?;
            if found.iter().any(|other| other.name.eq_ignore_ascii_case(&header.name)) {
                return Err(ParamHeaderError::Duplicate { name: header.name });
            }
            if found.len() == PARAM_HEADERS_MAX {
                return Err(ParamHeaderError::TooLarge);
            }
            found.push(header);
        }
        open_subschemas(src, next, &object, &mut schemas)?;
        next += 1;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn annotated(
    src: &[u8],
    schemas: &[Schema],
    index: usize,
    object: &Object,
    annotation: &Value,
) -> Result<ParamHeader, ParamHeaderError> {
    let path = path(src, schemas, index)?;
    let joined = || path.join("/");
    let name = annotation
        .str(src)
        .filter(|name| is_token(name))
        .ok_or_else(|| ParamHeaderError::Name { path: joined() })?;
    let kind = match object.get(src, "type").and_then(|kind| kind.str(src)).as_deref() {
        Some("string") => ParamKind::String,
        Some("integer") => ParamKind::Integer,
        Some("boolean") => ParamKind::Boolean,
        _ => return Err(ParamHeaderError::Type { path: joined() }),
    };
    Ok(ParamHeader {
        name: name.into_owned(),
        path,
        kind,
    })
}

/// The names that lead to a schema, if nothing but properties does.
fn path(src: &[u8], schemas: &[Schema], index: usize) -> Result<Vec<String>, ParamHeaderError> {
    let mut path = Vec::new();
    let mut bytes = 0;
    let mut next = schemas.get(index);
    while let Some(schema) = next {
        match schema.reached {
            Reached::Root => break,
            Reached::Property(member) => {
                bytes += member.key.len();
                if bytes > PARAM_PATH_BYTES_MAX {
                    return Err(ParamHeaderError::TooLarge);
                }
                path.push(member.name(src).into_owned());
            }
            Reached::Apart(member) => {
                let keyword = member.name(src).chars().take(KEYWORD_CHARS_SHOWN).collect();
                return Err(ParamHeaderError::Place { keyword });
            }
        }
        next = schemas.get(schema.parent);
    }
    if path.is_empty() {
        return Err(ParamHeaderError::Place {
            keyword: "the root".to_owned(),
        });
    }
    path.reverse();
    Ok(path)
}

/// Adds the schemas one level below. What stands under a keyword that nobody knows counts as a schema too: some reader
/// may know it.
fn open_subschemas(
    src: &[u8],
    parent: usize,
    object: &Object,
    schemas: &mut Vec<Schema>,
) -> Result<(), ParamHeaderError> {
    let Some(Schema { depth, reached, .. }) = schemas.get(parent) else {
        return Ok(());
    };
    let depth = depth + 1;
    let outermost = Some(*reached).filter(|reached| matches!(reached, Reached::Apart(_)));
    let mut add = |value: &Value, reached: Reached| {
        if value.kind != Kind::Object {
            return Ok(());
        }
        if schemas.len() >= SCHEMA_NODES_MAX || depth > SCHEMA_DEPTH_MAX {
            return Err(ParamHeaderError::TooLarge);
        }
        schemas.push(Schema {
            span: value.span,
            parent,
            depth,
            reached,
        });
        Ok(())
    };
    for member in &object.members {
        let keyword = member.name(src);
        let apart = outermost.unwrap_or(Reached::Apart(*member));
        if DATA.contains(&&*keyword) {
            continue;
        } else if SUBSCHEMA_MAP.contains(&&*keyword) {
            let properties = Object::read(src, member.value.span).unwrap_or_default();
            for property in &properties.members {
                let reached = if outermost.is_none() && keyword == "properties" {
                    Reached::Property(*property)
                } else {
                    apart
                };
                add(&property.value, reached)?;
            }
        } else if member.value.kind == Kind::Array {
            elements(src, member.value.span).try_for_each(|element| add(&element, apart))?;
        } else {
            add(&member.value, apart)?;
        }
    }
    Ok(())
}

/// A token of RFC 9110 of bearable length, so that it can be part of a header name.
fn is_token(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=PARAM_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(token)
}

impl ParamHeader {
    /// The whole header name, in lower case.
    pub fn header_name(&self) -> String {
        format!("{}{}", super::PARAM_PREFIX, self.name.to_ascii_lowercase())
    }

    /// The header to send for these arguments; `None` when the value is absent, null, or nothing a header can mirror.
    pub fn value(&self, src: &[u8], arguments: Option<Span>) -> Option<String> {
        let text = mirrored(src, self.argument(src, arguments)?)?;
        Some(encode(&text).into_owned())
    }

    /// Whether a header mirrors these arguments.
    ///
    /// # Errors
    /// When it is missing, unexpected, malformed or different.
    pub fn check(&self, header: Option<&[u8]>, src: &[u8], arguments: Option<Span>) -> Result<(), HeaderError> {
        let expected = self
            .argument(src, arguments)
            .and_then(|value| Some((value, mirrored(src, value)?)));
        let (value, expected, header) = match (expected, header) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(HeaderError::Unexpected),
            (Some(_), None) => return Err(HeaderError::Missing),
            (Some((value, expected)), Some(header)) => (value, expected, header),
        };
        let given = decode(header)?;
        let same_number = || {
            value.kind == Kind::Number
                && Decimal::parse(&given)
                    .is_some_and(|given| Decimal::parse(&expected).is_some_and(|expected| given == expected))
        };
        if given == expected || same_number() {
            Ok(())
        } else {
            Err(HeaderError::Mismatch)
        }
    }

    /// The argument at the path, unless it is absent or null.
    fn argument(&self, src: &[u8], arguments: Option<Span>) -> Option<Value> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        lookup(src, arguments?, &path).filter(|value| value.kind != Kind::Null)
    }
}

/// The text that mirrors an argument. An integer that is written with a fraction or an exponent is mirrored in its
/// plain decimal form.
fn mirrored(src: &[u8], value: Value) -> Option<Cow<'_, str>> {
    match value.kind {
        Kind::String => value.str(src),
        Kind::Number => {
            let text = std::str::from_utf8(value.raw(src)).ok()?;
            Some(
                Decimal::parse(text)
                    .and_then(|number| number.integer())
                    .map_or(Cow::Borrowed(text), Cow::Owned),
            )
        }
        Kind::True => Some(Cow::Borrowed("true")),
        Kind::False => Some(Cow::Borrowed("false")),
        Kind::Object | Kind::Array | Kind::Null => None,
    }
}
