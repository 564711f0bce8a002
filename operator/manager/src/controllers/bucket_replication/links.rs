//! One limiter for each link between two centres, shared by all runs over it, and kept to its timetable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::Centre;
use tripod_domain::link::{self, Limits};
use tripod_replication::fair::Link;

use crate::context::Ctx;

/// How often links are looked at: a timetable is kept to within this.
const LOOK: Duration = Duration::from_secs(20);

/// All links that were used since the process began, by the centres that they come from and lead to.
#[derive(Debug, Default)]
pub struct Links(Mutex<HashMap<(String, String), Link>>);

impl Links {
    /// The link from a centre to another one, with the limits that hold now.
    ///
    /// # Errors
    /// Names the Centre, and the field that can't be read.
    pub(super) fn between(&self, from: &str, to: &Centre, now: Timestamp) -> Result<Link, String> {
        let limits = limits(from, to, now)?;
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry((from.to_owned(), to.name_any())).or_default();
        link.set(limits.bytes, limits.requests);
        Ok(link.clone())
    }

    /// Keeps all links to what Centres say now. What can't be read leaves a link as it was.
    fn adjust(&self, centres: &[Centre], now: Timestamp) {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((from, to), link) in links.iter() {
            let Some(centre) = centres.iter().find(|centre| centre.name_any() == *to) else { continue };
            match limits(from, centre, now) {
                Ok(limits) => link.set(limits.bytes, limits.requests),
                Err(error) => tracing::warn!(error, "the limits of a link stay as they are"),
            }
        }
    }
}

fn limits(from: &str, to: &Centre, now: Timestamp) -> Result<Limits, String> {
    link::limits(&to.spec.links, from, now).map_err(|error| format!("Centre {}: {error}", to.name_any()))
}

/// Adjusts links for as long as it is polled.
pub(super) async fn keep(ctx: &Ctx) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await {
            Ok(centres) => ctx.links.adjust(&centres.items, Timestamp::now()),
            Err(error) => tracing::warn!(%error, "the limits of links can't be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn centre(links: &serde_json::Value) -> Centre {
        let spec = serde_json::json!({"role": "Remote", "city": "west", "links": links, "store": {"endpoint": "https://s",
            "region": "r", "bucket": "vault", "credentialsSecretRef": {"name": "store"}}});
        Centre::new("remote", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_link_is_one_and_follows_its_timetable() {
        let hours = |zone: &str| {
            let hours = serde_json::json!({"from": "08:00", "until": "18:00", "timeZone": zone, "requestsPerSecond": 1});
            centre(&serde_json::json!([{"from": "production", "bandwidth": "1k", "hours": [hours]}]))
        };
        let right = hours("Asia/Shanghai");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (noon, night) = (at("2026-11-26T12:00:00+08:00"), at("2026-11-26T20:00:00+08:00"));
        let links = Links::default();
        let first = links.between("production", &right, night).unwrap();
        assert_eq!(first.limits(), (Some(1000), None));
        links.adjust(std::slice::from_ref(&right), noon);
        assert_eq!(first.limits(), (Some(1000), Some(1)));
        // The same one, whoever asks for it; others have nothing to do with it.
        links.between("production", &right, night).unwrap();
        assert_eq!(first.limits(), (Some(1000), None));
        assert_eq!(links.between("same-city", &right, noon).unwrap().limits(), (None, None));
        let wrong = hours("Mars");
        links.adjust(std::slice::from_ref(&wrong), noon);
        assert_eq!(first.limits(), (Some(1000), None), "as it was");
        let error = links.between("production", &wrong, noon).unwrap_err();
        assert!(error.starts_with("Centre remote: spec.links[0].hours[0].timeZone"), "{error}");
    }
}
