//! The invented company: its projects and its people.
//!
//! Both servers fill their databases from here, so that a document and the project tracker name the same people. The
//! facts are text files in `data/`, one line each, because they are content and not code.

const PROJECTS: &str = include_str!("../data/projects.txt");
const PEOPLE: &str = include_str!("../data/people.txt");
/// How many people besides the lead work on a project.
const TEAM: usize = 3;
/// A step through the list of people that has no divisor in common with its length, so teams differ.
const STRIDE: usize = 7;

/// A project as everybody in the company knows it.
#[derive(Clone, Copy, Debug)]
pub struct Project {
    /// `Titan`; people say "Project Titan".
    pub name: &'static str,
    /// `active`, `paused` or `closed`.
    pub status: &'static str,
    /// The day it started, as `2025-09-01`.
    pub start: &'static str,
    /// Who leads it.
    pub lead: Person,
    /// The approved money, in words.
    pub budget: &'static str,
    /// What it builds.
    pub product: &'static str,
    /// Who uses what it builds, in the plural.
    pub customer: &'static str,
    /// The one figure it wants to change.
    pub measure: &'static str,
    /// That figure today.
    pub from: &'static str,
    /// That figure as it should be.
    pub to: &'static str,
    /// What it does first, as in "we …".
    pub step1: &'static str,
    /// What it does then.
    pub step2: &'static str,
    /// What may go wrong, as in "the risk is that …".
    pub risk: &'static str,
    /// The company that helps.
    pub partner: &'static str,
    /// Where the first users sit.
    pub site: &'static str,
    /// Its place in the list.
    number: usize,
}

/// Somebody who works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: &'static str,
    /// The title on the door.
    pub title: &'static str,
}

impl Person {
    /// The mail address: the name in plain letters, under a domain that nobody owns.
    pub fn mail(&self) -> String {
        let plain = self.name.to_lowercase().chars().filter_map(plain).collect::<String>();
        format!("{plain}@example.com")
    }
}

impl Project {
    /// The people who work on it besides its lead.
    pub fn team(&self) -> Vec<Person> {
        let people: Vec<Person> = people().collect();
        (0..TEAM)
            .filter_map(|i| people.get((self.number * TEAM + i * STRIDE) % people.len().max(1)))
            .copied()
            .collect()
    }
}

/// All projects, in the order of the file.
pub fn projects() -> impl Iterator<Item = Project> {
    rows(PROJECTS)
        .enumerate()
        .filter_map(|(number, row)| project(number, &row))
}

/// Everybody who is not the lead of a project.
pub fn people() -> impl Iterator<Item = Person> {
    rows(PEOPLE).filter_map(|row| match row.as_slice() {
        [name, title] => Some(Person { name, title }),
        _ => None,
    })
}

fn project(number: usize, row: &[&'static str]) -> Option<Project> {
    let &[
        name,
        status,
        start,
        lead,
        title,
        budget,
        product,
        customer,
        measure,
        from,
        to,
        step1,
        step2,
        risk,
        partner,
        site,
    ] = row
    else {
        return None;
    };
    let lead = Person { name: lead, title };
    Some(Project {
        name,
        status,
        start,
        lead,
        budget,
        product,
        customer,
        measure,
        from,
        to,
        step1,
        step2,
        risk,
        partner,
        site,
        number,
    })
}

/// The lines of a file that are not comments, split at their bars.
fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split('|').map(str::trim).collect())
}

/// A letter as mail addresses have it.
fn plain(c: char) -> Option<char> {
    Some(match c {
        'á' | 'à' | 'å' | 'ä' => 'a',
        'é' | 'è' => 'e',
        'í' => 'i',
        'ö' | 'ó' | 'ø' => 'o',
        'ü' | 'ú' => 'u',
        'ń' => 'n',
        ' ' => '.',
        c if c.is_ascii_alphanumeric() || c == '-' => c,
        _ => return None,
    })
}
