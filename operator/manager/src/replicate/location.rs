//! `s3://bucket/prefix` with the store behind it. Credentials, region and endpoint come from where the AWS tools have them:
//! options, environment, profiles in `~/.aws`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_types::os_shim_internal::{Env, Fs};
use tripod_replication::engine::Side;
use tripod_replication::wire::Wire;
use tripod_replication::{Reach, StoreConfig};

/// A bucket, or a folder of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub bucket: String,
    pub prefix: String,
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return Err("write it like s3://bucket/prefix/".to_owned());
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || bucket.len() > 63 || !bucket.chars().all(fits) {
            return Err(format!("{bucket:?} is no name of a bucket"));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// How one side is reached. What is not given comes from the environment, then from the profile.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `source` or `target`, as the options are called.
    pub name: &'static str,
    pub endpoint: Option<String>,
    pub profile: Option<String>,
    pub region: Option<String>,
    pub ca_file: Option<PathBuf>,
}

impl Access {
    /// The side.
    ///
    /// # Errors
    /// Names what is missing, and where it can come from.
    pub async fn open(&self, location: &Location) -> anyhow::Result<Side> {
        let wire = Wire::connect(&self.config().await?)?;
        Ok(Side::new(wire, &location.bucket, &location.prefix))
    }

    async fn config(&self) -> anyhow::Result<StoreConfig> {
        let source =
            aws_runtime::env_config::source::load(&Env::real(), &Fs::real(), &EnvConfigFiles::default())
                .await?;
        let sections = EnvConfigSections::parse(source)?;
        if let Some(name) = &self.profile
            && sections.get_profile(name).is_none()
        {
            bail!(
                "--{}-profile: there is no profile {name:?} in ~/.aws/config or ~/.aws/credentials",
                self.name
            );
        }
        let of_profile = |key: &str| match &self.profile {
            Some(name) => sections.get_profile(name)?.get(key).map(str::to_owned),
            None => sections.get(key).map(str::to_owned),
        };
        // A profile that was asked for counts more than the environment; one that nobody named counts less.
        let value = |variables: &[&str], key: &str| {
            let set = || variables.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
            if self.profile.is_some() {
                of_profile(key).or_else(set)
            } else {
                set().or_else(|| of_profile(key))
            }
        };
        let own = format!("TRIPOD_{}_", self.name.to_uppercase());
        let keyed = |name: &str, key: &str| {
            let own = std::env::var(format!("{own}{name}")).ok().filter(|v| !v.is_empty());
            own.or_else(|| value(&[&format!("AWS_{name}")], key))
        };
        let missing = |what: &str| {
            format!(
                "no {what} for the {0}: set --{0}-profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials",
                self.name
            )
        };
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| value(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "endpoint_url"));
        let region = self.region.clone().or_else(|| value(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region"));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let ca_file =
            self.ca_file.clone().or_else(|| value(&["AWS_CA_BUNDLE"], "ca_bundle").map(PathBuf::from));
        let ca_pem = ca_file.map(|file| {
            std::fs::read_to_string(&file)
                .with_context(|| format!("--{}-ca-file {}", self.name, file.display()))
        });
        Ok(StoreConfig {
            endpoint: endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com")),
            region,
            ca_pem: ca_pem.transpose()?,
            access_key_id: keyed("ACCESS_KEY_ID", "aws_access_key_id")
                .with_context(|| missing("access key id"))?,
            secret_access_key: keyed("SECRET_ACCESS_KEY", "aws_secret_access_key")
                .with_context(|| missing("secret key"))?,
            session_token: keyed("SESSION_TOKEN", "aws_session_token"),
            // Who runs the command may reach whatever this machine does.
            reach: Reach::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Location;

    #[test]
    fn a_location_is_a_bucket_and_where_keys_begin() {
        let parsed = |text: &str| text.parse::<Location>();
        assert_eq!(parsed("s3://b"), Ok(Location { bucket: "b".into(), prefix: String::new() }));
        assert_eq!(
            parsed("s3://b/a/../目录/"),
            Ok(Location { bucket: "b".into(), prefix: "a/../目录/".into() })
        );
        for wrong in ["b", "s3://", "s3:///x", "s3://B", "https://b", "s3://a b"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
