//! Asking a control plane: where it is, with which token, and what its answers mean for the person who typed.
//!
//! The operator token opens everything, so it is sent only where it stays a secret ([`place`]). Where neither address nor token
//! is given, the state directory of the control plane that runs here has both.

mod place;

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use meshgate_control::assembly::OPERATOR_TOKEN_FILE;
use meshgate_control::shapes::{AppliedShape, Problem};
use serde::de::DeserializeOwned;

use self::place::Place;
use crate::cli::ControlArgs;
use crate::exit::{FAILED, FORBIDDEN, Failure, STATE, UNAVAILABLE};
use crate::state::StatePath;

/// Largest answer that is read: objects of the largest mesh file, and the status of ten thousand proxies.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long an answer may take; `--wait` asks again and again.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Longest file of a token or an address that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024;

/// A control plane that can be asked.
#[derive(Debug)]
pub(crate) struct Api {
    place: Place,
    token: String,
}

impl Api {
    /// The control plane that was named, or the one of this state directory.
    pub(crate) fn find(args: &ControlArgs, state: Option<&Path>) -> Result<Self, Failure> {
        let here = || Local::find(state);
        let url = match &args.control {
            Some(url) => url.clone(),
            None => here()?.address()?,
        };
        let place = Place::parse(&url, args.control_ca.as_deref())?;
        let token = match &args.operator_token_file {
            Some(file) => file.clone(),
            None => here()?.token_file(),
        };
        Ok(Self {
            place,
            token: line(&token, "operator token")?,
        })
    }

    /// Asks; the answer is JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (status, body) = self.ask(Method::GET, path, Bytes::new(), ANSWER_TIME).await?;
        if status.is_success() {
            self.read(&body)
        } else {
            Err(refusal(status, &body))
        }
    }

    /// Tells something and reads the answer, which is JSON.
    pub(crate) async fn tell<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, Failure> {
        let (status, body) = self.ask(Method::POST, path, body, ANSWER_TIME).await?;
        if status.is_success() {
            self.read(&body)
        } else {
            Err(refusal(status, &body))
        }
    }

    /// Tells something to which there is nothing to answer but that it is done.
    pub(crate) async fn order(&self, method: Method, path: &str) -> Result<(), Failure> {
        let (status, body) = self.ask(method, path, Bytes::new(), ANSWER_TIME).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(refusal(status, &body))
        }
    }

    /// Makes a change, and gives it time for the proxies to answer; a change that is refused is an answer too.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Duration,
    ) -> Result<AppliedShape, Failure> {
        let (status, body) = self.ask(method, path, body, ANSWER_TIME + wait).await?;
        match status {
            StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY => {
                serde_json::from_slice(&body).map_err(|_| refusal(status, &body))
            }
            _ => Err(refusal(status, &body)),
        }
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|cause| {
            self.place
                .away(&format!("its answer cannot be read ({cause}); is it another version?"))
        })
    }

    /// The status and the body of an answer, whatever it is.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        time_max: Duration,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.place.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(body))
            .map_err(|cause| self.place.away(&cause.to_string()))?;
        let asked = async {
            let (response, _connection) = self.place.send(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|cause| self.place.away(&cause.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(time_max, asked)
            .await
            .unwrap_or_else(|_| Err(self.place.away("it does not answer")))
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let said: Option<Problem> = serde_json::from_slice(body).ok();
    let message = said.map_or_else(|| format!("the control plane answers {status}"), |said| said.message);
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FORBIDDEN,
        StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ => FAILED,
    };
    let failure = Failure::new(code, message);
    if code == FORBIDDEN {
        failure.remedy("name the file of its operator token with `--operator-token-file FILE`")
    } else {
        failure
    }
}

/// The file in which a running control plane leaves the address of its API.
const ADDRESS_FILE: &str = "api-address";

/// The address of an API, left for other commands; it goes when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct ApiAddress(PathBuf);

impl ApiAddress {
    /// Leaves it in the state directory of its control plane; `tls` says whether the API has a certificate.
    pub(crate) fn leave(folder: &Path, address: SocketAddr, tls: bool) -> Result<Self, Failure> {
        let path = folder.join(ADDRESS_FILE);
        std::fs::write(&path, format!("{}\n", Place::url(address, tls)))
            .map_err(|cause| Failure::new(STATE, format!("`{}` cannot be written: {cause}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for ApiAddress {
    fn drop(&mut self) {
        // Left behind, it leads to nobody, which the next command says.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the control plane of a state directory leaves there.
struct Local(PathBuf);

impl Local {
    /// Its folder: the one in the state directory of `up`, or the directory itself.
    fn find(state: Option<&Path>) -> Result<Self, Failure> {
        let state = StatePath::find(state)?;
        let state = state.as_path();
        let folders = [state.join("control"), state.to_owned()];
        let found = folders
            .into_iter()
            .find(|folder| folder.join(OPERATOR_TOKEN_FILE).is_file());
        found.map(Self).ok_or_else(|| {
            let message = format!("no control plane has run with state directory `{}`", state.display());
            Failure::new(UNAVAILABLE, message).remedy(
                "start one with `meshgate up --mesh` or `meshgate control`, name its directory with `--state DIR`, or its \
                 address and token with `--control URL --operator-token-file FILE`",
            )
        })
    }

    fn token_file(&self) -> PathBuf {
        self.0.join(OPERATOR_TOKEN_FILE)
    }

    fn address(&self) -> Result<String, Failure> {
        line(&self.0.join(ADDRESS_FILE), "address of the API").map_err(|_| {
            let message = format!(
                "no control plane is running with state directory `{}`",
                self.0.display()
            );
            Failure::new(UNAVAILABLE, message).remedy("start it with `meshgate up --mesh` or `meshgate control`")
        })
    }
}

/// The first line of a small file.
fn line(path: &Path, what: &str) -> Result<String, Failure> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|cause| Failure::new(STATE, format!("{what} in `{}` cannot be read: {cause}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_api_says_is_what_the_person_reads() {
        let body = br#"{"message":"the configuration is number 7; read it again"}"#;
        let failure = refusal(StatusCode::CONFLICT, body);
        assert_eq!(failure.words(), ("the configuration is number 7; read it again", None));
        assert_eq!(failure.code(), FAILED);
        assert_eq!(refusal(StatusCode::UNAUTHORIZED, b"").code(), FORBIDDEN);
    }
}
