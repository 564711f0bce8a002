//! Decisions, and nothing else: what was observed goes in, a plan comes out, and from both the status that
//! follows. No client, no clock, no runtime: the time is an argument, so that every decision can be tabled,
//! replayed and explored.

pub mod backup_policy;
pub mod centre;
pub mod conditions;
pub mod department;
pub mod disaster_recovery_drill;
pub mod duration;
pub mod manifest;
pub mod pull;
pub mod quantity;
pub mod recovery_point;
pub mod restore;
pub mod schedule;
pub mod spec_hash;
pub mod tenancy;
