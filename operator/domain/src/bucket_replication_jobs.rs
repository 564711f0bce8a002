//! Which runs are made by the pods of a Job, what that Job is called, and what follows from how it stands. Pure.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use tripod_crds::BucketReplication;
use tripod_crds::bucket_replication::{BucketReplicationSpec, Target};

/// Marks all that belongs to replications, and tells whose it is.
pub const NAMESPACE_LABEL: &str = "tripod.cloud/replication-namespace";
pub const NAME_LABEL: &str = "tripod.cloud/replication";
pub const TARGET_LABEL: &str = "tripod.cloud/replication-target";

/// When Jobs are made, and how large they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Runs that copy so many objects, or compare 32 times as many, are made by a Job; 0: none is.
    pub from_objects: u64,
    /// Pods of one Job.
    pub workers: u16,
    /// Many more shards than workers: so that nobody waits long for the last one.
    pub shards_per_worker: u16,
}

impl Sizes {
    /// Parts of the key space to begin with.
    #[must_use]
    pub fn shards(&self) -> usize {
        usize::from(self.workers) * usize::from(self.shards_per_worker)
    }

    /// What one worker may use of what all of them may, at least 1.
    #[must_use]
    pub fn share(&self, all: u64) -> u64 {
        (all / u64::from(self.workers.max(1))).max(1)
    }
}

/// Who makes a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The operator itself.
    Operator,
    /// The pods of a Job.
    Job,
}

/// Objects on record that are compared in the time in which one is copied: about 2.5 µs each against 75 µs.
const COMPARED: u64 = 32;

/// Who makes a run: of so many objects that are on record and will mostly be compared, or of so many that are not. One that
/// workers have begun is gone on with by workers, however many are on record by now.
#[must_use]
pub fn way(sizes: &Sizes, recorded: u64, unrecorded: u64, begun: bool) -> Way {
    let objects = unrecorded.saturating_add(recorded / COMPARED);
    let is_large = sizes.from_objects > 0 && (begun || objects >= sizes.from_objects);
    if is_large { Way::Job } else { Way::Operator }
}

/// Of everything that a run is made with. One of other terms is another run.
#[must_use]
pub fn terms(spec: &BucketReplicationSpec) -> String {
    let of = (
        (&spec.filter, spec.history, &spec.storage_classes),
        (&spec.deletes, spec.adopt),
        (&spec.bandwidth, spec.requests_per_second),
    );
    // A spec that came as JSON can be written as JSON.
    let text = serde_json::to_string(&of).unwrap_or_default();
    short_hash(&text, 32)
}

/// The Job of a run: the same name for the same run, whoever asks.
#[must_use]
pub fn name(run: &str) -> String {
    format!("replicate-{}", short_hash(run, 16))
}

fn short_hash(text: &str, length: usize) -> String {
    let mut hash = hex::encode(Sha256::digest(text));
    hash.truncate(length);
    hash
}

/// What a Job says whose it is.
#[must_use]
pub fn labels(namespace: &str, name: &str, target: &str) -> BTreeMap<String, String> {
    [(NAMESPACE_LABEL, namespace), (NAME_LABEL, name), (TARGET_LABEL, target)]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into()
}

/// The Jobs of one target, as a selector.
#[must_use]
pub fn selector(namespace: &str, name: &str, target: &str) -> String {
    let pairs = labels(namespace, name, target);
    pairs.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}

/// Whether a Job with these labels is still meant: its replication is there, has the target, and is not suspended.
#[must_use]
pub fn is_meant<'a>(
    labels: &BTreeMap<String, String>,
    objects: impl IntoIterator<Item = &'a BucketReplication>,
) -> bool {
    let says = |label: &str, value: Option<&str>| labels.get(label).map(String::as_str) == value;
    let has = |target: &Target| says(TARGET_LABEL, Some(&target.centre));
    objects.into_iter().any(|object| {
        let meta = &object.metadata;
        says(NAMESPACE_LABEL, meta.namespace.as_deref())
            && says(NAME_LABEL, meta.name.as_deref())
            && !object.spec.suspend
            && object.spec.targets.iter().any(has)
    })
}

/// How a Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Absent,
    /// It is being deleted.
    Leaving,
    Running,
    Complete,
    /// With the words of its condition.
    Failed(String),
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make it.
    Apply,
    Wait,
    /// All shards are whole.
    Finish,
    /// It can't go on by itself, for this reason.
    GiveUp(String),
}

