//! Finds the answer: which points, whether they may be read, and what of them.

use std::collections::BTreeSet;

use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::inspection::{Entry, EntryType};
use tripod_crds::{Centre, Inspection};
use tripod_domain::bilingual::both;
use tripod_domain::inspection::{Outcome, Page, Place};
use tripod_domain::manifest::{Part, PointManifest};

use super::buckets;
use crate::context::{Ctx, Error};
use crate::controllers::restore::foreign;
use crate::vault::browse::{Compared, Spot};
use crate::vault::{SystemVault, VaultError, layout};

/// The points of a question, and where they lie.
pub(super) struct Points {
    pub vault: SystemVault,
    pub later: PointManifest,
    /// Present where two are compared.
    pub earlier: Option<PointManifest>,
}

/// Why there is no answer.
pub(super) enum Stop {
    Final(&'static str, String),
    ForNow(String),
}

impl From<VaultError> for Stop {
    fn from(error: VaultError) -> Self {
        let words = error.to_string();
        if error.is_transient() { Self::ForNow(words) } else { Self::Final("VaultUnreadable", words) }
    }
}

pub(super) async fn look(ctx: &Ctx, object: &Inspection, centre: &str) -> Result<Outcome, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let system = object.spec.system.clone().unwrap_or_else(|| namespace.clone());
    let refuse = |reason, message| Ok(Outcome::Refused { reason, message });
    if let Some(words) = foreign(ctx, &system, &namespace) {
        return refuse("ForeignSystem", both(format!("spec.system: {words}"), "spec.system：不属于同一部门"));
    }
    let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    if !centres.iter().any(|c| c.name_any() == centre) {
        let known: Vec<String> = centres.iter().map(ResourceExt::name_any).collect();
        let english = format!("spec.centre: no Centre is named {centre:?}; there are: {}", known.join(", "));
        return refuse("UnknownCentre", both(english, "spec.centre：没有该中心"));
    }
    Ok(match answer(ctx, object, centre, &system).await {
        Ok(outcome) => outcome,
        Err(Stop::Final(reason, message)) => Outcome::Refused { reason, message },
        Err(Stop::ForNow(message)) => Outcome::Failed(message),
    })
}

async fn answer(ctx: &Ctx, object: &Inspection, centre: &str, system: &str) -> Result<Outcome, Stop> {
    let path = object.spec.path.as_deref().unwrap_or_default();
    let place = Place::parse(path).map_err(|words| Stop::Final("InvalidPath", words))?;
    let opened = ctx.stores.vault_at(centre, system).await.map_err(|e| Stop::ForNow(e.to_string()))?;
    let vault = opened.1;
    let later = manifest(&vault, "recoveryPoint", centre, &object.spec.recovery_point).await?;
    let earlier = match &object.spec.since {
        Some(name) => Some(manifest(&vault, "since", centre, name).await?),
        None => None,
    };
    let points = Points { vault, later, earlier };
    let page = Page::new(&object.spec);
    let (page, found) = match &points.earlier {
        Some(_) => compare(&points, &place, page).await?,
        None => list(&points, &place, page).await?,
    };
    if !found {
        let english = format!("spec.path: there is no {path:?} in {}", object.spec.recovery_point);
        return Err(Stop::Final("PathNotFound", both(english, "spec.path：恢复点中没有该路径")));
    }
    page.answer().map(Outcome::Answered).map_err(|words| Stop::Final("InvalidAfter", words))
}

async fn manifest(
    vault: &SystemVault,
    field: &str,
    centre: &str,
    point: &str,
) -> Result<PointManifest, Stop> {
    let found: Option<PointManifest> = vault.read_json(&layout::manifest(&vault.system, point)).await?;
    // The name is a department's word: what lies under it has to say the same.
    let own = found.filter(|manifest| manifest.system == vault.system && manifest.point == point);
    let manifest = own.ok_or_else(|| {
        let english =
            format!("spec.{field}: the vault of {centre} has no point {point:?} of {}", vault.system);
        Stop::Final("PointMissing", both(english, format!("spec.{field}：该中心的保险库中没有此恢复点")))
    })?;
    manifest.check().map_err(|words| Stop::Final("VaultUnreadable", words))?;
    Ok(manifest)
}

async fn list(points: &Points, place: &Place, mut page: Page) -> Result<(Page, bool), Stop> {
    let of = &points.later;
    let volume = |claim: &str| of.volumes.get(claim).map(|part| part.snapshot.clone());
    let (snapshot, spot) = match place {
        Place::Top | Place::Volumes | Place::Buckets => {
            parts(of, place, &mut page)?;
            return Ok((page, true));
        }
        Place::Bucket(bucket, prefix) => return buckets::list(points, bucket, prefix, page).await,
        Place::Objects(below) => (of.objects.as_ref().map(|part| part.snapshot.clone()), objects(below)),
        Place::Volume(claim, below) => (volume(claim), in_volume(claim, below)),
    };
    match snapshot {
        Some(snapshot) => Ok(points.vault.of_point(of)?.browse(&snapshot, spot, page).await?),
        None => Ok((page, false)),
    }
}

