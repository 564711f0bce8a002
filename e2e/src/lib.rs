//! The lab, and what the stories need to be told in it.

pub mod lab;
