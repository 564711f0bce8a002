//! Writes on a condition: what the right to be active, and a copy that overwrites nothing newer, stand on.

use bytes::Bytes;
use futures::future::join_all;

use super::{Ability, Trial, decided, right};
use crate::{Created, StoreError};

/// Writers that race for one key. One, and only one, may win.
const RACERS: usize = 8;
/// Of no content that is written here.
const WRONG: &str = "\"0123456789abcdef0123456789abcdef\"";

/// Creators race; then a write on the condition of an `ETag` that is not there must fail.
pub(super) async fn conditional(trial: &Trial<'_>) -> Result<Ability, StoreError> {
    let Trial { store, bucket, .. } = trial;
    let key = &trial.key("race");
    store.delete(bucket, key).await?;
    let race = (0..RACERS).map(|n| store.put_new(bucket, key, Bytes::from(format!("racer {n}"))));
    let mut won = 0;
    for finish in join_all(race).await {
        match finish {
            Ok(Created::Yes) => won += 1,
            Ok(Created::AlreadyThere) => {}
            Err(StoreError::Unsupported { .. }) => return Ok(Ability::Absent),
            Err(error) => return Err(error),
        }
    }
    let stale = store.once().put_object().bucket(*bucket).key(key).if_match(WRONG);
    let stale = stale.body(Bytes::from_static(b"stale").into()).send().await;
    match stale.map_err(|e| trial.sort(key, &e)) {
        Err(StoreError::Mismatch { .. }) if won == 1 => Ok(Ability::Proven),
        Ok(_) | Err(StoreError::Mismatch { .. }) => Ok(Ability::Refuted),
        Err(StoreError::Unsupported { .. }) => Ok(Ability::Absent),
        // No answer is no proof.
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(Ability::Unknown),
    }
}

/// A store that takes every write would take this one too: the wrong `ETag` must be refused first.
pub(super) async fn overwrites(trial: &Trial<'_>) -> Ability {
    let key = &trial.key("overwrite");
    let put = |body: &'static [u8]| {
        let request = trial.store.once().put_object().bucket(trial.bucket).key(key);
        request.body(Bytes::from_static(body).into())
    };
    let tried = async {
        let first = put(b"first").send().await.map_err(|e| trial.lacking(&e))?;
        match put(b"wrong").if_match(WRONG).send().await.map_err(|e| trial.sort(key, &e)) {
            Err(StoreError::Mismatch { .. }) => {}
            Ok(_) => return Ok(Ability::Refuted),
            Err(error) => return Err(super::lacking(&error)),
        }
        match put(b"second").set_if_match(first.e_tag).send().await.map_err(|e| trial.sort(key, &e)) {
            Ok(_) => {}
            Err(StoreError::Mismatch { .. }) => return Ok(Ability::Refuted),
            Err(error) => return Err(super::lacking(&error)),
        }
        let there = trial.store.get(trial.bucket, key).await.map_err(|e| super::lacking(&e))?;
        Ok(right(there == b"second"[..]))
    };
    decided(tried.await)
}
