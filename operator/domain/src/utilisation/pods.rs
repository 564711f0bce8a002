//! From readings of pods to a reading of their namespace, or to the reason why there is none. A sensor that is broken,
//! late, repeats itself or has lost a node must never look like a system that is idle.

use jiff::Timestamp;

use super::{Measured, Readings, slot};

/// A pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    /// It was first seen to run so recently that nobody can have read it twice.
    pub young: bool,
}

/// What a pod used at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodReading {
    pub taken: Timestamp,
    pub cpu: i128,
    pub memory: i128,
}

/// For how many seconds a pod is young.
pub const YOUNG: i64 = 90;

/// One in so many pods may be young and unread: where pods come and go all the time, nothing would ever be known else.
const TOLERATED: usize = 10;

/// Of all pods that run in a namespace; one without any uses nothing, which is known.
pub fn sum(
    pods: &[Pod],
    read: impl Fn(&str) -> Option<PodReading>,
    now: Timestamp,
    interval_seconds: i64,
) -> Readings {
    let (mut cpu, mut memory, mut unread_young) = (0, 0, 0);
    for pod in pods {
        let reading = read(&pod.name).ok_or_else(|| "has no reading yet".to_owned());
        match reading.and_then(|r| slot::is_fresh(r.taken, now, interval_seconds).map(|()| r)) {
            Ok(reading) => (cpu, memory) = (cpu + reading.cpu, memory + reading.memory),
            Err(_) if pod.young => unread_young += 1,
            Err(why) => return unknown(&format!("pod {} runs and {why}", pod.name)),
        }
    }
    if unread_young * TOLERATED > pods.len() {
        return unknown(&format!("{unread_young} of {} pods have just started", pods.len()));
    }
    [(Measured::Cpu, Ok(cpu)), (Measured::Memory, Ok(memory))].into()
}

/// The same where somebody else has added up, and says over how many pods.
#[must_use]
pub fn counted(pods: &[Pod], measured: usize, cpu: Option<i128>, memory: Option<i128>) -> Readings {
    let young = pods.iter().filter(|pod| pod.young).count();
    let unread = pods.len().saturating_sub(measured);
    if unread > young || unread * TOLERATED > pods.len() {
        return unknown(&format!("{measured} of {} running pods have a reading", pods.len()));
    }
    if pods.is_empty() {
        return [(Measured::Cpu, Ok(0)), (Measured::Memory, Ok(0))].into();
    }
    let known = |amount: Option<i128>| amount.ok_or_else(|| "no series".to_owned());
    [(Measured::Cpu, known(cpu)), (Measured::Memory, known(memory))].into()
}

/// Nothing can be said of what pods use.
#[must_use]
pub fn unknown(why: &str) -> Readings {
    [(Measured::Cpu, Err(why.to_owned())), (Measured::Memory, Err(why.to_owned()))].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(old: usize, young: usize) -> Vec<Pod> {
        (0..old + young).map(|i| Pod { name: format!("p{i}"), young: i >= old }).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn cpu(pods: &[Pod], read: impl Fn(usize) -> Option<i64>) -> Result<i128, String> {
        let read = |name: &str| {
            let taken = read(name[1..].parse().unwrap())?;
            Some(PodReading { taken: at(taken), cpu: 2, memory: 3 })
        };
        sum(pods, read, at(0), 60)[&Measured::Cpu].clone()
    }

    #[test]
    fn all_pods_or_nothing() {
        assert_eq!(cpu(&pods(3, 0), |_| Some(-15)), Ok(6));
        assert_eq!(cpu(&[], |_| None), Ok(0));
        // A node is missing: its pods have no reading.
        assert!(cpu(&pods(30, 0), |i| (i != 7).then_some(0)).unwrap_err().contains("p7"));
        // A sensor says the same for an hour.
        assert!(cpu(&pods(3, 0), |_| Some(-3600)).unwrap_err().contains("3600 s old"));
        // A clock is ahead.
        assert!(cpu(&pods(3, 0), |_| Some(300)).unwrap_err().contains("clock"));
    }

    #[test]
    fn young_pods_may_be_unread_if_they_are_few() {
        assert_eq!(cpu(&pods(18, 2), |i| (i < 18).then_some(0)), Ok(36));
        assert!(cpu(&pods(17, 3), |i| (i < 17).then_some(0)).is_err());
        // The only one has just started, and may be at its busiest.
        assert!(cpu(&pods(0, 1), |_| None).is_err());
        assert_eq!(cpu(&pods(0, 1), |_| Some(0)), Ok(2));
    }

    #[test]
    fn sums_of_others_count_their_pods() {
        let cpu = |old, young, measured| {
            counted(&pods(old, young), measured, Some(6), Some(9))[&Measured::Cpu].clone()
        };
        assert_eq!(cpu(3, 0, 3), Ok(6));
        assert!(cpu(3, 0, 2).is_err());
        assert_eq!(cpu(18, 2, 18), Ok(6));
        assert!(cpu(18, 2, 17).is_err());
        assert_eq!(cpu(0, 0, 0), Ok(0));
        // A pod that has just ended may still be counted there.
        assert_eq!(cpu(3, 0, 4), Ok(6));
        assert!(counted(&pods(1, 0), 1, None, None)[&Measured::Cpu].is_err());
    }
}
