//! The repository's database: documents, and a full-text index that follows every change by itself.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use super::seed;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    kind TEXT NOT NULL,
    author TEXT NOT NULL,
    date TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5
    (title, body, content='documents', content_rowid='number', tokenize='porter unicode61 remove_diacritics 2');
CREATE TRIGGER IF NOT EXISTS document_added AFTER INSERT ON documents BEGIN
    INSERT INTO texts (rowid, title, body) VALUES (new.number, new.title, new.body);
END;
CREATE TRIGGER IF NOT EXISTS document_removed AFTER DELETE ON documents BEGIN
    INSERT INTO texts (texts, rowid, title, body) VALUES ('delete', old.number, old.title, old.body);
END;
CREATE TRIGGER IF NOT EXISTS document_changed AFTER UPDATE ON documents BEGIN
    INSERT INTO texts (texts, rowid, title, body) VALUES ('delete', old.number, old.title, old.body);
    INSERT INTO texts (rowid, title, body) VALUES (new.number, new.title, new.body);
END;
";
/// A word in a title says more about a document than a word in its text.
const SEARCH: &str = "
SELECT documents.id, documents.title, documents.kind, documents.author, documents.date,
       snippet(texts, 1, '', '', ' … ', 24)
FROM texts JOIN documents ON documents.number = texts.rowid
WHERE texts MATCH ?1 ORDER BY bm25(texts, 8.0, 1.0), documents.id LIMIT ?2";
/// Words of a query that are looked at.
const QUERY_WORDS_MAX: usize = 32;

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `titan-q1-strategy`.
    pub id: String,
    /// The title.
    pub title: String,
    /// `strategy`, `plan`, `review`, `notes`, `risks`, `decision` or `policy`.
    pub kind: String,
    /// Who wrote it.
    pub author: String,
    /// When, as `2026-01-08`.
    pub date: String,
    /// The text; headings start with `# `.
    pub body: String,
}

/// An open repository.
#[derive(Debug)]
pub struct Store(Connection);

impl Store {
    /// Opens the database; one that is missing or empty is made and filled.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Self::prepared(Connection::open(path)?)
    }

    /// A filled database that goes with the process.
    pub fn in_memory() -> rusqlite::Result<Self> {
        Self::prepared(Connection::open_in_memory()?)
    }

    fn prepared(mut connection: Connection) -> rusqlite::Result<Self> {
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        // Two servers may open a new database at once: one fills it, the other waits and finds it filled.
        let filling = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        filling.execute_batch(SCHEMA)?;
        let empty: bool = filling.query_row("SELECT NOT EXISTS (SELECT 1 FROM documents)", [], |row| row.get(0))?;
        if empty {
            let mut insert = filling.prepare(
                "INSERT INTO documents (id, title, kind, author, date, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for d in seed::documents() {
                insert.execute(params![d.id, d.title, d.kind, d.author, d.date, d.body])?;
            }
        }
        filling.commit()?;
        Ok(Self(connection))
    }

    /// The documents that fit the query best, each with an excerpt in the place of its text. All words of the query count,
    /// none is required.
    pub fn search(&self, query: &str, limit: u32) -> rusqlite::Result<Vec<Document>> {
        let Some(expression) = expression(query) else {
            return Ok(Vec::new());
        };
        let mut statement = self.0.prepare_cached(SEARCH)?;
        statement.query_map(params![expression, limit], document)?.collect()
    }

    /// One document.
    pub fn read(&self, id: &str) -> rusqlite::Result<Option<Document>> {
        let mut statement = self
            .0
            .prepare_cached("SELECT id, title, kind, author, date, body FROM documents WHERE id = ?1")?;
        statement.query_row([id], document).optional()
    }

    /// Up to `limit` documents after the id `after`, in the order of their ids.
    pub fn list(&self, after: &str, limit: u32) -> rusqlite::Result<Vec<Document>> {
        let mut statement = self.0.prepare_cached(
            "SELECT id, title, kind, author, date, body FROM documents WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        statement.query_map(params![after, limit], document)?.collect()
    }
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        id: row.get(0)?,
        title: row.get(1)?,
        kind: row.get(2)?,
        author: row.get(3)?,
        date: row.get(4)?,
        body: row.get(5)?,
    })
}

/// The query in the language of the index: each word in quotes, so that none is taken for an operator.
fn expression(query: &str) -> Option<String> {
    let words: Vec<String> = query
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(QUERY_WORDS_MAX)
        .map(|word| format!("\"{word}\""))
        .collect();
    (!words.is_empty()).then(|| words.join(" OR "))
}