/// What the manifest says of whole parts.
fn parts(of: &PointManifest, place: &Place, page: &mut Page) -> Result<(), Stop> {
    let mut all = Vec::new();
    if *place == Place::Top {
        all.extend(of.objects.iter().map(|part| ("objects".to_owned(), part.files, part.bytes)));
    }
    if *place != Place::Buckets {
        all.extend(of.volumes.iter().map(|(name, part)| (format!("volumes/{name}"), part.files, part.bytes)));
    }
    if *place != Place::Volumes {
        all.extend(
            of.buckets.iter().map(|(name, part)| (format!("buckets/{name}"), part.objects, part.bytes)),
        );
    }
    for (path, files, size) in all {
        page.take(&path, None, || {
            let entry = Entry::new(&path, EntryType::Directory);
            Ok::<_, Stop>(Entry { files: Some(files), size: Some(size), ..entry })
        })?;
    }
    Ok(())
}

async fn compare(points: &Points, place: &Place, mut page: Page) -> Result<(Page, bool), Stop> {
    let Some(earlier) = &points.earlier else { return Ok((page, false)) };
    let later = &points.later;
    let snapshot = |part: Option<&Part>| part.map(|part| part.snapshot.clone());
    let mut spots = Vec::new();
    if matches!(place, Place::Top) {
        spots.push(Place::Objects(Vec::new()));
    }
    if matches!(place, Place::Top | Place::Volumes) {
        let claims: BTreeSet<&String> = earlier.volumes.keys().chain(later.volumes.keys()).collect();
        spots.extend(claims.into_iter().map(|claim| Place::Volume(claim.clone(), Vec::new())));
    }
    if matches!(place, Place::Top | Place::Buckets) {
        let names: BTreeSet<&String> = earlier.buckets.keys().chain(later.buckets.keys()).collect();
        spots.extend(names.into_iter().map(|bucket| Place::Bucket(bucket.clone(), String::new())));
    }
    let whole = matches!(place, Place::Top | Place::Volumes | Place::Buckets);
    if !whole {
        spots.push(place.clone());
    }
    let (mut parts, mut buckets_of) = (Vec::new(), Vec::new());
    for spot in spots {
        let (pair, spot) = match spot {
            Place::Objects(below) => ((earlier.objects.as_ref(), later.objects.as_ref()), objects(&below)),
            Place::Volume(claim, below) => {
                ((earlier.volumes.get(&claim), later.volumes.get(&claim)), in_volume(&claim, &below))
            }
            Place::Bucket(bucket, prefix) => {
                buckets_of.push((bucket, prefix));
                continue;
            }
            Place::Top | Place::Volumes | Place::Buckets => continue,
        };
        parts.push(Compared { earlier: snapshot(pair.0), later: snapshot(pair.1), spot });
    }
    let mut found = whole;
    let mut there;
    // A point of buckets alone has no repository.
    if parts.iter().any(|part| part.earlier.is_some() || part.later.is_some()) {
        (page, there) = repository_of_both(points, earlier)?.compare(parts, page).await?;
        found |= there;
    }
    for (bucket, prefix) in buckets_of {
        (page, there) = buckets::compare(points, &bucket, &prefix, page).await?;
        found |= there;
    }
    Ok((page, found))
}

/// Trees and contents have other names in every repository: only those of one can be compared.
fn repository_of_both(points: &Points, earlier: &PointManifest) -> Result<SystemVault, Stop> {
    match (earlier.key(), points.later.key()) {
        (Some(one), Some(other)) if one != other => {
            let english = format!(
                "spec.since: {} was made with master key {one}, and {} with {other}: what lies in two repositories can't be \
                 compared; look at each, or compare their buckets",
                earlier.point, points.later.point
            );
            Err(Stop::Final("OtherKey", both(english, "spec.since：两个恢复点使用不同的主密钥，无法比较")))
        }
        (Some(_), None) => Ok(points.vault.of_point(earlier)?),
        _ => Ok(points.vault.of_point(&points.later)?),
    }
}

fn objects(below: &[String]) -> Spot {
    Spot { title: "objects".to_owned(), below: below.to_vec(), documents: true }
}

fn in_volume(claim: &str, below: &[String]) -> Spot {
    Spot { title: format!("volumes/{claim}"), below: below.to_vec(), documents: false }
}
