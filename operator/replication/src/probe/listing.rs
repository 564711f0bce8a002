//! The order of a listing. A merge of two listings needs the order of bytes, and every key once.

use super::{Ability, Trial, decided, right};
use crate::StoreError;

/// In the order of their bytes. A store that walks folders lists `d/x` before `d-x`, one that compares as Java or
/// Windows do has the last two the other way round, and one that sorts for people puts `A` beside `a`.
const SORTED: [&str; 11] =
    ["A", "Z/1", "a", "d !", "d-x", "d.x", "d/x", "d0", "\u{e9}", "\u{ff5e}", "\u{1f600}"];
/// So small that there are several.
const PAGE: i32 = 3;

/// The order, and whether a listing starts where it is told.
pub(super) async fn order(trial: &Trial<'_>) -> (Ability, Ability) {
    let base = trial.key("order/");
    let puts = SORTED.iter().map(|name| put(trial, format!("{base}{name}")));
    if let Err(ability) = futures::future::try_join_all(puts).await {
        return (ability, ability);
    }
    let tried = async {
        let listed = pages(trial, &base).await?;
        Ok(right(listed.iter().map(String::as_str).eq(SORTED)))
    };
    let starts = async {
        let starts = (0..SORTED.len()).map(|at| follows(trial, &base, at));
        let all = futures::future::try_join_all(starts).await?;
        Ok(right(all.into_iter().all(|as_told| as_told)))
    };
    let (order, starts) = tokio::join!(tried, starts);
    (decided(order), decided(starts))
}

async fn put(trial: &Trial<'_>, key: String) -> Result<(), Ability> {
    let body = key.clone().into_bytes().into();
    trial.store.put(trial.bucket, &key, body).await.map_err(|error| match error {
        // Ordinary keys: a store that will not have them says nothing about its order.
        StoreError::Unsupported { .. } => Ability::Absent,
        _ => Ability::Unknown,
    })
}

async fn pages(trial: &Trial<'_>, base: &str) -> Result<Vec<String>, Ability> {
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let list = trial.store.once().list_objects_v2().bucket(trial.bucket).prefix(base).max_keys(PAGE);
        let page = list.set_continuation_token(token).send().await.map_err(|e| trial.lacking(&e))?;
        names.extend(page.contents().iter().filter_map(|o| Some(o.key()?.strip_prefix(base)?.to_owned())));
        token = page.next_continuation_token;
        // A store that turns in circles must not hold the probe.
        if token.is_none() || names.len() > SORTED.len() {
            return Ok(names);
        }
    }
}

/// Whether what is listed after a key, and after what would stand right behind it, is the next one.
async fn follows(trial: &Trial<'_>, base: &str, at: usize) -> Result<bool, Ability> {
    let next = SORTED.get(at + 1).copied();
    for after in [format!("{base}{}", SORTED[at]), format!("{base}{}\u{20}", SORTED[at])] {
        let list = trial.store.once().list_objects_v2().bucket(trial.bucket).prefix(base).max_keys(1);
        let page = list.start_after(after).send().await.map_err(|e| trial.lacking(&e))?;
        if page.contents().first().and_then(|o| o.key()?.strip_prefix(base)) != next {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_the_order_of_bytes() {
        assert!(SORTED.is_sorted());
        let (wide, face) = (SORTED[9], SORTED[10]);
        assert!(face.encode_utf16().lt(wide.encode_utf16()), "UTF-16 would have them the other way round");
        // Nothing stands between a key and itself with a space behind it.
        assert!(SORTED.windows(2).all(|two| format!("{} ", two[0]).as_str() < two[1]));
    }
}
