//! An address to fetch from, as an operator types it: `https://host[:port][/path]` and nothing else.

use http::Uri;
use rustls::pki_types::ServerName;

use super::Refused;

/// Ports that speak something else than HTTP, below and above the well-known ones.
const PORTS_REFUSED: [u16; 30] = [
    22, 23, 25, 53, 110, 111, 119, 135, 139, 143, 389, 445, 465, 514, 587, 636, 993, 995, 1433, 1521, 2049, 2375, 2379,
    3306, 3389, 5432, 6379, 9200, 11211, 27017,
];

/// Where to fetch from.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    host: String,
    port: u16,
    authority: String,
    base: String,
    name: ServerName<'static>,
}

impl Target {
    /// Reads an address. What it refuses, it refuses before any name is looked up.
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        let uri: Uri = text.parse().map_err(|_| "it is not an address".to_owned())?;
        if uri.scheme_str() != Some("https") {
            return Err("it is not an address that begins with `https://`".to_owned());
        }
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name or password".to_owned());
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("it holds a query or fragment; give the address without".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 443,
            Some(rest) => rest
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .filter(|port| *port > 0)
                .ok_or("its port is not a number up to 65535")?,
            None => return Err("its host is malformed".to_owned()),
        };
        if PORTS_REFUSED.contains(&port) {
            return Err(format!("port {port} is not one of a web server"));
        }
        refuse_disguise(host)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "its host is neither a name nor an address")?;
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            base: uri.path().trim_end_matches('/').to_owned(),
            name,
        })
    }

    /// The name or address, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn server_name(&self) -> &ServerName<'static> {
        &self.name
    }

    pub(super) fn path(&self, below: &str) -> String {
        format!("{}{below}", self.base)
    }
}

/// Refuses names that some resolvers read as addresses, and names of this machine.
fn refuse_disguise(host: &str) -> Result<(), Refused> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if name.is_empty() || is_number {
        return Err(format!("`{host}` is neither a name nor an address"));
    }
    if last == "localhost" || host.ends_with('.') {
        return Err(format!("`{host}` is not a name of the public network"));
    }
    Ok(())
}
