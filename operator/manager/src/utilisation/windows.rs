//! The reports over the window, kept in mind: one in each namespace. A request is woken when its own changes.

use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tripod_crds::UtilisationReport;
use tripod_crds::utilisation_report::Period;
use tripod_domain::utilisation::report::PERIOD;

use crate::context::Ctx;

/// Watches for as long as it is polled.
pub async fn watch(ctx: Arc<Ctx>, writer: Writer<UtilisationReport>) {
    let only = watcher::Config::default().labels(&format!("{PERIOD}={:?}", Period::Window));
    let reports = watcher(Api::<UtilisationReport>::all(ctx.client.clone()), only)
        .default_backoff()
        .modify(|report| report.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects();
    let mut reports = std::pin::pin!(reports);
    while let Some(report) = reports.next().await {
        match report {
            Ok(report) => ctx.tenancy.wake_request_of(&report.namespace().unwrap_or_default()),
            Err(error) => tracing::debug!(%error, "the watch of reports"),
        }
    }
}
