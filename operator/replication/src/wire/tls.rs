//! Whom a connection trusts: the machine's own certificates, and those of the store's description.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::reach::Resolver;
use crate::{StoreConfig, StoreError};

pub(super) fn connector(
    config: &StoreConfig,
    http: HttpConnector<Resolver>,
) -> Result<HttpsConnector<HttpConnector<Resolver>>, StoreError> {
    let wrong = |detail: String| StoreError::Other {
        what: format!("certificates to trust for {}", config.endpoint),
        detail,
    };
    let mut roots = RootCertStore::empty();
    if config.endpoint.starts_with("https://") {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let pem = config.ca_pem.as_deref().unwrap_or_default();
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
        if config.ca_pem.is_some() && roots.len() == before {
            return Err(wrong("no PEM certificate in it".to_owned()));
        }
    }
    let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http))
}
