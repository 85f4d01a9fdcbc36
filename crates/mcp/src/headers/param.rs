//! `Mcp-Param-*`: arguments that a tool's schema asks to have repeated in headers.
//!
//! A schema marks a property with `x-mcp-header`. The specification is narrow about where the mark may stand, so that
//! every reader finds the same value: on a property of type string, integer or boolean that is reached from the root
//! through `properties` alone. A tool that breaks this must not be offered at all.

use std::borrow::Cow;

use super::{HeaderError, decode, encode};
use crate::limits::{PARAM_HEADERS_MAX, SCHEMA_NODES_MAX};
use crate::read::{elements, lookup, value_at};
use crate::value::{Kind, Member, Object, Span, Value};

/// The annotation in a schema.
const ANNOTATION: &str = "x-mcp-header";

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

/// A schema that is still to be searched.
struct Open {
    span: Span,
    /// The names from the root, while the chain of `properties` is whole.
    path: Vec<String>,
    /// The keyword that broke the chain.
    broken: Option<String>,
}

/// The headers that a tool's input schema asks for.
///
/// # Errors
/// When an annotation is malformed or misplaced: the tool must be dropped.
pub fn param_headers(input_schema: &[u8]) -> Result<Vec<ParamHeader>, ParamHeaderError> {
    let mut found: Vec<ParamHeader> = Vec::new();
    // Nearly no schema has the annotation, and no spelling of it but an escaped one lacks these letters.
    if memchr::memmem::find(input_schema, b"x-mcp-header").is_none() && memchr::memchr(b'\\', input_schema).is_none() {
        return Ok(found);
    }
    let whole = Span::new(0, input_schema.len());
    let root = value_at(input_schema, whole).filter(|root| root.kind == Kind::Object);
    let root = root.ok_or(ParamHeaderError::Schema)?;
    let mut open = vec![Open {
        span: root.span,
        path: Vec::new(),
        broken: None,
    }];
    let mut seen = 0;
    while let Some(schema) = open.pop() {
        seen += 1;
        if seen + open.len() > SCHEMA_NODES_MAX {
            return Err(ParamHeaderError::TooLarge);
        }
        let Some(object) = Object::read(input_schema, schema.span) else {
            continue;
        };
        if let Some(annotation) = object.get(input_schema, ANNOTATION) {
            let header = annotated(input_schema, &schema, &object, annotation)?;
            if found.iter().any(|other| other.name.eq_ignore_ascii_case(&header.name)) {
                return Err(ParamHeaderError::Duplicate { name: header.name });
            }
            if found.len() == PARAM_HEADERS_MAX {
                return Err(ParamHeaderError::TooLarge);
            }
            found.push(header);
        }
        open_subschemas(input_schema, &schema, &object, &mut open);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn annotated(src: &[u8], schema: &Open, object: &Object, annotation: &Value) -> Result<ParamHeader, ParamHeaderError> {
    if let Some(keyword) = &schema.broken {
        return Err(ParamHeaderError::Place {
            keyword: keyword.to_owned(),
        });
    }
    if schema.path.is_empty() {
        return Err(ParamHeaderError::Place {
            keyword: "the root".to_owned(),
        });
    }
    let path = || schema.path.join("/");
    let name = annotation
        .str(src)
        .filter(|name| is_token(name))
        .ok_or_else(|| ParamHeaderError::Name { path: path() })?;
    let kind = match object.get(src, "type").and_then(|kind| kind.str(src)).as_deref() {
        Some("string") => ParamKind::String,
        Some("integer") => ParamKind::Integer,
        Some("boolean") => ParamKind::Boolean,
        _ => return Err(ParamHeaderError::Type { path: path() }),
    };
    Ok(ParamHeader {
        name: name.into_owned(),
        path: schema.path.clone(),
        kind,
    })
}

/// Adds the schemas one level below. What stands under a keyword that nobody knows counts as a schema too: some reader
/// may know it.
fn open_subschemas(src: &[u8], schema: &Open, object: &Object, open: &mut Vec<Open>) {
    for member in &object.members {
        let keyword = member.name(src);
        let broken = || schema.broken.clone().or_else(|| Some(keyword.clone().into_owned()));
        let apart = |value: Value| Open {
            span: value.span,
            path: Vec::new(),
            broken: broken(),
        };
        let is_object = |value: &Value| value.kind == Kind::Object;
        if DATA.contains(&&*keyword) {
            continue;
        } else if SUBSCHEMA_MAP.contains(&&*keyword) {
            let Some(map) = Object::read(src, member.value.span) else {
                continue;
            };
            let chain = keyword == "properties" && schema.broken.is_none();
            for property in map.members.iter().filter(|property| is_object(&property.value)) {
                open.push(if chain {
                    below(src, schema, property)
                } else {
                    apart(property.value)
                });
            }
        } else if member.value.kind == Kind::Array {
            open.extend(elements(src, member.value.span).filter(is_object).map(apart));
        } else if is_object(&member.value) {
            open.push(apart(member.value));
        }
    }
}

/// A property in the chain of `properties`.
fn below(src: &[u8], schema: &Open, property: &Member) -> Open {
    let mut path = schema.path.clone();
    path.push(property.name(src).into_owned());
    Open {
        span: property.value.span,
        path,
        broken: None,
    }
}

/// A token of RFC 9110, so that it can be part of a header name.
fn is_token(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
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

/// Longest integer that is written out for a header: beyond it the number is mirrored as it stands.
const INTEGER_DIGITS_MAX: i64 = 40;

/// A decimal number in lowest terms: digits without zeros at either end, times a power of ten. Numbers are compared
/// as text, because two large integers can be one and the same `f64`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a number in the grammar of JSON.
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let significant = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - significant.len()).ok()?;
        let fraction = i64::try_from(fraction.len()).ok()?;
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        let exponent = exponent.checked_sub(fraction)?.checked_add(dropped)?;
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }

    /// The plain form of an integer; `None` for fractions and for what would be very long.
    fn integer(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        if !(0..=INTEGER_DIGITS_MAX).contains(&self.exponent) {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        let zeros = "0".repeat(usize::try_from(self.exponent).ok()?);
        Some(format!("{sign}{}{zeros}", self.digits))
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}
