//! The certificates that the system trusts.

use rustls::RootCertStore;
use rustls_native_certs::{CertificateResult, load_native_certs};

use super::Error;

/// Reads the system's root certificates.
pub(crate) fn load() -> Result<RootCertStore, Error> {
    check(load_native_certs())
}

/// No certificates and no error is a system without any. With an error it is a bundle that cannot
/// be read, which would otherwise show only as every node being down. Single bad ones among good
/// ones are passed over, as everywhere.
fn check(found: CertificateResult) -> Result<RootCertStore, Error> {
    let mut errors = found.errors.into_iter();
    if found.certs.is_empty()
        && let Some(first) = errors.next()
    {
        return Err(Error::Roots { source: first.into() });
    }
    for error in errors {
        log::warn!("a root certificate of the system cannot be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    log::debug!("{} root certificates of the system, {ignored} ignored", roots.len());
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use rustls_native_certs::load_certs_from_paths;

    use super::*;

    #[test]
    fn no_certificates_at_all_is_fine() {
        assert!(check(load_certs_from_paths(None, None)).unwrap().is_empty());
        let empty = tempfile::tempdir().unwrap();
        assert!(check(load_certs_from_paths(None, Some(empty.path()))).unwrap().is_empty());
    }

    #[test]
    fn an_unreadable_bundle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.pem");
        let broken = dir.path().join("broken.pem");
        std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n%%%\n").unwrap();
        for (bundle, cause) in [(&missing, "missing.pem"), (&broken, "PEM")] {
            let error = check(load_certs_from_paths(Some(bundle), None)).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(cause), "{source}");
        }
    }

    #[test]
    fn a_bad_certificate_among_good_ones_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let good = rcgen::generate_simple_self_signed(["n.example".to_owned()]).unwrap().cert.pem();
        std::fs::write(dir.path().join("a.pem"), good).unwrap();
        std::fs::write(dir.path().join("b.pem"), "-----BEGIN CERTIFICATE-----\n%%%\n").unwrap();
        assert_eq!(check(load_certs_from_paths(None, Some(dir.path()))).unwrap().len(), 1);
    }
}
