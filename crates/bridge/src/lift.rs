//! A legacy server behind a modern face.
