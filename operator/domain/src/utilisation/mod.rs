//! What was asked for, granted and really used: readings become figures of a period, exactly and in bounded memory, and
//! figures over a window become a verdict. No reading is not a zero: it lowers the coverage, and without enough of that
//! nothing is said.

pub mod book;
pub mod evaluation;
pub mod outlook;
pub mod pods;
pub mod report;
pub mod slot;
pub mod tally;
pub mod verdict;

use std::collections::BTreeMap;

use crate::ledger::Amounts;

/// What is measured. Amounts are in billionths of the unit, as everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measured {
    /// Cores.
    Cpu,
    /// Bytes of the working set.
    Memory,
    /// Bytes on volumes.
    Storage,
    /// Whole devices, kept busy.
    Gpu,
    /// Bytes in the buckets that are tagged with the system.
    BucketBytes,
    /// Objects in them.
    BucketObjects,
}

impl Measured {
    pub const ALL: [Self; 6] =
        [Self::Cpu, Self::Memory, Self::Storage, Self::Gpu, Self::BucketBytes, Self::BucketObjects];

    /// The name in reports and policies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Storage => "storage",
            Self::Gpu => "gpu",
            Self::BucketBytes => "bucketBytes",
            Self::BucketObjects => "bucketObjects",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measured| measured.name() == name)
    }

    /// The smallest part that an average is rounded to: a millionth of a core or device, a whole byte or object.
    #[must_use]
    pub fn grain(self) -> i128 {
        match self {
            Self::Cpu | Self::Gpu => 1_000,
            _ => 1_000_000_000,
        }
    }

    /// The name in quotas and requests that bounds it, out of these: `requests.cpu` rather than `limits.cpu`, since a
    /// grant is what is set aside. Nothing bounds what is in buckets.
    #[must_use]
    pub fn bounded_by(self, amounts: &Amounts) -> Option<&String> {
        let known: &[&str] = match self {
            Self::Cpu => &["requests.cpu", "cpu", "limits.cpu"],
            Self::Memory => &["requests.memory", "memory", "limits.memory"],
            Self::Storage => &["requests.storage"],
            Self::Gpu => {
                return amounts.keys().find(|key| key.starts_with("requests.") && key.ends_with("/gpu"));
            }
            Self::BucketBytes | Self::BucketObjects => return None,
        };
        known.iter().find_map(|name| amounts.get_key_value(*name)).map(|(name, _)| name)
    }

    /// The amount of these that bounds it.
    #[must_use]
    pub fn of(self, amounts: &Amounts) -> Option<i128> {
        amounts.get(self.bounded_by(amounts)?).copied()
    }
}

/// What was read of one namespace at one time. What is not in it, or is an error, is unknown.
pub type Readings = BTreeMap<Measured, Result<i128, String>>;

/// The sum over namespaces: unknown where one of them is.
#[must_use]
pub fn sum<'a>(all: &(impl Iterator<Item = (&'a str, Option<&'a Readings>)> + Clone)) -> Readings {
    let one = |measured: Measured| {
        let each = all.clone().map(|(namespace, readings)| match readings.and_then(|r| r.get(&measured)) {
            Some(Ok(amount)) => Ok(*amount),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("{namespace} has no reading")),
        });
        (measured, each.sum::<Result<i128, String>>())
    };
    // What nobody has is not measured at all.
    let somewhere =
        |m: &Measured| all.clone().any(|(_, readings)| readings.is_some_and(|r| r.contains_key(m)));
    Measured::ALL.into_iter().filter(somewhere).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(pairs: &[(&str, i128)]) -> Amounts {
        pairs.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    #[test]
    fn what_bounds_a_measure_is_what_is_set_aside() {
        let both = amounts(&[("limits.cpu", 8), ("requests.cpu", 4), ("requests.nvidia.com/gpu", 1)]);
        assert_eq!(Measured::Cpu.of(&both), Some(4));
        assert_eq!(Measured::Cpu.of(&amounts(&[("limits.cpu", 8)])), Some(8));
        assert_eq!(Measured::Gpu.of(&both), Some(1));
        assert_eq!(Measured::Memory.of(&both), None);
        assert_eq!(Measured::BucketBytes.of(&both), None);
    }

    #[test]
    fn a_sum_is_known_only_if_all_are() {
        let known: Readings = [(Measured::Cpu, Ok(2)), (Measured::Memory, Ok(5))].into();
        let half: Readings = [(Measured::Cpu, Ok(1)), (Measured::Memory, Err("no reading".into()))].into();
        let two = [("a", Some(&known)), ("b", Some(&half))];
        let total = sum(&two.into_iter());
        assert_eq!(total[&Measured::Cpu], Ok(3));
        assert!(total[&Measured::Memory].is_err());
        assert!(!total.contains_key(&Measured::Gpu));
        assert!(sum(&[("a", Some(&known)), ("c", None)].into_iter())[&Measured::Cpu].is_err());
    }
}
