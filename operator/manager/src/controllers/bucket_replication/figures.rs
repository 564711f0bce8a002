//! What a run has done, as the status and decisions want it.

use tripod_domain::bucket_replication::Figures;
use tripod_replication::engine::Report;

/// When a run is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Running,
    Ended,
}

/// Of a report.
pub(super) fn figures(report: &Report, moment: Moment) -> Figures {
    let lag = match moment {
        Moment::Ended if report.failed == 0 => Some(0),
        Moment::Running | Moment::Ended => report.lag_left,
    };
    Figures {
        listed: report.listed,
        wanted: report.wanted,
        wanted_bytes: report.wanted_bytes,
        copied: report.copied,
        copied_bytes: report.copied_bytes,
        deleted: report.deleted,
        failed: report.failed,
        drifted: report.drifted,
        foreign: report.foreign,
        fuse: report.fuse,
        lag: lag.map(|milliseconds| milliseconds / 1000),
        // A key may hold anything, and be long.
        trouble: report.troubles.first().map(|trouble| {
            let text = format!("{:?}: {}", trouble.key, trouble.reason);
            text.chars().take(400).collect()
        }),
    }
}
