//! A centre's S3 store: versitygw on a folder, with an account that writes and one that may only read.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials as Keys, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use serde::{Deserialize, Serialize};

use super::build::Binaries;
use super::command::{run, wait_for};
use super::layout::{CentreLayout, STORE_PORT};
use super::pki::Pki;
use super::process;

/// The component's name in logs and records.
pub const COMPONENT: &str = "versitygw";
/// The vault of every centre.
pub const VAULT: &str = "tripod-vault";
/// The bucket of every centre that keeps versions of departments' objects.
pub const REPLICA: &str = "tripod-vault-replica";

/// Access to a store.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// A store that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Store {
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    /// May create buckets and owns those of the lab.
    pub operator: Credentials,
    /// May read the lab's buckets, and nothing else.
    pub reader: Credentials,
    /// To trust for the endpoint, where it has TLS.
    pub ca_pem: Option<String>,
}

/// Starts the store of a centre and makes its accounts and buckets, as far as they are missing.
///
/// # Errors
/// With the store's own words.
pub fn ensure(centre: &CentreLayout, binaries: &Binaries, tls: bool) -> Result<Store> {
    for folder in ["s3", "s3-versions", "s3-accounts", "log"] {
        fs::create_dir_all(centre.data().join(folder))?;
    }
    fs::create_dir_all(centre.run())?;
    let pki = Pki::ensure(centre)?;
    let folder = |name: &str| centre.data().join(name).display().to_string();
    let root = root_account(centre)?;
    let mut words = vec![
        format!("--access={}", root.access_key_id),
        format!("--secret={}", root.secret_access_key),
        format!("--port=:{STORE_PORT}"),
        format!("--iam-dir={}", folder("s3-accounts")),
        format!("--access-log={}", folder("log/versitygw-access.log")),
        "--keep-alive".to_owned(),
        "--quiet".to_owned(),
    ];
    if tls {
        words.extend([format!("--cert={}", pki.certificate("store")), format!("--key={}", pki.key("store"))]);
    }
    words.extend(["posix".into(), format!("--versioning-dir={}", folder("s3-versions")), folder("s3")]);
    let path = binaries.folder().display().to_string();
    process::start(centre, COMPONENT, &binaries.path("versitygw"), &words, &path)?;
    let account = |name: &str| Credentials {
        access_key_id: format!("{name}-{}", centre.name),
        secret_access_key: format!("{}-{name}", root.secret_access_key),
    };
    let store = Store {
        endpoint: centre.store_endpoint(tls),
        region: "us-east-1".into(),
        bucket: VAULT.into(),
        operator: account("operator"),
        reader: account("reader"),
        ca_pem: tls.then(|| fs::read_to_string(pki.certificate("ca"))).transpose()?,
    };
    store.ensure_account(binaries, &root, &store.operator, "userplus")?;
    store.ensure_account(binaries, &root, &store.reader, "user")?;
    store.ensure_bucket(VAULT, true)?;
    store.ensure_bucket(REPLICA, true)?;
    Ok(store)
}

/// The store's first account: made once, never given to anyone.
fn root_account(centre: &CentreLayout) -> Result<Credentials> {
    let file = centre.data().join("s3-root.json");
    if let Ok(text) = fs::read(&file) {
        return Ok(serde_json::from_slice(&text)?);
    }
    let secret = hex::encode(random::<16>()?);
    let root = Credentials { access_key_id: "root".into(), secret_access_key: secret };
    fs::write(file, serde_json::to_vec(&root)?)?;
    Ok(root)
}

/// Bytes that nobody guesses.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

impl Store {
    fn ensure_account(
        &self,
        binaries: &Binaries,
        root: &Credentials,
        account: &Credentials,
        role: &str,
    ) -> Result<()> {
        let words = [
            "admin".to_owned(),
            format!("--access={}", root.access_key_id),
            format!("--secret={}", root.secret_access_key),
            format!("--endpoint-url={}", self.endpoint),
            // The admin command has no option for a certificate to trust; it talks to this machine only.
            "--allow-insecure".to_owned(),
            "create-user".to_owned(),
            format!("--access={}", account.access_key_id),
            format!("--secret={}", account.secret_access_key),
            format!("--role={role}"),
        ];
        wait_for(&format!("store at {}", self.endpoint), Duration::from_secs(30), || {
            match run(binaries.path("versitygw"), &words) {
                Err(error) if !format!("{error:#}").to_lowercase().contains("exists") => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Makes a bucket that the operator's account owns and the reader's may read. Its versions can be locked, where it keeps
    /// them.
    ///
    /// # Errors
    /// With the store's own words.
    pub fn ensure_bucket(&self, bucket: &str, versioned: bool) -> Result<()> {
        let resources = [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")];
        let allow = |account: &Credentials, actions: &[&str]| {
            serde_json::json!({"Effect": "Allow", "Principal": {"AWS": [account.access_key_id]},
                "Action": actions, "Resource": resources})
        };
        let reads = [
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:GetObjectTagging",
            "s3:ListBucket",
            "s3:ListBucketVersions",
            "s3:GetBucketVersioning",
            "s3:GetBucketLocation",
        ];
        // Where a bucket has a policy, the gateway knows no other right of its owner.
        let statements = [allow(&self.operator, &["s3:*"]), allow(&self.reader, &reads)];
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": statements});
        self.block_on(async |s3| {
            if s3.head_bucket().bucket(bucket).send().await.is_err() {
                s3.create_bucket()
                    .bucket(bucket)
                    .object_lock_enabled_for_bucket(versioned)
                    .send()
                    .await
                    .with_context(|| format!("creating bucket {bucket}"))?;
            }
            if versioned {
                let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
                s3.put_bucket_versioning().bucket(bucket).versioning_configuration(on).send().await?;
            }
            s3.put_bucket_policy().bucket(bucket).policy(policy.to_string()).send().await?;
            Ok(())
        })
    }

    /// Calls the store as the operator's account.
    ///
    /// # Errors
    /// Those of the work.
    pub fn block_on<T>(&self, work: impl AsyncFnOnce(Client) -> Result<T>) -> Result<T> {
        let client = self.client(&self.operator)?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work(client))
    }

    /// A client for one of the accounts.
    ///
    /// # Errors
    /// When the certificate to trust is no certificate.
    pub fn client(&self, account: &Credentials) -> Result<Client> {
        use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
        let mut trust = TrustStore::empty();
        if let Some(pem) = &self.ca_pem {
            trust = trust.with_pem_certificate(pem.as_bytes());
        } else if self.endpoint.starts_with("https://") {
            bail!("{}: no certificate to trust", self.endpoint);
        }
        let context = TlsContext::builder().with_trust_store(trust).build()?;
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build_https();
        let keys = Keys::new(&account.access_key_id, &account.secret_access_key, None, None, "lab");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(Region::new(self.region.clone()))
            .credentials_provider(keys)
            .force_path_style(true)
            .http_client(http)
            .build();
        Ok(Client::from_conf(config))
    }
}
