//! Certificates: an authority of one's own, and what servers show.

use std::{fmt, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

/// The name of the authority; certificates refer to it.
const AUTHORITY: &str = "Teraslice cluster authority";

/// What a server shows: a certificate with its chain, and the key. `Debug` hides the key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, then those it was issued with, as PEM.
    pub cert_pem: String,
    /// The private key, as PEM.
    pub key_pem: String,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key cannot be made.
    #[error("failed to make a certificate")]
    Make(#[from] rcgen::Error),
    /// A certificate or key cannot be read.
    #[error("failed to read a certificate or key")]
    Read(#[from] pem::Error),
    /// Certificate and key do not fit, or cannot be used.
    #[error("failed to use the certificate and the key")]
    Use(#[from] rustls::Error),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

impl Identity {
    /// Returns how a server uses it, for protocols in the order of preference, such as `h2`.
    ///
    /// # Errors
    ///
    /// When certificate and key cannot be used.
    pub fn server_config(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let chain =
            CertificateDer::pem_slice_iter(self.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// An authority that issues certificates to the servers of a cluster.
#[derive(Debug)]
pub struct Authority {
    cert_pem: String,
    key: KeyPair,
}

impl Authority {
    /// Makes a new one.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn make() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let cert_pem = authority_params().self_signed(&key)?.pem();
        Ok(Self { cert_pem, key })
    }

    /// Reads one that [`make`](Self::make) made, from what [`cert_pem`](Self::cert_pem) and [`key_pem`](Self::key_pem)
    /// returned.
    ///
    /// # Errors
    ///
    /// When the key is none.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let _is_one = CertificateDer::from_pem_slice(cert_pem.as_bytes())?;
        Ok(Self { cert_pem: cert_pem.to_owned(), key: KeyPair::from_pem(key_pem)? })
    }

    /// Returns its certificate, which clients trust.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Returns its private key, to be kept in a private file.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Issues a certificate to a server, for the names and addresses under which it is reached.
    ///
    /// # Errors
    ///
    /// When a name is none.
    pub fn issue(&self, names: &[String]) -> Result<Identity, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, names.first().map_or("teraslice", String::as_str));
        params.distinguished_name = name;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::new(authority_params(), &self.key);
        let cert_pem = params.signed_by(&key, &issuer)?.pem();
        Ok(Identity { cert_pem, key_pem: key.serialize_pem() })
    }
}

/// What is always the same of an authority's certificate, so that it need not be read back.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, AUTHORITY);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_what_a_server_can_use_also_after_it_was_kept() {
        let made = Authority::make().unwrap();
        let kept = Authority::from_pem(made.cert_pem(), &made.key_pem()).unwrap();
        for authority in [made, kept] {
            let identity = authority.issue(&["master".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            let config = identity.server_config(&[b"h2"]).unwrap();
            assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
        }
    }

    #[test]
    fn refuses_what_is_no_certificate_or_key() {
        let made = Authority::make().unwrap();
        assert!(Authority::from_pem("", &made.key_pem()).is_err());
        assert!(Authority::from_pem(made.cert_pem(), "").is_err());
        assert!(made.issue(&["\u{f6}".to_owned()]).is_err());
        let (one, two) = (made.issue(&[]).unwrap(), made.issue(&[]).unwrap());
        let mixed = Identity { cert_pem: one.cert_pem, key_pem: two.key_pem };
        assert!(mixed.server_config(&[]).is_err());
    }

    #[test]
    fn does_not_show_its_keys() {
        let authority = Authority::make().unwrap();
        let identity = authority.issue(&[]).unwrap();
        for shown in [format!("{authority:?}"), format!("{identity:?}")] {
            assert!(!shown.contains("PRIVATE"), "{shown}");
        }
    }
}
