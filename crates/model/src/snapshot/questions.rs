//! Which questions a server may put to the people and programs behind a call.
//!
//! A question crosses the mesh in the direction in which nobody looks: from a server to a person who trusts the
//! application, or to the application's own model and files. So the operator says per server what may be asked, and a
//! page that somebody is to open is one of `https` on a host that reads as it is.

use std::sync::Arc;

/// The longest address of a page, in bytes.
pub const PAGE_BYTES_MAX: usize = 4096;

/// What a server may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questions {
    /// Elicitation: forms and pages.
    pub elicitation: bool,
    /// Hosts of pages that a person may be sent to; `None`: any host.
    pub hosts: Option<Vec<Arc<str>>>,
    /// Sampling: the application's model.
    pub sampling: bool,
    /// Roots: names of the application's folders.
    pub roots: bool,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            elicitation: true,
            hosts: None,
            sampling: false,
            roots: false,
        }
    }
}

impl Questions {
    /// Whether every kind of question may be asked.
    pub fn allows_every_kind(&self) -> bool {
        self.elicitation && self.pages() && self.sampling && self.roots
    }

    /// Whether there is any page that a person may be sent to.
    pub fn pages(&self) -> bool {
        self.elicitation && self.hosts.as_ref().is_none_or(|hosts| !hosts.is_empty())
    }

    /// Whether a person may be asked to open this page.
    ///
    /// # Errors
    /// Which rule speaks against it, in words.
    pub fn page(&self, url: &str) -> Result<(), &'static str> {
        if !self.elicitation {
            return Err("this server may not ask for anything");
        }
        if url.len() > PAGE_BYTES_MAX {
            return Err("its address is longer than 4096 bytes");
        }
        let host = host(url)?;
        match &self.hosts {
            // A name that is spelled in another alphabet than it is shown in is believed only where it was written down.
            None if is_encoded(host) => {
                Err("its host is an internationalized name that `questions.hosts` does not list")
            }
            None => Ok(()),
            Some(hosts) if hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host)) => Ok(()),
            Some(_) => Err("its host is not one that `questions.hosts` lists"),
        }
    }
}

/// Whether a text is a host as [`Questions::hosts`] holds one: a name of DNS in ASCII, without a port.
pub fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The host of an `https` address that reads the same to everybody: no user, no backslash, no character that a reader
/// does not see.
fn host(url: &str) -> Result<&str, &'static str> {
    const SCHEME: &str = "https://";
    if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err("its address holds white space, a backslash or characters outside of ASCII");
    }
    let (Some(scheme), Some(rest)) = (url.get(..SCHEME.len()), url.get(SCHEME.len()..)) else {
        return Err("it is not an `https` address");
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err("it is not an `https` address");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("its address holds a user name before the host");
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
    let is_port = (1..=5).contains(&port.len()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if is_port && is_host(host) {
        Ok(host)
    } else {
        Err("its host is not a name")
    }
}

fn is_encoded(host: &str) -> bool {
    host.split('.')
        .any(|label| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(hosts: &[&str]) -> Questions {
        Questions {
            hosts: Some(hosts.iter().map(|host| Arc::from(*host)).collect()),
            ..Questions::default()
        }
    }

    #[test]
    fn a154_a_page_is_one_of_https_on_a_host_that_reads_as_it_is() {
        let any = Questions::default();
        for good in [
            "https://login.example.com/authorize?state=1#top",
            "HTTPS://Example.com",
            "https://example.com:8443/a@b",
            "https://example.com?next=http://x",
        ] {
            assert_eq!(any.page(good), Ok(()), "{good}");
        }
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "http://example.com/",
            "https:/example.com",
            "//example.com",
            "https://user@example.com/",
            "https://example.com@evil.example/",
            "https://example.com:443@evil.example/",
            "https://example.com\\@evil.example/",
            "https://xn--exmple-cua.com/",
            "https://login.xn--p1ai/",
            "https://ex\u{430}mple.com/",
            "https://exam\u{200b}ple.com/",
            "https://example.com /",
            "https://example.com/\n",
            "https://",
            "https:///path",
            "https://:443/",
            "https://example..com/",
            "https://-example.com/",
            "https://example.com:0/",
            "https://example.com:65536/",
            "https://example.com:/",
            "https://[::1]/",
            "",
        ] {
            assert!(any.page(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a154_the_address_of_a_page_has_a_longest_length() {
        let of = |bytes: usize| format!("https://example.com/{}", "a".repeat(bytes - 20));
        let any = Questions::default();
        assert_eq!(any.page(&of(PAGE_BYTES_MAX - 1)), Ok(()));
        assert_eq!(any.page(&of(PAGE_BYTES_MAX)), Ok(()));
        assert!(any.page(&of(PAGE_BYTES_MAX + 1)).is_err());
        assert!(any.page(&of(64 << 10)).is_err());
    }

    #[test]
    fn where_hosts_are_listed_no_other_page_is_opened_and_an_empty_list_means_none() {
        let listed = only(&["login.example.com", "xn--exmple-cua.com"]);
        assert_eq!(listed.page("https://Login.Example.com/x"), Ok(()));
        assert_eq!(listed.page("https://xn--exmple-cua.com/"), Ok(()));
        assert!(listed.page("https://example.com/").is_err());
        assert!(listed.page("https://a.login.example.com/").is_err());
        assert!(listed.page("http://login.example.com/").is_err());
        assert!(listed.pages() && !only(&[]).pages());
        let every = Questions {
            sampling: true,
            roots: true,
            ..Questions::default()
        };
        assert!(every.allows_every_kind() && !Questions::default().allows_every_kind());
        let no_pages = Questions {
            hosts: Some(Vec::new()),
            ..every
        };
        assert!(!no_pages.allows_every_kind());
        assert!(only(&[]).page("https://example.com/").is_err());
        let silent = Questions {
            elicitation: false,
            ..Questions::default()
        };
        assert!(!silent.pages() && silent.page("https://example.com/").is_err());
    }
}
