//! What is written in parts. A copy that keeps the `ETag` must read the parts as they were written, and write them so.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use md5::{Digest, Md5};

use super::{Ability, Trial, decided, right};
use crate::{Store, StoreError};

/// What AWS asks of every part but the last.
const LEAST: usize = 5 << 20;

pub(super) struct Parts {
    pub(super) etags: Ability,
    pub(super) reads: Ability,
    pub(super) uneven: Ability,
    pub(super) small: Ability,
}

/// Tries small parts first: where they are taken nothing else need be sent.
pub(super) async fn parts(trial: &Trial<'_>) -> Parts {
    let small = contents([11, 12, 3]);
    let key = trial.key("small-parts");
    let refused = match upload(trial, &key, &small).await {
        Ok(()) => return examine(trial, &key, &small, Ability::Proven).await,
        Err(error) => super::lacking(&error),
    };
    let large = contents([LEAST, LEAST + 1, 3]);
    let key = trial.key("parts");
    match upload(trial, &key, &large).await {
        Ok(()) => examine(trial, &key, &large, refused).await,
        Err(error) => {
            let lacking = super::lacking(&error);
            Parts { etags: lacking, reads: lacking, uneven: lacking, small: refused }
        }
    }
}

/// Bytes that are not all the same, so that a part is not taken for another.
fn contents(of: [usize; 3]) -> [Bytes; 3] {
    of.map(|size| (0..=250).cycle().skip(size % 251).take(size).collect())
}

async fn examine(trial: &Trial<'_>, key: &str, parts: &[Bytes; 3], small: Ability) -> Parts {
    let (etags, reads) = tokio::join!(etag(trial, key, parts), reads(trial, key, parts));
    Parts { etags, reads, uneven: Ability::Proven, small }
}

async fn etag(trial: &Trial<'_>, key: &str, parts: &[Bytes; 3]) -> Ability {
    let mut all = Md5::new();
    for part in parts {
        all.update(Md5::digest(part));
    }
    let composed = format!("{}-{}", hex::encode(all.finalize()), parts.len());
    match trial.store.head(trial.bucket, key).await {
        Ok(head) => right(head.is_some_and(|head| head.etag == composed)),
        Err(error) => super::lacking(&error),
    }
}

/// By length alone where a part is large: a store that does not know the parameter gives the whole.
async fn reads(trial: &Trial<'_>, key: &str, parts: &[Bytes; 3]) -> Ability {
    let tried = async {
        for (number, part) in (1..).zip(parts) {
            let get = trial.store.once().get_object().bucket(trial.bucket).key(key).part_number(number);
            let reply = get.send().await.map_err(|e| trial.lacking(&e))?;
            let length = reply.content_length().and_then(|n| usize::try_from(n).ok());
            if length != Some(part.len()) {
                return Ok(Ability::Refuted);
            }
            if part.len() < LEAST {
                let body = reply.body.collect().await.map_err(|_| Ability::Unknown)?;
                if body.into_bytes() != *part {
                    return Ok(Ability::Refuted);
                }
            }
        }
        Ok(Ability::Proven)
    };
    decided(tried.await)
}

/// One object of these parts. What can't be finished is aborted: parts of it would stay, and be paid for.
async fn upload(trial: &Trial<'_>, key: &str, parts: &[Bytes; 3]) -> Result<(), StoreError> {
    let once = trial.store.once();
    let sent = once.create_multipart_upload().bucket(trial.bucket).key(key).send().await;
    let id = sent.map_err(|e| trial.sort(key, &e))?.upload_id.unwrap_or_default();
    let finished = async {
        let mut done = Vec::new();
        for (number, part) in (1..).zip(parts) {
            let put = once.upload_part().bucket(trial.bucket).key(key).upload_id(&id).part_number(number);
            let put = put.body(part.clone().into()).customize();
            let sent = put.config_override(Store::for_body(part.len())).send().await;
            let etag = sent.map_err(|e| trial.sort(key, &e))?.e_tag;
            done.push(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
        }
        let done = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
        let complete = once.complete_multipart_upload().bucket(trial.bucket).key(key).upload_id(&id);
        complete.multipart_upload(done).send().await.map_err(|e| trial.sort(key, &e))?;
        Ok(())
    };
    let finished = finished.await;
    if finished.is_err() {
        let _ = once.abort_multipart_upload().bucket(trial.bucket).key(key).upload_id(&id).send().await;
    }
    finished
}

/// Also those of an upload whose beginning was answered too late.
pub(super) async fn abort_all(trial: &Trial<'_>) {
    let client = trial.store.client();
    let list = client.list_multipart_uploads().bucket(trial.bucket).prefix(trial.base);
    let Ok(open) = list.send().await else { return };
    for upload in open.uploads().iter().filter(|u| u.key().is_some_and(|k| k.starts_with(trial.base))) {
        let abort = client.abort_multipart_upload().bucket(trial.bucket);
        let _ = abort.set_key(upload.key.clone()).set_upload_id(upload.upload_id.clone()).send().await;
    }
}
