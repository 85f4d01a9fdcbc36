//! What crosses from one revision to another, what loses something on the way, and what cannot cross.
//!
//! A gateway that makes eras invisible must be honest about the places where it cannot. They are listed here once, as
//! data: the code takes the codes and words of its refusals from [`cannot`], the reference page `eras.md` is printed from
//! the same rows, and the matrix of all pairs of revisions takes from [`carriage`] what it has to see. So a refusal that
//! is not listed, and a row that no longer holds, both show as a failure.
//!
//! Rows speak of what a revision *has* ([`meshgate_mcp::Revision`]) and never of which one it is; the next revision needs
//! no new row unless it takes something away.

pub mod cannot;
mod page;
mod table;
#[cfg(test)]
mod tests;

use meshgate_mcp::Revision;

pub use cannot::Cannot;
pub use page::markdown;
pub use table::ROWS;

/// What a client and a server do with each other, as far as eras treat it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// `tools/list`, `tools/call`.
    Tools,
    /// `resources/list`, `resources/read`.
    Resources,
    /// `resources/templates/list`, and reading what a template names.
    Templates,
    /// `prompts/list`, `prompts/get`.
    Prompts,
    /// `completion/complete`.
    Completion,
    /// A question with a form, in the middle of a call.
    ElicitationForm,
    /// A question that sends the user to a page.
    ElicitationUrl,
    /// A question to the client's model.
    Sampling,
    /// A question for the client's folders.
    Roots,
    /// `notifications/progress` of a call.
    Progress,
    /// Log messages of a call.
    Logging,
    /// A client that no longer wants its answer.
    Cancel,
    /// `notifications/*/list_changed`.
    ListChanged,
    /// `notifications/resources/updated`.
    ResourceUpdates,
    /// Lists in pages.
    Pagination,
}

impl Feature {
    /// Every feature, in the order of the matrix.
    pub const ALL: [Self; 15] = [
        Self::Tools,
        Self::Resources,
        Self::Templates,
        Self::Prompts,
        Self::Completion,
        Self::ElicitationForm,
        Self::ElicitationUrl,
        Self::Sampling,
        Self::Roots,
        Self::Progress,
        Self::Logging,
        Self::Cancel,
        Self::ListChanged,
        Self::ResourceUpdates,
        Self::Pagination,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "templates",
            Self::Prompts => "prompts",
            Self::Completion => "completion",
            Self::ElicitationForm => "elicitation form",
            Self::ElicitationUrl => "elicitation url",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
            Self::Progress => "progress",
            Self::Logging => "logging",
            Self::Cancel => "cancel",
            Self::ListChanged => "list_changed",
            Self::ResourceUpdates => "resource updates",
            Self::Pagination => "pagination",
        }
    }
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A child process and its pipes.
    Stdio,
    /// HTTP.
    Http,
}

impl Link {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "HTTP",
        }
    }
}

/// Some of the revisions, by what they have.
#[derive(Clone, Copy, Debug)]
pub struct Which {
    /// Whether a revision is one of them.
    pub has: fn(&Revision) -> bool,
}

impl Which {
    /// The names of these revisions, as a person would write them: `any`, one name, or the first and the last.
    pub fn words(&self) -> String {
        let all = &meshgate_mcp::REVISIONS;
        let names: Vec<&str> = all.iter().filter(|one| (self.has)(one)).map(|one| one.name).collect();
        match names.as_slice() {
            [] => "none".to_owned(),
            names if names.len() == all.len() => "any".to_owned(),
            [one] => (*one).to_owned(),
            [first, .., last] => format!("{first} … {last}"),
        }
    }
}

/// What becomes of a feature between two peers.
#[derive(Clone, Copy, Debug)]
pub enum Carriage {
    /// It arrives as it was meant.
    Carried,
    /// It arrives, and this is missing.
    WithLoss(&'static str),
    /// It cannot arrive; whoever began is told so.
    Refused(&'static Cannot),
}

/// One row of the table: the first that fits a pair decides.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is carried.
    pub feature: Feature,
    /// Clients of these revisions.
    pub client: Which,
    /// Servers of these revisions.
    pub server: Which,
    /// Servers that are reached so; any way when there is none.
    pub link: Option<Link>,
    /// What becomes of it.
    pub carriage: Carriage,
}

/// What becomes of `feature` between a client and a server of these revisions. A pair that no row names is carried.
pub fn carriage(feature: Feature, client: &Revision, server: &Revision, link: Link) -> Carriage {
    let fits = |row: &&Row| {
        row.feature == feature
            && (row.client.has)(client)
            && (row.server.has)(server)
            && row.link.is_none_or(|only| only == link)
    };
    ROWS.iter().find(fits).map_or(Carriage::Carried, |row| row.carriage)
}
