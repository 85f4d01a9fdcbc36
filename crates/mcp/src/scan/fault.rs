//! Why a message was refused: the rule, the place and the remedy.

use std::fmt;

use crate::codes;

/// A refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanError {
    fault: Fault,
    at: usize,
}

/// The rule that a message breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No byte but white space.
    #[error("the message is empty; send one JSON-RPC message")]
    Empty,
    /// A byte order mark.
    #[error("the message starts with a byte order mark; send plain UTF-8")]
    Bom,
    /// The bytes end inside of a value.
    #[error("the message ends in the middle of a value; send it whole")]
    End,
    /// Something else than what must stand here.
    #[error("expected {expected}; send valid JSON")]
    Syntax {
        /// What must stand here.
        expected: &'static str,
    },
    /// Bytes behind the message.
    #[error("bytes follow the message; send exactly one message")]
    Trailing,
    /// Bytes that are not UTF-8.
    #[error("a string is not valid UTF-8; encode the message as UTF-8")]
    Utf8,
    /// A surrogate escape without its other half.
    #[error("a string holds a lone surrogate escape; send whole characters")]
    Surrogate,
    /// An escape that JSON does not know.
    #[error("a string holds an escape that JSON does not know; use the escapes of RFC 8259")]
    Escape,
    /// A control character that is not escaped.
    #[error("a string holds a raw control character; escape it")]
    Control,
    /// A number that is not one.
    #[error("a number is malformed; use the number format of RFC 8259")]
    Number,
    /// More bytes than allowed.
    #[error("the message is larger than {max} bytes; send less")]
    Size {
        /// The limit.
        max: usize,
    },
    /// Nested too deeply.
    #[error("the message nests deeper than {max} levels; flatten it")]
    Depth {
        /// The limit.
        max: usize,
    },
    /// Too many values.
    #[error("the message holds more than {max} values; send less")]
    Nodes {
        /// The limit.
        max: usize,
    },
    /// Too many members at one of the recorded levels.
    #[error("an object of the envelope has more than {max} members; send less")]
    Members {
        /// The limit.
        max: usize,
    },
    /// A number with too many characters.
    #[error("a number is longer than {max} characters; send it as a string")]
    NumberLength {
        /// The limit.
        max: usize,
    },
    /// A member that an object has twice.
    #[error("an object repeats a member; send each member once")]
    Duplicate,
    /// A member that differs from a protocol member only in case.
    #[error("a member differs from `{name}` only in letter case; write `{name}`")]
    CaseVariant {
        /// The protocol member.
        name: &'static str,
    },
    /// U+0000 where names and addresses stand.
    #[error("a name, address or method holds the character U+0000; remove it")]
    Nul,
    /// An array of messages.
    #[error("the body is an array; send one message per request, batches ended with revision 2025-03-26")]
    Batch,
    /// No array where a batch was expected.
    #[error("the body is not an array of messages")]
    NotArray,
    /// A batch of none or of too many.
    #[error("a batch holds from 1 to {max} messages")]
    BatchLength {
        /// The limit.
        max: usize,
    },
    /// JSON, but no object.
    #[error("the message is not an object; send a JSON-RPC 2.0 message")]
    NotObject,
    /// `jsonrpc` is not "2.0".
    #[error("`jsonrpc` is not \"2.0\"; send `\"jsonrpc\":\"2.0\"`")]
    Version,
    /// `id` is of a form that MCP does not have.
    #[error("`id` must be an integer up to 2^53 or a string of 1 to 256 characters")]
    Id,
    /// A request without `id`.
    #[error("`id` is missing; this method is a request and needs one")]
    IdMissing,
    /// `method` is not a string, or empty.
    #[error("`method` must be a string that is not empty")]
    Method,
    /// `params` is not an object.
    #[error("`params` must be an object; send members by name")]
    Params,
    /// `result` is not an object, or `error` has no integer `code` and string `message`.
    #[error("`result` must be an object, `error` an object with an integer `code` and a string `message`")]
    Response,
    /// Neither request nor notification nor response, or two of them at once.
    #[error("the message must hold exactly one of `method`, `result` and `error`")]
    Shape,
}

impl Fault {
    pub(crate) fn at(self, at: usize) -> ScanError {
        ScanError { fault: self, at }
    }

    /// The JSON-RPC code that answers it.
    pub fn code(self) -> i64 {
        match self {
            Self::Empty
            | Self::Bom
            | Self::End
            | Self::Syntax { .. }
            | Self::Trailing
            | Self::Utf8
            | Self::Surrogate
            | Self::Escape
            | Self::Control
            | Self::Number => codes::PARSE_ERROR,
            _ => codes::INVALID_REQUEST,
        }
    }
}

impl ScanError {
    /// The JSON-RPC code that answers it: not JSON, or not one well-formed message.
    pub fn code(&self) -> i64 {
        self.fault.code()
    }

    /// Where in the bytes the rule was broken.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The rule.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.fault, self.at)
    }
}

impl std::error::Error for ScanError {}
