//! Nodes behind TLS.

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, crypto::ring};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A TLS server with a certificate for 127.0.0.1, and the roots that trust it.
async fn server() -> (Raw, Url, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let node = Raw::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let mut url = node.url.clone();
    url.set_scheme("https").unwrap();
    (node, url, roots)
}

#[tokio::test]
async fn a_trusted_certificate_makes_a_connection_that_is_kept() {
    let (node, url, roots) = server().await;
    let client = Client::with_roots(ClientSettings::default(), roots);
    for _ in 0..3 {
        let response = client.call(&url, "create", QUERY, None, PLENTY, 9).await.unwrap();
        assert_eq!(response.body, "ok");
    }
    assert_eq!(node.accepted(), 1);
}

#[tokio::test]
async fn an_unknown_issuer_is_a_matter_of_the_certificate() {
    let (_node, url, _) = server().await;
    let error = client().call(&url, "create", QUERY, None, PLENTY, 9).await.unwrap_err();
    assert_eq!(kind(&error), "tls");
    assert!(error.before_request());
    assert_eq!(
        error.to_string(),
        format!("cannot connect to {url}/create: its certificate is not accepted")
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_accepted() {
    let (_node, mut url, roots) = server().await;
    url.set_host(Some("localhost")).unwrap();
    let client = Client::with_roots(ClientSettings::default(), roots);
    let error = client.call(&url, "create", QUERY, None, PLENTY, 9).await.unwrap_err();
    assert!(matches!(error, Error::Tls { certificate: true, .. }), "{error:?}");
}

#[tokio::test]
async fn a_plain_port_is_no_tls() {
    let node = Raw::start(|_, mut stream| async move {
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let mut url = node.url.clone();
    url.set_scheme("https").unwrap();
    let error = client().call(&url, "create", QUERY, None, PLENTY, 9).await.unwrap_err();
    assert!(matches!(error, Error::Tls { certificate: false, .. }), "{error:?}");
}
