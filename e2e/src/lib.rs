//! The lab, and what the demonstration and the stories need to be told in it.

pub mod budget;
pub mod installation;
pub mod kubectl;
pub mod lab;
pub mod system;
