//! How one archived object becomes one object in the namespace it is restored into. All of this is pure, and treats
//! what it reads as if an attacker had written it.

pub mod archived;
pub mod differences;
pub mod existing;
pub mod order;
pub mod prepare;
pub mod tally;
