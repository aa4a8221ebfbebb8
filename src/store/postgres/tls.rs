//! TLS towards PostgreSQL, with the modes of libpq.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) type Tls = MakeRustlsConnect;

/// What `sslmode` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// Never.
    Disable,
    /// If the server can; libpq's default. It protects from nobody who can change what is sent.
    #[default]
    Prefer,
    /// Always, with whoever answers, unless `sslrootcert` says who may sign.
    Require,
    /// The certificate must be signed by one we trust.
    VerifyCa,
    /// And be the host's.
    VerifyFull,
}

impl Mode {
    /// The word in the URL.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                let allowed = "disable, allow, prefer, require, verify-ca, verify-full";
                return Err(format!("sslmode={text} is not one of {allowed}"));
            }
        })
    }
}

/// A connector for this mode, which trusts `roots`, a PEM file, or else the system's certificates.
pub(super) fn connector(mode: Mode, roots: Option<&str>) -> Result<Tls, String> {
    let provider = Arc::new(ring::default_provider());
    let checks_chain = match mode {
        Mode::Disable | Mode::Prefer => false,
        Mode::Require => roots.is_some(),
        Mode::VerifyCa | Mode::VerifyFull => true,
    };
    let chain = if checks_chain {
        let roots = Arc::new(trusted(roots.filter(|roots| *roots != "system"))?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| format!("no certificate to check the server's with: {error}"))?;
        Some(verifier)
    } else {
        None
    };
    let checks_name = mode == Mode::VerifyFull;
    let verifier = Arc::new(Verifier { chain, checks_name, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn trusted(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let Some(file) = file else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    let unreadable =
        |reason: &dyn std::fmt::Display| format!("sslrootcert {file} cannot be read: {reason}");
    let found = CertificateDer::pem_file_iter(Path::new(file)).map_err(|e| unreadable(&e))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        store.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if store.is_empty() {
        return Err(unreadable(&"it holds no certificate"));
    }
    Ok(store)
}

/// Checks as much as the mode demands. Where nobody asks who has signed the certificate, its key says nothing
/// either, and it is not read: PostgreSQL's manual makes such as webpki does not take, of X.509 version 1.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Whose certificate is taken on trust need not show that it is his.
    fn signed(
        &self,
        check: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.chain {
            Some(_) => check(&self.provider.signature_verification_algorithms),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is what it looks at last.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|known| verify_tls12_signature(message, cert, signed, known))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|known| verify_tls13_signature(message, cert, signed, known))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
