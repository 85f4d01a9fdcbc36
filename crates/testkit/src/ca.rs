//! An authority for tests: it signs what it is asked to, also what no authority should.
//!
//! Tests of the parts that check certificates need wrong ones of every kind, so the wishes here are not judged. Names are
//! plain text and keys are PKCS #8, so that this kit depends on none of the crates it tests.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, CidrSubnet,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Wish {
    /// URIs among its alternative names, in order.
    pub uris: Vec<String>,
    /// Host names among its alternative names.
    pub hosts: Vec<String>,
    /// The common name of its subject.
    pub common_name: Option<String>,
    /// Whether it says to be an authority.
    pub authority: bool,
    /// Whether its key may sign certificates.
    pub signs: bool,
    /// Whether it is for clients.
    pub client: bool,
    /// Whether it is for servers.
    pub server: bool,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// Its serial number; random when not said.
    pub serial: Option<Vec<u8>>,
}

impl Wish {
    /// What the control plane would sign for an ID: 36 hours, back-dated by two minutes.
    pub fn of(id: &str) -> Self {
        Self {
            uris: vec![id.to_owned()],
            hosts: Vec::new(),
            common_name: None,
            authority: false,
            signs: false,
            client: true,
            server: true,
            not_before: SystemTime::now() - Duration::from_secs(120),
            not_after: SystemTime::now() + Duration::from_secs(36 * 3600),
            serial: None,
        }
    }

    /// The same, from this time to that.
    #[must_use]
    pub fn between(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    /// The same, over since an hour.
    #[must_use]
    pub fn expired(self) -> Self {
        let now = SystemTime::now();
        self.between(now - DAY, now - Duration::from_secs(3600))
    }

    /// The same, from an hour on.
    #[must_use]
    pub fn not_yet(self) -> Self {
        let now = SystemTime::now();
        self.between(now + Duration::from_secs(3600), now + DAY)
    }

    /// The same with one more URI.
    #[must_use]
    pub fn and_uri(mut self, uri: &str) -> Self {
        self.uris.push(uri.to_owned());
        self
    }

    /// The same name, but as the common name and not among the alternative names.
    #[must_use]
    pub fn as_common_name(mut self) -> Self {
        self.common_name = self.uris.pop();
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &self.common_name {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        let uris = self
            .uris
            .iter()
            .map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let hosts = self
            .hosts
            .iter()
            .map(|host| SanType::DnsName(host.as_str().try_into().unwrap()));
        params.subject_alt_names = uris.chain(hosts).collect();
        params.is_ca = if self.authority {
            IsCa::Ca(BasicConstraints::Unconstrained)
        } else {
            IsCa::ExplicitNoCa
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.signs {
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        if self.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        if self.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.not_before = self.not_before.into();
        params.not_after = self.not_after.into();
        params.serial_number = self.serial.as_deref().map(SerialNumber::from_slice);
        params.use_authority_key_identifier_extension = true;
        params
    }

    /// Signed by its own key.
    pub fn self_signed(&self) -> Issued {
        let key = key();
        let certificate = self.params().self_signed(&key).unwrap();
        Issued {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        }
    }
}

/// A certificate with the key it was made for.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key in PKCS #8 (DER).
    pub key: Vec<u8>,
}

/// A root with an intermediate, as a mesh has them.
#[derive(Debug)]
pub struct TestCa {
    domain: String,
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl TestCa {
    /// A new one for a trust domain.
    pub fn new(domain: &str) -> Self {
        let root = CertifiedIssuer::self_signed(authority("root", None), key()).unwrap();
        let intermediate = CertifiedIssuer::signed_by(authority("intermediate", Some(domain)), key(), &root).unwrap();
        Self {
            domain: domain.to_owned(),
            root,
            intermediate,
        }
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The root certificate.
    pub fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    /// What the control plane would sign for `spiffe://<domain><path>`, with a new key.
    pub fn issue(&self, path: &str) -> Issued {
        self.issue_as(&Wish::of(&format!("spiffe://{}{path}", self.domain)))
    }

    /// Whatever is wished, with a new key.
    pub fn issue_as(&self, wish: &Wish) -> Issued {
        let key = key();
        let certificate = wish.params().signed_by(&key, &self.intermediate).unwrap();
        Issued {
            chain: vec![certificate.der().clone(), self.intermediate.der().clone()],
            key: key.serialize_der(),
        }
    }

    /// Whatever is wished, for the key of a request (PKCS #10, DER); the names in the request are passed over.
    pub fn sign(&self, csr: &[u8], wish: &Wish) -> Vec<CertificateDer<'static>> {
        let mut request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).unwrap();
        request.params = wish.params();
        let certificate = request.signed_by(&self.intermediate).unwrap();
        vec![certificate.der().clone(), self.intermediate.der().clone()]
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn authority(name: &str, constrained_to: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(u8::from(constrained_to.is_none())));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (SystemTime::now() - 30 * DAY).into();
    params.not_after = (SystemTime::now() + 3650 * DAY).into();
    // A constraint of URIs would make every URI invalid to the path validation in use, so hosts and addresses are
    // constrained, and the verifiers of the mesh hold the trust domain against the bundle.
    params.name_constraints = constrained_to.map(|domain| NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    params
}
