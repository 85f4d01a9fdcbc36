//! Fills in the texts of a target's description.
//!
//! The words between @ are filled in. What stands between a line `@each server@` and a line `@end@` is written once for
//! each server, with `@n@` its number, `@server@` its port, `@legacy@` the port of the same server of an older revision,
//! and `@reach@` how it is reached. An unknown word is refused, because a target that starts
//! with a wrong address measures nothing.

use std::collections::BTreeMap;

use crate::Failure;

const EACH: &str = "@each server@";
const END: &str = "@end@";

/// What the words stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    pub(crate) words: BTreeMap<&'static str, String>,
    pub(crate) servers: Vec<u16>,
    pub(crate) legacy: Vec<u16>,
    /// How the last server is reached instead, where it is one that misbehaves.
    pub(crate) neighbour: Option<String>,
}

impl Words {
    /// The text with every word filled in.
    pub(crate) fn fill(&self, text: &str) -> Result<String, Failure> {
        let mut filled = String::new();
        let mut block: Option<Vec<&str>> = None;
        for line in text.split_inclusive('\n') {
            match (line.trim(), block.as_mut()) {
                (EACH, None) => block = Some(Vec::new()),
                (END, Some(lines)) => {
                    let lines = lines.concat();
                    block = None;
                    filled.push_str(&self.repeat(&lines)?);
                }
                (_, Some(lines)) => lines.push(line),
                (_, None) => filled.push_str(&replace(line, &|word| self.words.get(word).cloned())?),
            }
        }
        match block {
            Some(_) => Err(format!("`{EACH}` without `{END}`")),
            None => Ok(filled),
        }
    }

    fn repeat(&self, lines: &str) -> Result<String, Failure> {
        let each = self.servers.iter().enumerate().map(|(n, port)| {
            replace(lines, &|word| match word {
                "n" => Some(n.to_string()),
                "server" => Some(port.to_string()),
                "legacy" => self.legacy.get(n).map(u16::to_string),
                "reach" => Some(self.reach(n, *port)),
                word => self.words.get(word).cloned(),
            })
        });
        each.collect()
    }
}

impl Words {
    fn reach(&self, n: usize, port: u16) -> String {
        let neighbour = self.neighbour.as_ref().filter(|_| n + 1 == self.servers.len());
        neighbour.cloned().unwrap_or_else(|| http_reach(port))
    }
}

/// A server of this machine.
pub(crate) fn http_reach(port: u16) -> String {
    format!("{{http: {{url: \"http://127.0.0.1:{port}/mcp\"}}}}")
}

fn replace(text: &str, word: &dyn Fn(&str) -> Option<String>) -> Result<String, Failure> {
    let mut pieces = text.split('@');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    while let Some(name) = pieces.next() {
        let Some(rest) = pieces.next() else {
            // A single @ is itself; protobuf names its types with one.
            filled.push('@');
            filled.push_str(name);
            break;
        };
        filled.push_str(&word(name).ok_or_else(|| format!("`@{name}@` stands for nothing here"))?);
        filled.push_str(rest);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::Words;

    fn words() -> Words {
        Words {
            words: [("port", "80".to_owned())].into(),
            servers: vec![1, 2],
            ..Words::default()
        }
    }

    #[test]
    fn words_are_filled_in_and_blocks_repeated() {
        let text = "listen @port@\n@each server@\ns@n@ = @server@ of @port@\n@end@\nend\n";
        assert_eq!(
            words().fill(text).unwrap(),
            "listen 80\ns0 = 1 of 80\ns1 = 2 of 80\nend\n"
        );
    }

    #[test]
    fn an_unknown_word_is_refused_and_a_single_at_is_text() {
        assert!(words().fill("@nothing@").is_err());
        assert!(words().fill("@each server@\n").is_err());
        assert_eq!(words().fill("\"@type\": x\n").unwrap(), "\"@type\": x\n");
    }
}
