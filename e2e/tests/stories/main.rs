//! Stories: what people do with Tripod, and what must not happen while they do. A file a story, each with a
//! department of its own, one after the other, in one lab of three real clusters. `make stories` runs them.

mod attacks;
mod bad_input;
mod bucket_replication;
mod budget;
mod budget_campaign;
mod charts;
mod clouds;
mod cut_link;
mod damaged_pack;
mod dashboards;
mod deleted_drill;
mod fixture;
mod gate;
mod kept_data;
mod killed_operator;
mod lifecycle;
mod lost_vault;
mod one_cluster;
mod policies;
mod power;
mod recovery;
mod replicate;
mod replication_events;
mod replication_jobs;
mod replication_links;
mod retention;
mod scale;
mod schema;
mod stores;
mod supervision;
mod tenancy;
mod utilisation;
