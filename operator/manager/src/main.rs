//! The `tripod` binary.

mod files;
mod vault;

fn main() {}
