//! How a proxy becomes a member of a mesh, and stays one: what it keeps between starts.

mod directory;
mod tokens;

pub use self::directory::{ADMIN_SOCKET, Directory, DirectoryError, TOKEN, read_token, state_folder};
pub use self::tokens::{TOKEN_CHARS_MIN, TokenError, register as register_tokens};
