//! The tracker's database: projects, and who works on them in which role.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use crate::company::{self, Person, Project};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS projects (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    status TEXT NOT NULL,
    start TEXT NOT NULL,
    goal TEXT NOT NULL,
    budget TEXT NOT NULL,
    site TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS members (
    project TEXT NOT NULL COLLATE NOCASE REFERENCES projects (name),
    person TEXT NOT NULL,
    title TEXT NOT NULL,
    mail TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (project, person)
);";
/// The role of the one who leads; the others' roles are free text.
pub const LEAD: &str = "lead";

/// A project in the tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `Titan`.
    pub name: String,
    /// `active`, `paused` or `closed`.
    pub status: String,
    /// The day it started, as `2025-09-01`.
    pub start: String,
    /// What it is for.
    pub goal: String,
    /// The approved money.
    pub budget: String,
    /// Where it starts.
    pub site: String,
}

/// Somebody who works on a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name.
    pub person: String,
    /// The title on the door.
    pub title: String,
    /// The mail address.
    pub mail: String,
    /// What the person does in the project.
    pub role: String,
}

/// An open tracker.
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
        let filling = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        filling.execute_batch(SCHEMA)?;
        let empty: bool = filling.query_row("SELECT NOT EXISTS (SELECT 1 FROM projects)", [], |row| row.get(0))?;
        if empty {
            company::projects().try_for_each(|project| fill(&filling, &project))?;
        }
        filling.commit()?;
        Ok(Self(connection))
    }

    /// One project. `Titan`, `titan` and `Project Titan` are the same.
    pub fn find(&self, name: &str) -> rusqlite::Result<Option<Entry>> {
        let mut statement = self
            .0
            .prepare_cached("SELECT name, status, start, goal, budget, site FROM projects WHERE name = ?1")?;
        statement.query_row([plain(name)], entry).optional()
    }

    /// All projects, or those with a status, by name.
    pub fn list(&self, status: Option<&str>) -> rusqlite::Result<Vec<Entry>> {
        let mut statement = self.0.prepare_cached(
            "SELECT name, status, start, goal, budget, site FROM projects WHERE ?1 IS NULL OR status = ?1 ORDER BY name",
        )?;
        statement.query_map([status], entry)?.collect()
    }

    /// Who works on a project, the lead first.
    pub fn members(&self, name: &str) -> rusqlite::Result<Vec<Member>> {
        let mut statement = self.0.prepare_cached(
            "SELECT person, title, mail, role FROM members WHERE project = ?1 ORDER BY role <> ?2, person",
        )?;
        statement.query_map([plain(name), LEAD], member)?.collect()
    }
}

/// The name without the word that people put before it.
fn plain(name: &str) -> &str {
    let name = name.trim();
    match name.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("project") => rest.trim(),
        _ => name,
    }
}

fn fill(filling: &Transaction<'_>, project: &Project) -> rusqlite::Result<()> {
    let goal = format!(
        "{} for {}: {} goes from {} to {}",
        project.product, project.customer, project.measure, project.from, project.to
    );
    filling.execute(
        "INSERT INTO projects (name, status, start, goal, budget, site) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            project.name,
            project.status,
            project.start,
            goal,
            project.budget,
            project.site
        ],
    )?;
    let team = project.team();
    let roles = ["technology", "users", "coordination"];
    let works = std::iter::once((project.lead, LEAD)).chain(team.into_iter().zip(roles));
    works
        .into_iter()
        .try_for_each(|(person, role)| join(filling, project, person, role))
}

fn join(filling: &Transaction<'_>, project: &Project, person: Person, role: &str) -> rusqlite::Result<()> {
    filling
        .execute(
            "INSERT INTO members (project, person, title, mail, role) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![project.name, person.name, person.title, person.mail(), role],
        )
        .map(drop)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        name: row.get(0)?,
        status: row.get(1)?,
        start: row.get(2)?,
        goal: row.get(3)?,
        budget: row.get(4)?,
        site: row.get(5)?,
    })
}

fn member(row: &Row<'_>) -> rusqlite::Result<Member> {
    Ok(Member {
        person: row.get(0)?,
        title: row.get(1)?,
        mail: row.get(2)?,
        role: row.get(3)?,
    })
}
