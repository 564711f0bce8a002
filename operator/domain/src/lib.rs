//! Decisions, and nothing else: what was observed goes in, a plan comes out, and from both the status that
//! follows. No client, no clock, no runtime: the time is an argument, so that every decision can be tabled,
//! replayed and explored.

pub mod approvals;
pub mod assessment;
pub mod backup_policy;
pub mod bilingual;
pub mod bucket_event;
pub mod bucket_replication;
pub mod bucket_replication_jobs;
pub mod centre;
pub mod change;
pub mod cloud;
pub mod conditions;
pub mod department;
pub mod disaster_recovery_drill;
pub mod duration;
pub mod explain;
pub mod forecast;
pub mod hooks;
pub mod inspection;
pub mod isolation;
pub mod ledger;
pub mod link;
pub mod manifest;
pub mod master_keys;
pub mod namespace;
pub mod poll;
pub mod proof;
pub mod pull;
pub mod quantity;
pub mod recovery_point;
pub mod resource_request;
pub mod restore;
mod restore_status;
pub mod restoring;
pub mod retention;
pub mod scaling;
pub mod schedule;
pub mod scorecard;
pub mod selection;
pub mod spec_hash;
pub mod supervision_policy;
pub mod tenancy;
pub mod term;
pub mod utilisation;
pub mod volume_snapshots;
