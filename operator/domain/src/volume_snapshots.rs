//! Snapshots of volumes that a storage driver makes: which claims are read from one, of which class, and how far each is.
//! Pure.
//!
//! A snapshot is taken in the department's own namespace, and a claim made from it is what the mover reads; both go before the
//! point is whole. Source of the rules: [Kubernetes, Volume Snapshots](https://kubernetes.io/docs/concepts/storage/volume-snapshots/).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tripod_crds::backup_policy::VolumeSnapshots;
use tripod_crds::recovery_point::SnapshotOf;

/// `apiVersion` of snapshots and their classes.
pub const API_VERSION: &str = "snapshot.storage.k8s.io/v1";
/// The label by which a platform says which class of a driver is for recovery points, with the value `true`.
pub const CLASS_LABEL: &str = "tripod.cloud/volume-snapshots";
/// The annotation of Kubernetes that names the class that is taken where none is named.
const DEFAULT: &str = "snapshot.storage.kubernetes.io/is-default-class";
/// A snapshot that can't be used after this long will not be: hooks keep the system quiet meanwhile.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// A class of snapshots, as the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub name: String,
    pub driver: String,
    pub labelled: bool,
    pub is_default: bool,
}

impl Class {
    /// Of an object; none where it names no driver.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let metadata = &object["metadata"];
        Some(Self {
            name: metadata["name"].as_str()?.to_owned(),
            driver: object["driver"].as_str()?.to_owned(),
            labelled: metadata["labels"][CLASS_LABEL] == json!("true"),
            is_default: metadata["annotations"][DEFAULT] == json!("true"),
        })
    }
}

/// What a claim is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    pub class: Option<String>,
    /// The driver of that class, where it can be read.
    pub driver: Option<String>,
    /// Its capacity, as Kubernetes writes quantities.
    pub size: String,
}

/// The class for a driver: the one that is labelled for it, else the default one, else the only one.
///
/// # Errors
/// Why there is none.
pub fn class_for<'c>(driver: &str, classes: &'c [Class]) -> Result<&'c Class, String> {
    let of_driver: Vec<&Class> = classes.iter().filter(|class| class.driver == driver).collect();
    for is_meant in [|class: &&&Class| class.labelled, |class: &&&Class| class.is_default, |_: &&&Class| true]
    {
        let meant: Vec<&&Class> = of_driver.iter().filter(is_meant).collect();
        match meant.as_slice() {
            [] => {}
            [one] => return Ok(one),
            many => {
                let names = many.iter().map(|class| class.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "driver {driver} has several VolumeSnapshotClasses ({names}); label one of them {CLASS_LABEL}=true"
                ));
            }
        }
    }
    Err(format!("driver {driver} has no VolumeSnapshotClass"))
}

/// Of these claims, those that are read from a snapshot.
///
/// # Errors
/// Where all have to be, the claim that can't, and why.
pub fn choose(
    wish: VolumeSnapshots,
    claims: &[String],
    storage: &BTreeMap<String, Storage>,
    classes: &[Class],
) -> Result<Vec<SnapshotOf>, String> {
    let mut chosen = Vec::new();
    if wish == VolumeSnapshots::Never {
        return Ok(chosen);
    }
    for claim in claims {
        match offer(claim, storage, classes) {
            Ok(snapshot) => chosen.push(snapshot),
            Err(why) if wish == VolumeSnapshots::Always => {
                return Err(format!(
                    "spec.include.volumeSnapshots is Always, and claim {claim} has none: {why}"
                ));
            }
            Err(_) => {}
        }
    }
    Ok(chosen)
}

fn offer(claim: &str, storage: &BTreeMap<String, Storage>, classes: &[Class]) -> Result<SnapshotOf, String> {
    let of = storage.get(claim).ok_or("it is not known what it is made of")?;
    let driver = of.driver.as_ref().ok_or("its StorageClass is not known")?;
    Ok(SnapshotOf {
        claim: claim.to_owned(),
        snapshot_class: class_for(driver, classes)?.name.clone(),
        storage_class: of.class.clone(),
        size: of.size.clone(),
    })
}

/// How far the snapshot of a claim is, and whether the claim that was made from it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub state: State,
    pub clone: bool,
}

impl Seen {
    /// Nothing of it is there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state == State::Absent && !self.clone
    }
}

/// How far a snapshot is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Absent,
    /// Asked for.
    Pending,
    /// It can be read.
    Ready,
    /// It will not be; with the driver's words.
    Failed(String),
}

