//! What was measured, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::approval::Latency;
use crate::cost::{Change, Rest};
use crate::fill::Stages;
use crate::meter::WHO;

/// All of it, as it is written to `target/bench/tenancy.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub departments: usize,
    pub systems: usize,
    pub processors: usize,
    /// In order: the first departments, then the rest of them beside the first.
    pub stages: Vec<Stages>,
    pub rests: Vec<Rest>,
    pub changes: Vec<Change>,
    pub approval: Latency,
    /// Bytes at the most, over the whole run.
    pub operator_peak: u64,
    /// How many times the operator was started again.
    pub operator_restarts: usize,
}

impl Report {
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} departments with {} systems each, on {} processors",
            self.departments, self.systems, self.processors
        )?;
        // Without this the cluster's own controllers are the limit, and not the operator.
        writeln!(
            out,
            "kube-controller-manager: 500 requests a second a controller (by default 20), 20 quotas at a time\n"
        )?;
        let mut there = 0;
        for stage in &self.stages {
            writeln!(
                out,
                "From {there} to {} departments ({} systems)",
                there + stage.departments,
                stage.systems
            )?;
            there += stage.departments;
            for (what, seconds) in [
                ("departments created", stage.departments_created),
                ("their home namespaces there", stage.home_namespaces),
                ("departments Ready", stage.departments_ready),
                ("requests created", stage.requests_created),
                ("system namespaces there", stage.system_namespaces),
                ("requests Ready: all is there", stage.requests_ready),
            ] {
                writeln!(out, "  {what:<34} {seconds:>9.1} s")?;
            }
            for who in WHO {
                let cpu = stage.during.cpu_of(who);
                writeln!(
                    out,
                    "  CPU of {who:<27} {cpu:>9.1} s  ({:.2} of a core)",
                    cpu / stage.during.seconds
                )?;
            }
            writeln!(
                out,
                "  {:<34} {:>9}    ({:.0} a second)",
                "writes to the API server",
                stage.during.writes,
                rate(stage.during.writes, stage.during.seconds)
            )?;
            writeln!(
                out,
                "  {:<34} {:>9.1} MiB",
                "operator in memory at the end",
                mebibytes(stage.operator_resident)
            )?;
        }
        self.write_rest(out)
    }

    fn write_rest(&self, out: &mut String) -> std::fmt::Result {
        for rest in &self.rests {
            writeln!(
                out,
                "At rest with {} departments, for {:.0} s (reached after {:.0} s)",
                rest.departments, rest.during.seconds, rest.settled_after
            )?;
            writeln!(out, "  {:<34} {:>9.2} % of a core", "operator", rest.operator_percent())?;
            writeln!(out, "  {:<34} {:>9.1} MiB", "operator in memory", mebibytes(rest.operator_resident))?;
            writeln!(
                out,
                "  {:<34} {:>9.1} a minute",
                "writes, the cluster's own left out",
                rest.writes_per_minute()
            )?;
            for (resource, count) in &rest.during.written {
                writeln!(out, "    {resource:<32} {count:>9}")?;
            }
        }
        for change in &self.changes {
            writeln!(out, "One budget edit among {} departments", change.departments)?;
            writeln!(out, "  {:<34} {:>9.1} ms", "operator CPU", change.operator_milliseconds)?;
            writeln!(out, "  {:<34} {:>9.1}", "reads from the API server", change.reads)?;
            writeln!(out, "  {:<34} {:>9.1}", "writes to the API server", change.writes)?;
            writeln!(out, "  {:<34} {:>9.0} ms", "until Ready (median)", change.milliseconds)?;
        }
        let approval = &self.approval;
        writeln!(
            out,
            "From an approval to a usable namespace, {} times one after the other (p50, p99)",
            approval.samples
        )?;
        for (what, spread) in [
            ("members have their rights", approval.rights),
            ("the quota is enforced", approval.quota),
            ("a member's pod is accepted", approval.pod_accepted),
            ("all of these", approval.usable),
        ] {
            writeln!(out, "  {what:<34} {:>9.0} ms {:>6.0} ms", spread.p50, spread.p99)?;
        }
        writeln!(
            out,
            "Operator: at most {:.1} MiB, {} restarts",
            mebibytes(self.operator_peak),
            self.operator_restarts
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
