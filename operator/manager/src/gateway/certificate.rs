//! The gateway's certificate: kept in a Secret of the operator's namespace, so that all replicas have the same.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, DnType, KeyPair};

/// Name of the Secret.
const SECRET: &str = "tripod-gateway-tls";
const EXPIRY: &str = "tripod.cloud/not-after";
const VALID: SignedDuration = SignedDuration::from_hours(24 * 365);
/// Renewed when less than this remains.
const MARGIN: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A certificate that signs itself: movers are told to trust exactly this one.
#[derive(Clone)]
pub struct Certificate {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// The certificate in use, made or renewed where needed.
///
/// # Errors
/// Says what failed; the Secret is named.
pub async fn ensure(client: &Client, namespace: &str, names: &[String], now: Timestamp) -> Result<Certificate, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let at = format!("Secret {namespace}/{SECRET}");
    let existing = api.get_opt(SECRET).await.map_err(|e| format!("{at}: {e}"))?;
    if let Some(secret) = &existing
        && let Some(certificate) = read(secret, now)
    {
        return Ok(certificate);
    }
    let (certificate, expires) = make(names, now).map_err(|e| format!("{at}: {e}"))?;
    let version = existing.and_then(|s| s.metadata.resource_version);
    let secret = write(&certificate, expires, version.clone());
    let written = match version {
        None => api.create(&PostParams::default(), &secret).await,
        Some(_) => api.replace(SECRET, &PostParams::default(), &secret).await,
    };
    match written {
        Ok(_) => Ok(certificate),
        // Another replica was faster: its certificate is the one in use.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let secret = api.get(SECRET).await.map_err(|e| format!("{at}: {e}"))?;
            read(&secret, now).ok_or_else(|| format!("{at} is not usable; delete it"))
        }
        Err(error) => Err(format!("{at}: {error}")),
    }
}

fn read(secret: &Secret, now: Timestamp) -> Option<Certificate> {
    let text = |key: &str| String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok();
    let expires: Timestamp = secret.annotations().get(EXPIRY)?.parse().ok()?;
    let certificate = Certificate { certificate_pem: text("tls.crt")?, key_pem: text("tls.key")? };
    (expires.duration_since(now) > MARGIN).then_some(certificate)
}

fn make(names: &[String], now: Timestamp) -> Result<(Certificate, Timestamp), rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "tripod-gateway");
    let expires = now + VALID;
    let date = |t: Timestamp| {
        let day = t.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    // From yesterday: nodes' clocks differ.
    params.not_before = date(now - SignedDuration::from_hours(24));
    params.not_after = date(expires);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((Certificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }, expires))
}

fn write(certificate: &Certificate, expires: Timestamp, version: Option<String>) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.into()),
            annotations: Some(BTreeMap::from([(EXPIRY.into(), expires.to_string())])),
            resource_version: version,
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".into()),
        data: Some(BTreeMap::from([
            ("tls.crt".into(), bytes(&certificate.certificate_pem)),
            ("tls.key".into(), bytes(&certificate.key_pem)),
        ])),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_until_it_is_near_its_end() {
        let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        let (certificate, expires) = make(&["tripod-gateway.tripod-system.svc".into()], now).unwrap();
        let secret = write(&certificate, expires, None);
        assert!(read(&secret, now).is_some());
        assert!(read(&secret, now + SignedDuration::from_hours(24 * 300)).is_some());
        assert!(read(&secret, now + SignedDuration::from_hours(24 * 340)).is_none());
    }
}