/// The state that an object tells. Errors of drivers may go away by themselves: they count when time is up.
#[must_use]
pub fn state(snapshot: &Value, now: Timestamp) -> State {
    let status = &snapshot["status"];
    if status["readyToUse"] == json!(true) {
        return State::Ready;
    }
    let asked: Option<Timestamp> =
        snapshot["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse().ok());
    if asked.is_none_or(|asked| now.duration_since(asked) <= PATIENCE) {
        return State::Pending;
    }
    let words = status["error"]["message"].as_str().unwrap_or("its driver says nothing; see its logs");
    State::Failed(format!("no snapshot after {} min: {words}", PATIENCE.as_mins()))
}

/// The name of the snapshot of a claim, and of the claim made from it: the same for the same point, and never too long.
#[must_use]
pub fn name(point: &str, claim: &str) -> String {
    format!("tripod-{}", hex::encode(&Sha256::digest(format!("{point}/{claim}"))[..8]))
}

/// What both are called and belong to: they go with the point, if nobody removes them before.
fn metadata(namespace: &str, point: (&str, &str), of: &SnapshotOf) -> Value {
    let (name_of_point, uid) = point;
    json!({
        "name": name(name_of_point, &of.claim),
        "namespace": namespace,
        "labels": {"app.kubernetes.io/managed-by": "tripod"},
        "annotations": {"tripod.cloud/snapshot-of": of.claim},
        "ownerReferences": [{"apiVersion": "tripod.cloud/v1alpha1", "kind": "RecoveryPoint", "name": name_of_point, "uid": uid}],
    })
}

/// The snapshot of a claim, for a point of this name and UID.
#[must_use]
pub fn snapshot(namespace: &str, point: (&str, &str), of: &SnapshotOf) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "VolumeSnapshot",
        "metadata": metadata(namespace, point, of),
        "spec": {"volumeSnapshotClassName": of.snapshot_class, "source": {"persistentVolumeClaimName": of.claim}},
    })
}

/// The claim that a mover reads.
#[must_use]
pub fn clone(namespace: &str, point: (&str, &str), of: &SnapshotOf) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": metadata(namespace, point, of),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": of.size}},
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name(point.0, &of.claim)},
        },
    });
    if let Some(class) = &of.storage_class {
        claim["spec"]["storageClassName"] = json!(class);
    }
    claim
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, driver: &str, labelled: bool, is_default: bool) -> Class {
        Class { name: name.into(), driver: driver.into(), labelled, is_default }
    }

    #[test]
    fn the_class_is_the_labelled_one_then_the_default_then_the_only_one() {
        let (plain, default) = (class("plain", "d", false, false), class("default", "d", false, true));
        let (ours, other) = (class("ours", "d", true, false), class("other", "e", true, true));
        let of = |classes: &[&Class]| {
            let classes: Vec<Class> = classes.iter().map(|class| (*class).clone()).collect();
            class_for("d", &classes).map(|class| class.name.clone())
        };
        assert_eq!(of(&[&other, &plain]).unwrap(), "plain");
        assert_eq!(of(&[&plain, &default]).unwrap(), "default");
        assert_eq!(of(&[&plain, &default, &ours]).unwrap(), "ours");
        assert!(of(&[&other]).unwrap_err().contains("no VolumeSnapshotClass"));
        let many = of(&[&plain, &class("second", "d", false, false)]).unwrap_err();
        assert!(many.contains("plain, second") && many.contains(CLASS_LABEL), "{many}");
    }

    #[test]
    fn a_wish_decides_what_becomes_of_a_claim_without() {
        let storage = |driver: Option<&str>| Storage {
            class: Some("fast".into()),
            driver: driver.map(Into::into),
            size: "1Gi".into(),
        };
        let storage = BTreeMap::from([("a".to_owned(), storage(Some("d"))), ("b".to_owned(), storage(None))]);
        let claims = ["a".to_owned(), "b".to_owned()];
        let classes = [class("plain", "d", false, false)];
        let chosen = |wish| choose(wish, &claims, &storage, &classes);
        assert_eq!(chosen(VolumeSnapshots::Never), Ok(Vec::new()));
        let some = chosen(VolumeSnapshots::WhereSupported).unwrap();
        assert_eq!(some.iter().map(|of| of.claim.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(chosen(VolumeSnapshots::Always).unwrap_err().contains("claim b"));
    }

    #[test]
    fn what_is_not_ready_fails_when_its_time_is_up() {
        let asked = "2026-11-28T05:00:00Z";
        let now = |minutes| asked.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes);
        let of = |status: Value| json!({"metadata": {"creationTimestamp": asked}, "status": status});
        let error = of(json!({"readyToUse": false, "error": {"message": "no space"}}));
        assert_eq!(state(&of(json!({"readyToUse": true})), now(60)), State::Ready);
        assert_eq!(state(&error, now(9)), State::Pending);
        assert!(matches!(state(&error, now(11)), State::Failed(words) if words.contains("no space")));
        assert!(matches!(state(&of(Value::Null), now(11)), State::Failed(_)));
    }

    #[test]
    fn both_belong_to_the_point_and_to_nobody_elses() {
        let of = SnapshotOf {
            claim: "data".into(),
            snapshot_class: "plain".into(),
            storage_class: Some("fast".into()),
            size: "1Gi".into(),
        };
        let (snapshot, clone) = (snapshot("tax", ("p", "u"), &of), clone("tax", ("p", "u"), &of));
        assert_eq!(snapshot["metadata"], clone["metadata"]);
        assert_eq!(clone["spec"]["dataSource"]["name"], snapshot["metadata"]["name"]);
        assert_eq!(clone["spec"]["storageClassName"], "fast");
        assert!(crate::selection::is_left_out(&clone), "no point has it among its objects");
        assert_ne!(name("p", "data"), name("q", "data"));
    }
}
