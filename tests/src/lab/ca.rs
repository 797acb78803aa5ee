//! Names of hosts come in; certificates signed by a private authority and the file that makes clients trust it go out.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates kept: more than any test has names, small enough that a hostile client cannot fill memory.
const CERTIFICATES_MAX: usize = 256;

/// Name for which a client without SNI gets its certificate.
const NAME_WITHOUT_SNI: &str = "llm.internal.example";

/// A certificate authority that lives as long as one lab.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    leaf_key: KeyPair,
    leaves: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Authority {
    /// Makes an authority with fresh P-256 keys.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Tollgate lab authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)
            .context("signing the authority's own certificate")?;
        Ok(Self { issuer, leaf_key: KeyPair::generate()?, leaves: Mutex::default() })
    }

    /// Writes the authority's certificate as PEM, the form every client takes.
    pub fn write_pem(&self, path: &Path) -> Result<()> {
        fs::write(path, self.issuer.pem()).context("writing the authority's certificate")
    }

    /// Returns a server configuration that answers any name and offers HTTP/2 and HTTP/1.1.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn mint(&self, name: &str) -> Result<CertifiedKey> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "Tollgate lab host");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let signing = ring::sign::any_supported_type(&key)?;
        let chain =
            vec![CertificateDer::clone(leaf.der()), CertificateDer::clone(self.issuer.der())];
        Ok(CertifiedKey::new(chain, signing))
    }

    fn leaf(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut leaves = self.leaves.lock().ok()?;
        if let Some(leaf) = leaves.get(name) {
            return Some(Arc::clone(leaf));
        }
        if leaves.len() >= CERTIFICATES_MAX {
            return None;
        }
        let leaf = Arc::new(self.mint(name).ok()?);
        leaves.insert(name.to_owned(), Arc::clone(&leaf));
        Some(leaf)
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.leaf(hello.server_name().unwrap_or(NAME_WITHOUT_SNI))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_gets_one_certificate_and_names_are_bounded() {
        let authority = Authority::new().unwrap();
        let first = authority.leaf("api.openai.com").unwrap();
        let again = authority.leaf("api.openai.com").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        for number in 0..CERTIFICATES_MAX {
            drop(authority.leaf(&format!("host-{number}.example")));
        }
        assert!(authority.leaf("one-too-many.example").is_none());
    }
}
