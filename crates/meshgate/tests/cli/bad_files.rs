//! Files that must not be taken over, each with the code of what is wrong with it.

use super::away_mesh;
use super::reload::server;

/// What it is, what it says, and the code of what is wrong with it.
pub(crate) type Bad = (&'static str, String, &'static str);

pub(crate) fn corpus() -> Vec<Bad> {
    [no_documents(), wrong_fields(), wrong_values()].concat()
}

/// The good file and one document more.
fn more(text: &str) -> String {
    format!("{}---\napiVersion: meshgate.dev/v1alpha1\n{text}\n", away_mesh())
}

/// The good file and one server more.
fn spec(text: &str) -> String {
    more(&format!("kind: Server\nmetadata: {{name: x}}\nspec: {{{text}}}"))
}

fn limits(text: &str) -> String {
    away_mesh().replace("{accessLog: off}", &format!("{{accessLog: off, limits: {{{text}}}}}"))
}

/// Nothing, or nothing of ours.
fn no_documents() -> Vec<Bad> {
    let good = away_mesh();
    vec![
        ("blank", String::new(), "MG0702"),
        ("only a comment", "# nothing\n".to_owned(), "MG0702"),
        ("only document marks", "---\n---\n".to_owned(), "MG0702"),
        ("no YAML", "kind: [".to_owned(), "MG0001"),
        ("a tab", "kind:\tMesh\n\t- x".to_owned(), "MG0001"),
        ("NUL", format!("{good}\0"), "MG0001"),
        ("a list", "- a\n- b\n".to_owned(), "MG0008"),
        ("a text", "hello".to_owned(), "MG0008"),
        (
            "no version",
            "kind: Mesh\nmetadata: {name: a}\nspec: {}".to_owned(),
            "MG0009",
        ),
        ("another version", good.replace("v1alpha1", "v9"), "MG0009"),
    ]
}

/// Documents whose fields are not those of their kind.
fn wrong_fields() -> Vec<Bad> {
    let good = away_mesh();
    vec![
        ("no kind", more("metadata: {name: a}\nspec: {}"), "MG0010"),
        (
            "another kind",
            more("kind: Sever\nmetadata: {name: a}\nspec: {}"),
            "MG0010",
        ),
        ("an unknown field", spec("htpt: {url: 'http://127.0.0.1:9/'}"), "MG0003"),
        (
            "an unknown field at the top",
            more("kind: Server\nmetadata: {name: x}\nspce: {}\nspec: {stdio: {command: a}}"),
            "MG0003",
        ),
        (
            "no name",
            more("kind: Server\nmetadata: {}\nspec: {stdio: {command: a}}"),
            "MG0004",
        ),
        (
            "a field twice",
            spec("stdio: {command: a}, stdio: {command: b}"),
            "MG0006",
        ),
        ("a name twice", good.clone() + &server("ledger"), "MG0102"),
        (
            "two meshes",
            more("kind: Mesh\nmetadata: {name: b}\nspec: {}"),
            "MG0103",
        ),
        ("a number for a text", spec("stdio: {command: [1]}"), "MG0002"),
        ("a text for a number", limits("callBurst: many"), "MG0002"),
        (
            "yes for true",
            more("kind: View\nmetadata: {name: v}\nspec: {servers: [{name: ledger}], anonymous: yes}"),
            "MG0002",
        ),
        ("more than i64", limits("callBurst: 99999999999999999999"), "MG0002"),
        ("less than nothing", limits("callBurst: -1"), "MG0002"),
        ("not a number", limits("callBurst: .nan"), "MG0002"),
        (
            "a thousand times too much",
            limits("callsInFlight: 4000000000"),
            "MG0105",
        ),
        (
            "a time without a unit",
            spec("stdio: {command: a}, deadline: 5"),
            "MG0002",
        ),
        (
            "a time of years",
            spec("stdio: {command: a}, deadline: 90000h"),
            "MG0105",
        ),
    ]
}

/// Documents that mean nothing, or too much, or nothing good for a gateway that runs.
fn wrong_values() -> Vec<Bad> {
    let good = away_mesh();
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    vec![
        ("an unknown value", spec("stdio: {command: a}, era: ancient"), "MG0005"),
        ("no way to reach it", spec("deadline: 5s"), "MG0303"),
        (
            "two ways to reach it",
            spec("stdio: {command: a}, http: {url: 'http://127.0.0.1:9/'}"),
            "MG0303",
        ),
        (
            "a URL of another kind",
            spec("http: {url: 'file:///etc/passwd'}"),
            "MG0309",
        ),
        (
            "a URL with a password",
            spec("http: {url: 'http://a:b@127.0.0.1:9/'}"),
            "MG0309",
        ),
        (
            "a name with a slash",
            more("kind: Server\nmetadata: {name: a/b}\nspec: {stdio: {command: a}}"),
            "MG0101",
        ),
        (
            "a server that is not there",
            more("kind: View\nmetadata: {name: v}\nspec: {servers: [{name: nobody}]}"),
            "MG0403",
        ),
        (
            "a view that is not there",
            more("kind: Application\nmetadata: {name: a}\nspec: {tokens: [{environment: T}], views: [nobody]}"),
            "MG0208",
        ),
        (
            "a path twice",
            more(
                "kind: View\nmetadata: {name: v}\nspec: {path: /mcp, servers: [{name: ledger}]}\n---\napiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata: {name: w}\nspec: {path: /mcp, servers: [{name: ledger}]}",
            ),
            "MG0402",
        ),
        (
            "an open listener",
            good.replace("127.0.0.1:0", "0.0.0.0:7300"),
            "MG0202",
        ),
        (
            "no listener",
            good.replace("- address: 127.0.0.1:0", "[]")
                .replace("listeners:\n    []", "listeners: []"),
            "MG0201",
        ),
        (
            "a token that nobody set",
            more(
                "kind: Application\nmetadata: {name: a}\nspec: {tokens: [{environment: NOT_SET_ANYWHERE}], views: ['*']}",
            ),
            "MG0705",
        ),
        (
            "a value that is not there",
            spec("http: {url: 'http://127.0.0.1:9/', headers: {X-Key: {fromFile: nowhere}}}"),
            "MG0704",
        ),
        (
            "locked out",
            more("kind: Application\nmetadata: {name: a}\nspec: {tokens: [], views: []}"),
            "MG0706",
        ),
        ("an alias bomb", format!("{bomb}{good}"), "MG0003"),
        (
            "an alias bomb in a field",
            spec(&format!("stdio: {{command: a, args: [{}]}}", "&a [x], *a, ".repeat(3))),
            "MG0002",
        ),
        (
            "too deep",
            more(&format!(
                "kind: Server\nmetadata: {{name: x}}\nspec: {}{}",
                "[".repeat(100),
                "]".repeat(100)
            )),
            "MG0007",
        ),
        ("too large", format!("{good}# {}\n", "x".repeat(5 << 20)), "MG0007"),
        ("no UTF-8", "\u{1}".to_owned(), "MG0001"),
    ]
}
