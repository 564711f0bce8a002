//! The gateway's certificate: made by the operator itself, kept in a Secret, renewed in time.
//!
//! An authority of its own signs it; movers are given that authority and trust no other. The authority's key is thrown
//! away at once, so nothing but this one certificate can ever be signed by it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The Secret in the operator's namespace.
pub const SECRET: &str = "tripod-gateway-tls";
const NOT_AFTER: &str = "tripod.cloud/not-after";
const NAMES: &str = "tripod.cloud/dns-names";
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Clocks differ: a certificate that begins now has not begun everywhere.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// What the server and its callers need.
#[derive(Clone)]
// Each is PEM among things that could be DER: the names say so where they are used.
#[allow(clippy::struct_field_names)]
pub struct Certificate {
    /// The authority, for movers.
    pub ca_pem: String,
    /// The certificate that the server shows.
    pub chain_pem: String,
    /// Its key.
    pub key_pem: String,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The API server failed.
    #[error("the Secret {SECRET}: {0}")]
    Kube(#[from] Box<kube::Error>),
    /// It could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// Someone else wrote the Secret, and it is not one of ours.
    #[error("the Secret {SECRET} holds no certificate of the gateway")]
    Foreign,
}

/// Reads the certificate, and makes it when it is absent, for other names, or has less than 30 days left. Of several
/// operators that make one at once, all return that of the first.
pub async fn ensure(
    client: kube::Client,
    namespace: &str,
    dns_names: &[String],
) -> Result<Certificate, CertificateError> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let found = secrets.get_opt(SECRET).await.map_err(Box::new)?;
    if let Some(secret) = &found
        && is_good(secret, dns_names, Timestamp::now())
    {
        return read(secret);
    }
    let mut secret = make(dns_names, Timestamp::now())?;
    let written = match found {
        None => secrets.create(&PostParams::default(), &secret).await,
        Some(old) => {
            // With its version, so that of two that renew only one does.
            secret.metadata.resource_version = old.metadata.resource_version;
            secrets.replace(SECRET, &PostParams::default(), &secret).await
        }
    };
    match written {
        Ok(secret) => read(&secret),
        // Another was faster: already there, or changed since.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            read(&secrets.get(SECRET).await.map_err(Box::new)?)
        }
        Err(error) => Err(Box::new(error).into()),
    }
}

fn is_good(secret: &Secret, dns_names: &[String], now: Timestamp) -> bool {
    let annotation = |name: &str| secret.metadata.annotations.as_ref()?.get(name);
    let lasts = annotation(NOT_AFTER)
        .and_then(|until| until.parse::<Timestamp>().ok())
        .is_some_and(|until| until.duration_since(now) > RENEWED_BEFORE);
    lasts && annotation(NAMES) == Some(&dns_names.join(",")) && read(secret).is_ok()
}

fn read(secret: &Secret) -> Result<Certificate, CertificateError> {
    let field = |name: &str| {
        let bytes = secret.data.as_ref()?.get(name)?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    match (field("ca.crt"), field("tls.crt"), field("tls.key")) {
        (Some(ca_pem), Some(chain_pem), Some(key_pem)) => Ok(Certificate { ca_pem, chain_pem, key_pem }),
        _ => Err(CertificateError::Foreign),
    }
}

fn make(dns_names: &[String], now: Timestamp) -> Result<Secret, CertificateError> {
    let certificate = issue(dns_names, now)?;
    let annotations =
        [(NOT_AFTER.to_owned(), (now + LIFETIME).to_string()), (NAMES.to_owned(), dns_names.join(","))];
    let data = BTreeMap::from([
        ("ca.crt".to_owned(), ByteString(certificate.ca_pem.into_bytes())),
        ("tls.crt".to_owned(), ByteString(certificate.chain_pem.into_bytes())),
        ("tls.key".to_owned(), ByteString(certificate.key_pem.into_bytes())),
    ]);
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            annotations: Some(annotations.into()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

/// A new authority and a certificate signed by it.
pub(crate) fn issue(dns_names: &[String], now: Timestamp) -> Result<Certificate, CertificateError> {
    let mut authority = params(Vec::new(), "tripod gateway authority", now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = params(dns_names.to_vec(), "tripod gateway", now)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok(Certificate { ca_pem: authority.pem(), chain_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn params(names: Vec<String>, common: &str, now: Timestamp) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common);
    params.not_before = std::time::SystemTime::from(now - BACKDATED).into();
    params.not_after = std::time::SystemTime::from(now + LIFETIME).into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_its_last_month() {
        let names = ["gateway.tripod-system.svc".to_owned()];
        let made: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let secret = make(&names, made).unwrap();
        let day = |days: i64| made + SignedDuration::from_hours(24 * days);
        assert!(is_good(&secret, &names, day(334)));
        assert!(!is_good(&secret, &names, day(335)));
        assert!(!is_good(&secret, &["other".to_owned()], day(1)));
        assert!(!is_good(&Secret::default(), &names, day(1)));
    }
}
