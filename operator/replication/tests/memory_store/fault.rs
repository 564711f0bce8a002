//! Faults on purpose: what a request meets is decided as it comes, by rules that count or by a closure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::content::Flip;
use super::request::{Operation, Request};

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed; nothing was done.
    ConnectionCutBefore,
    /// It is done, and the connection closed without an answer.
    ReplyLost,
    /// Refused with this status (503 as `SlowDown`, else `InternalError`); nothing was done.
    Status(u16),
    /// Headers with the full length, half of the body, and the connection is closed.
    TruncatedBody,
    /// One byte of the body of a GET is another one. `ETag` and checksums are those of what is stored.
    FlippedByte(Flip),
    /// One byte of what was sent is another one when it arrives: `ETag` and checksums are made after.
    FlippedUpload(Flip),
    /// The answer names another `ETag` than the object has.
    WrongETag,
    /// The last entry of the page of a listing is there twice.
    ListDuplicate,
    /// First and last entry of the page of a listing have changed places.
    ListOutOfOrder,
    /// The request is read, and never answered nor done; the connection stays open.
    HalfOpen,
    /// Done after a while.
    Slow(Duration),
    /// A write is refused as `QuotaExceeded` with this status (507, 403); what is no write is done.
    Full(u16),
    /// Refused: the credentials have expired.
    ExpiredToken,
    /// Refused: whoever asks may not do this.
    Denied,
    /// 200, and in the body an error; nothing was done. So S3 answers to a completion that failed late.
    ErrorInside200,
}

/// A request, as those see it who decide on its fault.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub operation: Operation,
    pub bucket: &'a str,
    pub key: &'a str,
    /// From 1, since the plan was last cleared.
    pub number: u64,
    /// From 1, among those of the same operation.
    pub of_operation: u64,
}

type Decide = Box<dyn FnMut(Seen<'_>) -> Option<Fault> + Send>;

struct Rule {
    operation: Option<Operation>,
    /// Requests until it applies; `None`: it always does.
    left: Option<u64>,
    fault: Fault,
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    decide: Option<Decide>,
    seen: u64,
    by_operation: BTreeMap<Operation, u64>,
    applied: Vec<(Operation, Fault)>,
}

/// The faults of a store. Cheap to clone; all clones are the same plan.
#[derive(Clone, Default)]
pub struct Faults {
    /// Without a plan, a request costs one look at this.
    armed: Arc<AtomicBool>,
    plan: Arc<Mutex<Plan>>,
}

impl Faults {
    /// The n-th request from now, from 1, whatever it is.
    pub fn nth(&self, n: u64, fault: Fault) {
        self.add(Rule { operation: None, left: Some(n), fault });
    }

    /// The n-th request from now, from 1, of an operation.
    pub fn nth_of(&self, operation: Operation, n: u64, fault: Fault) {
        self.add(Rule { operation: Some(operation), left: Some(n), fault });
    }

    /// Every request of an operation.
    pub fn every(&self, operation: Operation, fault: Fault) {
        self.add(Rule { operation: Some(operation), left: None, fault });
    }

    /// Every request.
    pub fn all(&self, fault: Fault) {
        self.add(Rule { operation: None, left: None, fault });
    }

    /// Asks for each request that no rule applies to. Replaces the closure before.
    pub fn decide(&self, decide: impl FnMut(Seen<'_>) -> Option<Fault> + Send + 'static) {
        self.with(|plan| plan.decide = Some(Box::new(decide)));
        self.armed.store(true, Ordering::Release);
    }

    /// Nothing goes wrong from now on; counts begin anew.
    pub fn clear(&self) {
        self.armed.store(false, Ordering::Release);
        self.with(|plan| *plan = Plan::default());
    }

    /// What has gone wrong since the plan was last cleared.
    pub fn applied(&self) -> Vec<(Operation, Fault)> {
        self.with(|plan| plan.applied.clone())
    }

    fn add(&self, rule: Rule) {
        self.with(|plan| plan.rules.push(rule));
        self.armed.store(true, Ordering::Release);
    }

    pub(super) fn next(&self, request: &Request) -> Option<Fault> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        self.with(|plan| plan.next(request))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Plan) -> T) -> T {
        act(&mut self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Plan {
    fn next(&mut self, request: &Request) -> Option<Fault> {
        let operation = request.operation;
        self.seen += 1;
        let of_operation = self.by_operation.entry(operation).or_default();
        *of_operation += 1;
        let mut fault = None;
        self.rules.retain_mut(|rule| {
            if rule.operation.is_some_and(|of| of != operation) {
                return true;
            }
            match &mut rule.left {
                None => {
                    fault.get_or_insert_with(|| rule.fault.clone());
                    true
                }
                Some(left) => {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        fault = Some(rule.fault.clone());
                    }
                    *left > 0
                }
            }
        });
        let seen = Seen {
            operation,
            bucket: &request.bucket,
            key: &request.key,
            number: self.seen,
            of_operation: *of_operation,
        };
        let fault = fault.or_else(|| self.decide.as_mut().and_then(|decide| decide(seen)))?;
        self.applied.push((operation, fault.clone()));
        Some(fault)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("armed", &self.armed).finish_non_exhaustive()
    }
}