/// What to do about a run whose shards are all whole, or not, and whose Job stands like this.
#[must_use]
pub fn next(is_whole: bool, job: &Seen) -> Next {
    match job {
        _ if is_whole => Next::Finish,
        Seen::Absent => Next::Apply,
        Seen::Leaving | Seen::Running => Next::Wait,
        Seen::Complete => Next::GiveUp("it has ended, and left shards that are not whole".to_owned()),
        Seen::Failed(words) => Next::GiveUp(words.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SIZES: Sizes = Sizes { from_objects: 1000, workers: 4, shards_per_worker: 8 };

    fn replication(name: &str, spec: &serde_json::Value) -> BucketReplication {
        let mut whole =
            json!({"source": {"centre": "production", "bucket": "files"}, "targets": [{"centre": "remote"}]});
        for (field, value) in spec.as_object().into_iter().flatten() {
            whole[field] = value.clone();
        }
        let mut object = BucketReplication::new(name, serde_json::from_value(whole).unwrap());
        object.metadata.namespace = Some("health-web".into());
        object
    }

    #[test]
    fn large_runs_are_made_by_a_job() {
        for (from_objects, recorded, unrecorded, begun, expected) in [
            (1000, 0, 999, false, Way::Operator),
            (1000, 0, 1000, false, Way::Job),
            // A look at what was copied long ago.
            (1000, 31_999, 0, false, Way::Operator),
            (1000, 32_000, 0, false, Way::Job),
            (1000, 3, 0, true, Way::Job),
            (0, 0, 1_000_000_000, false, Way::Operator),
            // Switched off in the middle of one.
            (0, 1_000_000_000, 0, true, Way::Operator),
        ] {
            let sizes = Sizes { from_objects, ..SIZES };
            assert_eq!(
                way(&sizes, recorded, unrecorded, begun),
                expected,
                "{from_objects} {recorded} {unrecorded} {begun}"
            );
        }
        assert_eq!((SIZES.shards(), SIZES.share(1000), SIZES.share(3)), (32, 250, 1));
    }

    #[test]
    fn only_what_a_run_is_made_with_makes_another_run() {
        let of = |spec: &serde_json::Value| terms(&replication("files", spec).spec);
        let usual = of(&json!({}));
        for same in [json!({"rpo": "5m"}), json!({"suspend": true}), json!({"pollInterval": "10s"})] {
            assert_eq!(of(&same), usual, "{same}");
        }
        for other in [
            json!({"deletes": {"policy": "Mirror"}}),
            json!({"filter": {"exclude": ["tmp/*"]}}),
            json!({"bandwidth": "1Mi"}),
            json!({"adopt": true}),
            json!({"history": "AllVersions"}),
            json!({"storageClasses": {"COLD": "GLACIER"}}),
        ] {
            assert_ne!(of(&other), usual, "{other}");
        }
    }

    #[test]
    fn a_name_fits_and_is_of_its_run() {
        assert_eq!(name("a"), name("a"));
        assert_ne!(name("a"), name("b"));
        assert!(name(&"x".repeat(500)).len() <= 52, "pods of an Indexed Job have longer names");
    }

    #[test]
    fn a_job_is_meant_as_long_as_its_replication_is() {
        let labels = labels("health-web", "files", "remote");
        for (what, object, expected) in [
            ("there", replication("files", &json!({})), true),
            ("suspended", replication("files", &json!({"suspend": true})), false),
            ("another", replication("others", &json!({})), false),
            ("another target", replication("files", &json!({"targets": [{"centre": "same-city"}]})), false),
        ] {
            assert_eq!(is_meant(&labels, [&object]), expected, "{what}");
        }
        assert!(!is_meant(&labels, []));
        assert!(!is_meant(&BTreeMap::new(), [&replication("files", &json!({}))]));
    }

    #[test]
    fn what_follows_from_a_job() {
        let failed = Seen::Failed("BackoffLimitExceeded".into());
        for (is_whole, job, expected) in [
            (false, Seen::Absent, Next::Apply),
            (false, Seen::Leaving, Next::Wait),
            (false, Seen::Running, Next::Wait),
            (false, failed.clone(), Next::GiveUp("BackoffLimitExceeded".into())),
            // What is done is done, whatever became of those who did it.
            (true, failed, Next::Finish),
            (true, Seen::Absent, Next::Finish),
            (true, Seen::Running, Next::Finish),
        ] {
            assert_eq!(next(is_whole, &job), expected, "{job:?}");
        }
        assert!(matches!(next(false, &Seen::Complete), Next::GiveUp(_)));
    }
}
