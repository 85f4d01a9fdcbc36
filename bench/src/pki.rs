//! Certificates for pairs of proxies: what mutual TLS between two hops needs, made anew for each run.
//!
//! Every pair gets the same kind of them, P-256 from one root, so that none has the cheaper handshake.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use meshgate_identity::{Identity, Svid, SvidKey, TrustBundle};
use meshgate_model::{SpiffeError, SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::Failure;

/// The name that each hop's certificate has.
pub(crate) const NAME: &str = "hop.bench";
const ROOT: &str = "root.pem";
/// The hop that calls, and the one that is called.
pub(crate) const FRONT: &str = "front";
pub(crate) const BACK: &str = "back";
/// The trust domain of both.
const DOMAIN: &str = "bench.mesh";

fn part(end: &str) -> &'static str {
    if end == FRONT {
        "/gateway/front"
    } else {
        "/server/back/v1"
    }
}

/// Writes a root, and a certificate with its key for each end, into a directory.
pub(crate) fn write(directory: &Path) -> Result<(), Failure> {
    let failed = |e: rcgen::Error| format!("cannot make certificates: {e}");
    let root_key = KeyPair::generate().map_err(failed)?;
    let mut root = CertificateParams::default();
    // Two names alike would read as a certificate that has signed itself.
    root.distinguished_name.push(DnType::CommonName, "root of a bench");
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).map_err(failed)?;
    save(directory, ROOT, &root_certificate.pem())?;
    let issuer = Issuer::new(root, root_key);
    for end in [FRONT, BACK] {
        let key = KeyPair::generate().map_err(failed)?;
        let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).map_err(failed)?;
        leaf.distinguished_name.push(DnType::CommonName, end);
        let uri = format!("spiffe://{DOMAIN}{}", part(end))
            .as_str()
            .try_into()
            .map_err(failed)?;
        leaf.subject_alt_names.push(SanType::URI(uri));
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = leaf.signed_by(&key, &issuer).map_err(failed)?;
        save(directory, &format!("{end}.pem"), &certificate.pem())?;
        save(directory, &format!("{end}.key"), &key.serialize_pem())?;
    }
    Ok(())
}

fn save(directory: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = directory.join(name);
    fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// What the end that calls needs.
pub(crate) fn client(directory: &Path, protocols: &[&[u8]]) -> Result<ClientConfig, Failure> {
    let (chain, key) = identity(directory, FRONT)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots(directory)?)
        .with_client_auth_cert(chain, key)
        .map_err(|e| e.to_string())?;
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// What the end that is called needs.
pub(crate) fn server(directory: &Path, protocols: &[&[u8]]) -> Result<ServerConfig, Failure> {
    let (chain, key) = identity(directory, BACK)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(directory)?), provider())
        .build()
        .map_err(|e| e.to_string())?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| e.to_string())?;
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// An end as a part of a mesh has it.
pub(crate) fn of_mesh(directory: &Path, end: &str) -> Result<Identity, Failure> {
    let (chain, key) = identity(directory, end)?;
    let key = SvidKey::from_pkcs8(key.secret_der()).map_err(|e| e.to_string())?;
    let svid = Svid::new(key, chain).map_err(|e| e.to_string())?;
    let domain = DOMAIN.parse().map_err(|e: SpiffeError| e.to_string())?;
    let roots = vec![read_certificate(&directory.join(ROOT))?];
    let bundle = TrustBundle::new(domain, roots, Vec::new()).map_err(|e| e.to_string())?;
    Identity::new(svid, bundle).map_err(|e| e.to_string())
}

/// Whom the end that calls expects.
pub(crate) fn back_id() -> Result<SpiffeId, Failure> {
    format!("spiffe://{DOMAIN}{}", part(BACK))
        .parse()
        .map_err(|e: SpiffeError| e.to_string())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(directory: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let root = read_certificate(&directory.join(ROOT))?;
    roots.add(root).map_err(|e| e.to_string())?;
    Ok(roots)
}

fn identity(directory: &Path, end: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let certificate = read_certificate(&directory.join(format!("{end}.pem")))?;
    let path: PathBuf = directory.join(format!("{end}.key"));
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|e| format!("{} is no key: {e}", path.display()))?;
    Ok((vec![certificate], key))
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, Failure> {
    CertificateDer::from_pem_file(path).map_err(|e| format!("{} is no certificate: {e}", path.display()))
}
