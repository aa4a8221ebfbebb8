//! The certificate of a listener, which can be changed while it listens.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate with its key, read from two PEM files and read again on demand.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read, or has no PEM of the right kind.
    #[error("reading {0}")]
    Read(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// Key and certificate do not go together, or the key is of an unknown kind.
    #[error("using {cert} with {key}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(cert: PathBuf, key: PathBuf) -> Result<Arc<Self>, Unusable> {
        let current = ArcSwap::from_pointee(read(&cert, &key)?);
        Ok(Arc::new(Self { cert, key, current }))
    }

    /// Reads both files again.
    ///
    /// # Errors
    /// When they cannot be used; then the certificate stays as it is.
    pub fn reload(&self) -> Result<(), Unusable> {
        self.current.store(Arc::new(read(&self.cert, &self.key)?));
        Ok(())
    }

    /// When the one in use expires, in seconds since 1970; nothing if it does not say so as it should.
    pub(super) fn expires_at_s(&self) -> Option<i64> {
        let current = self.current.load();
        let (_, certificate) = X509Certificate::from_der(current.cert.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }
}

fn read(cert: &PathBuf, key: &PathBuf) -> Result<CertifiedKey, Unusable> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |error| Unusable::Read(path, error)
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(cert))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider())
        .map_err(|source| Unusable::Pair { cert: cert.clone(), key: key.clone(), source })
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.cert.display())
    }
}
