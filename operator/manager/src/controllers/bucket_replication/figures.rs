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
        left_out: report.left_out,
        not_kept: not_kept(report),
        lag: lag.map(|milliseconds| milliseconds / 1000),
        // A key may hold anything, and be long.
        trouble: report.troubles.first().map(|trouble| {
            let text = format!("{:?}: {}", trouble.key, trouble.reason);
            text.chars().take(400).collect()
        }),
    }
}

/// What was known before, and what was counted.
fn not_kept(report: &Report) -> Vec<String> {
    let notes = report.notes.iter().map(|note| note.text().to_owned());
    let counted = [
        (report.lost_tags, "lost their tags: a store keeps none"),
        (report.lost_storage_class, "are not of the storage class that they had"),
        (report.lost_lock, "were locked against deletion, and at the target are not"),
        (report.missing, "versions are missing below newer ones, and can't be put back"),
    ];
    let counted = counted.into_iter().filter(|(count, _)| *count > 0);
    notes.chain(counted.map(|(count, what)| format!("{count} {what}"))).collect()
}

#[cfg(test)]
mod tests {
    use tripod_replication::engine::Note;

    use super::*;

    #[test]
    fn what_is_lost_is_said_and_counted() {
        assert!(figures(&Report::default(), Moment::Ended).not_kept.is_empty());
        let report = Report { lost_lock: 2, left_out: 3, notes: vec![Note::NoTags], ..Report::default() };
        let figures = figures(&report, Moment::Ended);
        assert_eq!(figures.left_out, 3);
        assert_eq!(
            figures.not_kept,
            [Note::NoTags.text(), "2 were locked against deletion, and at the target are not"]
        );
    }
}
