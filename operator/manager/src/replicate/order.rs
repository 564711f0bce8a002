//! What a worker is told to do: everything but credentials, as one JSON document.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tripod_replication::engine::{Deletes, Filter, History, Lacking, Options, Place, Side};
use tripod_replication::rate::Pace;
use tripod_replication::wire::Wire;
use tripod_replication::{Reach, StoreConfig};

/// The format of this version.
pub const VERSION: u32 = 1;

/// A run in shards that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    pub version: u32,
    pub run: String,
    pub source: At,
    pub target: At,
    /// Where it is recorded what was done, at the target.
    pub manifest: Manifest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Bytes, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<u64>,
    /// All of these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The most objects that may be deleted, where any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<u64>,
    /// The most objects that are under way at once, of one worker.
    pub at_once: usize,
    /// Bytes a second, of one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Requests a second, of one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// What a storage class of the source is called at the target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_classes: BTreeMap<String, String>,
    pub lacking: Lacking,
}

/// A bucket in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct At {
    pub endpoint: String,
    pub region: String,
    /// PEM certificates to trust beside the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Where it may be.
    pub reach: Reach,
    pub bucket: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    pub bucket: String,
    /// Ends in `/`.
    pub prefix: String,
}

/// An order, ready to be carried out.
pub struct Ready {
    pub source: Side,
    pub target: Side,
    pub place: Place,
    pub options: Options,
}

impl At {
    /// Of a bucket that is reached like this.
    #[must_use]
    pub fn of(config: &StoreConfig, bucket: &str) -> Self {
        Self {
            endpoint: config.endpoint.clone(),
            region: config.region.clone(),
            ca_pem: config.ca_pem.clone(),
            reach: config.reach.clone(),
            bucket: bucket.to_owned(),
        }
    }

    /// `name` is `SOURCE` or `TARGET`, as the variables with its credentials are called.
    fn wire(&self, name: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Wire> {
        let set = |what: &str| variable(&format!("TRIPOD_{name}_{what}")).filter(|value| !value.is_empty());
        let needed = |what: &str| set(what).with_context(|| format!("TRIPOD_{name}_{what} is not set"));
        Ok(Wire::connect(&StoreConfig {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            ca_pem: self.ca_pem.clone(),
            access_key_id: needed("ACCESS_KEY_ID")?.trim().to_owned(),
            secret_access_key: needed("SECRET_ACCESS_KEY")?.trim().to_owned(),
            session_token: set("SESSION_TOKEN"),
            reach: self.reach.clone(),
        })?)
    }
}

impl Order {
    /// Reads one.
    ///
    /// # Errors
    /// Names the field that is not understood.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let order: Self = serde_json::from_str(text).context("the order is not one")?;
        if order.version != VERSION {
            bail!(
                "the order is of version {}, and this is {VERSION}; use the operator's image",
                order.version
            );
        }
        Ok(order)
    }

    /// With credentials from variables of the environment.
    ///
    /// # Errors
    /// Names the variable that is missing, or the pattern or URL that is none.
    pub fn ready(&self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Ready> {
        let reading = self.source.wire("SOURCE", &variable)?;
        let writing = self.target.wire("TARGET", &variable)?;
        let filter = Filter::globs(&self.include, &self.exclude);
        let mut filter = filter.map_err(|e| anyhow::anyhow!("include, exclude: {e}"))?;
        (filter.smallest, filter.largest) = (self.smallest, self.largest);
        filter.tags.clone_from(&self.tags);
        let Manifest { bucket, prefix } = self.manifest.clone();
        let place = Place::Bucket { wire: writing.clone(), bucket, prefix };
        // Without a rest: what becomes an option has to become part of an order.
        let options = Options {
            deletes: self.deletes.map_or(Deletes::Ignore, |most| Deletes::Mirror { most }),
            filter,
            adopt: true,
            at_once: self.at_once,
            pace: self.bandwidth.map(Pace::new),
            requests: self.requests.map(Pace::new),
            checkpoint: Options::default().checkpoint,
            lacking: self.lacking,
            history: History::Latest,
            storage_classes: self.storage_classes.clone(),
        };
        Ok(Ready {
            source: Side::new(reading, &self.source.bucket, ""),
            target: Side::new(writing, &self.target.bucket, ""),
            place,
            options,
        })
    }
}

#[cfg(test)]
impl Order {
    /// One of those that tests begin with.
    pub fn of_tests() -> Self {
        let at = |endpoint: &str| At {
            endpoint: endpoint.into(),
            region: "cn".into(),
            ca_pem: None,
            reach: Reach::default(),
            bucket: "files".into(),
        };
        Self {
            version: VERSION,
            run: "r".into(),
            source: at("https://a.example"),
            target: at("https://b.example"),
            manifest: Manifest { bucket: "vault".into(), prefix: "replication/".into() },
            include: vec!["a/**".into()],
            exclude: Vec::new(),
            smallest: None,
            largest: Some(9),
            tags: [("keep".into(), "yes".into())].into(),
            deletes: Some(7),
            at_once: 3,
            bandwidth: None,
            requests: Some(5),
            storage_classes: [("STANDARD_IA".into(), "COLD".into())].into(),
            lacking: Lacking { parts: true, ..Lacking::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written_and_holds_no_credential() {
        let text = serde_json::to_string(&Order::of_tests()).unwrap();
        assert_eq!(Order::parse(&text).unwrap(), Order::of_tests());
        assert!(!text.to_lowercase().contains("key"), "{text}");
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert!(Order::parse(&newer).unwrap_err().to_string().contains("of version 2"));
        let other = text.replace("\"run\"", "\"walk\"");
        assert!(format!("{:#}", Order::parse(&other).unwrap_err()).contains("walk"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = |name: &str| Some(format!("value of {name}\n"));
        let ready = Order::of_tests().ready(all).unwrap();
        assert_eq!(ready.options.deletes, Deletes::Mirror { most: 7 });
        assert_eq!(ready.options.filter.largest, Some(9));
        assert_eq!(ready.options.filter.tags, Order::of_tests().tags);
        assert_eq!(ready.options.storage_classes, Order::of_tests().storage_classes);
        assert_eq!(ready.options.lacking, Order::of_tests().lacking);
        let without = |name: &str| all(name).filter(|_| name != "TRIPOD_TARGET_SECRET_ACCESS_KEY");
        let error = Order::of_tests().ready(without).err().unwrap().to_string();
        assert_eq!(error, "TRIPOD_TARGET_SECRET_ACCESS_KEY is not set");
    }
}
