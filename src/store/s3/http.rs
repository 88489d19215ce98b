//! The HTTP client: one pool of connections per store, rustls with ring, TCP_NODELAY (the SDK's default).

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::clock::WatchedConnector;
use super::gate::GatedConnector;

/// How long an idle connection is kept: below the minute after which load balancers drop theirs.
const IDLE: Duration = Duration::from_secs(45);

/// What the client talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Plain HTTP only: no certificates are loaded.
    Plain,
    /// Plain HTTP on this machine: no proxy either.
    Loopback,
    /// HTTP or HTTPS.
    Anything,
}

impl Target {
    pub(super) fn of(endpoint: Option<&str>) -> Self {
        let Some(host) = endpoint.and_then(|url| url.strip_prefix("http://")) else { return Self::Anything };
        let host = host.split('/').next().unwrap_or(host);
        let host = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        if host == "localhost" || host == "[::1]" || host.starts_with("127.") {
            Self::Loopback
        } else {
            Self::Plain
        }
    }
}

/// One connector, and with it one pool, whatever settings the SDK asks it for.
#[derive(Debug)]
struct OneConnector(SharedHttpConnector);

impl HttpClient for OneConnector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.0.clone()
    }
}

/// A client that trusts the system's authorities, or those in `bundle` instead.
pub(super) fn client(target: Target, bundle: Option<Vec<u8>>, connect: Duration) -> SharedHttpClient {
    let settings = HttpConnectorSettings::builder().connect_timeout(connect).build();
    let proxy = if target == Target::Loopback { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
    let builder =
        Connector::builder().connector_settings(settings).pool_idle_timeout(IDLE).proxy_config(proxy);
    let connector = if target == Target::Anything {
        let trust = match bundle {
            Some(pem) => TrustStore::empty().with_pem_certificate(pem),
            None => TrustStore::default(),
        };
        let context = TlsContext::builder().with_trust_store(trust).build().unwrap_or_default();
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build()
    } else {
        builder.build_http()
    };
    let watched = WatchedConnector(SharedHttpConnector::new(connector));
    let gated = GatedConnector(SharedHttpConnector::new(watched));
    SharedHttpClient::new(OneConnector(SharedHttpConnector::new(gated)))
}

/// The authorities in `given`, or in the file that `AWS_CA_BUNDLE` names; checked, because the connector panics on a file
/// that is none.
pub(super) fn read_bundle(given: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let named = || std::env::var_os("AWS_CA_BUNDLE").filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(path) = given.map(Path::to_owned).or_else(named) else { return Ok(None) };
    let bad = |why: String| format!("the CA bundle {} cannot be used: {why}", path.display());
    let pem = std::fs::read(&path).map_err(|e| bad(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| bad(e.to_string()))?;
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate".into()));
    }
    Ok(Some(pem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_needs() {
        for (endpoint, target) in [
            (None, Target::Anything),
            (Some("https://localhost:9000"), Target::Anything),
            (Some("http://127.0.0.1:5570"), Target::Loopback),
            (Some("http://localhost/x:1"), Target::Loopback),
            (Some("http://[::1]:80/"), Target::Loopback),
            (Some("http://minio.lan:9000"), Target::Plain),
            (Some("http://127.example.com"), Target::Loopback),
        ] {
            assert_eq!(Target::of(endpoint), target, "{endpoint:?}");
        }
    }

    #[test]
    fn a_bundle_that_is_none_is_an_error_and_no_panic() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n", not_der] {
            std::fs::write(file.path(), text).expect("write");
            let error = read_bundle(Some(file.path())).expect_err("no certificate");
            assert!(error.contains("cannot be used"), "{error}");
        }
        assert!(read_bundle(Some(Path::new("/nowhere/ca.pem"))).is_err());
    }
}
