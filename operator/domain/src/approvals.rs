//! Who has approved one exact spec. An approval counts for one object (uid), one spec (hash) and one person, who is not
//! the one who asks; what does not count is named with its reason.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use std::collections::BTreeMap;
use tripod_crds::approval::{Subject, SubjectKind, Verdict};
use tripod_crds::resource_request::IgnoredApproval;
use tripod_crds::{Approval, RequestClass, ResourceRequest};

use crate::quantity;

/// How many people have to approve what fits into no class.
pub const WITHOUT_CLASS: i64 = 2;

/// The verdicts on one spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Different people who approve, in the order of their names.
    pub given: Vec<String>,
    pub rejected: Option<String>,
    pub ignored: Vec<IgnoredApproval>,
}

/// Counts the approvals of a request whose spec has this hash.
#[must_use]
pub fn count(request: &ResourceRequest, hash: &str, approvals: &[Approval], now: Timestamp) -> Tally {
    let mut tally = Tally::default();
    let mut sorted: Vec<&Approval> =
        approvals.iter().filter(|a| is_about(&a.spec.subject, request)).collect();
    sorted.sort_by_key(|a| (a.spec.approver.clone(), a.name_any()));
    for approval in sorted {
        if let Some(reason) = flaw(request, hash, approval, now) {
            tally.ignored.push(IgnoredApproval { name: approval.name_any(), reason });
        } else if approval.spec.verdict == Verdict::Rejected {
            let comment = approval.spec.comment.as_deref().unwrap_or_default();
            tally.rejected =
                Some(format!("{}: {comment}", approval.spec.approver).trim_end_matches(": ").to_owned());
        } else if tally.given.contains(&approval.spec.approver) {
            let reason = format!("{} has approved already", approval.spec.approver);
            tally.ignored.push(IgnoredApproval { name: approval.name_any(), reason });
        } else {
            tally.given.push(approval.spec.approver.clone());
        }
    }
    tally
}

fn is_about(subject: &Subject, request: &ResourceRequest) -> bool {
    subject.kind == SubjectKind::ResourceRequest
        && subject.name == request.name_any()
        && Some(&subject.namespace) == request.metadata.namespace.as_ref()
}

fn flaw(request: &ResourceRequest, hash: &str, approval: &Approval, now: Timestamp) -> Option<String> {
    let spec = &approval.spec;
    if Some(&spec.subject.uid) != request.metadata.uid.as_ref() {
        return Some("it is for an earlier request of this name (another uid)".to_owned());
    }
    if spec.subject.spec_hash != hash {
        return Some(format!("it is for another spec ({})", short(&spec.subject.spec_hash)));
    }
    if spec.approver == request.spec.requester {
        return Some("the approver is the requester".to_owned());
    }
    if spec.subject.requester != request.spec.requester {
        return Some(format!(
            "it says that {} asks, and {} does",
            spec.subject.requester, request.spec.requester
        ));
    }
    match &spec.expires_at {
        Some(until) if until.0 <= now => Some(format!("it expired at {}", until.0)),
        _ => None,
    }
}

/// The first digits of a hash, for people.
#[must_use]
pub fn short(hash: &str) -> &str {
    hash.get(..19).unwrap_or(hash)
}

/// The class that applies, and how many people it needs: of those that a request fits into, the one with the fewest.
#[must_use]
pub fn class<'a>(request: &ResourceRequest, classes: &'a [RequestClass]) -> (Option<&'a RequestClass>, i64) {
    let fits = classes.iter().filter(|class| fits(request, class));
    let class = fits.min_by_key(|class| (class.spec.approvals, class.name_any()));
    (class, class.map_or(WITHOUT_CLASS, |class| class.spec.approvals))
}

fn fits(request: &ResourceRequest, class: &RequestClass) -> bool {
    let level = class.spec.security_level.unwrap_or(4);
    let amounts: &BTreeMap<String, Quantity> = &request.spec.resources;
    let within = |(resource, limit): (&String, &Quantity)| {
        let asked = amounts.get(resource).map_or(Ok(0), quantity::parse);
        matches!((asked, quantity::parse(limit)), (Ok(asked), Ok(limit)) if asked <= limit)
    };
    request.spec.system.security_level <= level && class.spec.up_to.iter().all(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource_request::tests::{approval, request};
    use serde_json::json;

    #[test]
    fn what_does_not_count_says_why() {
        let (request, now) = (request(), Timestamp::from_second(1_000_000).unwrap());
        let hash = crate::spec_hash::of(&request.spec).unwrap();
        let good = |who: &str| approval(&request, who);
        let changed = |who: &str, pointer: &str, value: serde_json::Value| {
            let mut object = serde_json::to_value(good(who)).unwrap();
            *object.pointer_mut(pointer).unwrap() = value;
            serde_json::from_value::<Approval>(object).unwrap()
        };
        let mut expired = good("expired");
        expired.spec.expires_at = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        let cases = [
            (changed("uid", "/spec/subject/uid", json!("other")), "another uid"),
            (
                changed("hash", "/spec/subject/specHash", json!(format!("sha256:{}", "0".repeat(64)))),
                "another spec",
            ),
            (good(&request.spec.requester.clone()), "the approver is the requester"),
            (changed("asks", "/spec/subject/requester", json!("somebody")), "somebody asks"),
            (expired, "expired at"),
        ];
        for (approval, why) in cases {
            let tally = count(&request, &hash, &[approval], now);
            assert!(tally.given.is_empty() && tally.ignored[0].reason.contains(why), "{why}: {tally:?}");
        }
        let mut twice = good("a");
        twice.metadata.name = Some("a-again".into());
        let tally = count(&request, &hash, &[good("b"), good("a"), twice], now);
        assert_eq!((tally.given, tally.ignored.len()), (vec!["a".to_owned(), "b".to_owned()], 1));
        let rejected = changed("c", "/spec/verdict", json!("Rejected"));
        assert_eq!(count(&request, &hash, &[good("a"), rejected], now).rejected.as_deref(), Some("c"));
    }

    #[test]
    fn the_class_with_the_fewest_approvals_applies() {
        let class = |name: &str, approvals: i64, cpu: &str, level: i64| -> RequestClass {
            serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "RequestClass",
                "metadata": {"name": name}, "spec": {"approvals": approvals, "upTo": {"requests.cpu": cpu}, "securityLevel": level}}))
            .unwrap()
        };
        let mut request = request();
        let classes = [class("standard", 1, "32", 3), class("small", 0, "4", 2)];
        for (cpu, level, expected, needed) in [
            ("4", 2, Some("small"), 0),
            ("4", 3, Some("standard"), 1),
            ("4001m", 2, Some("standard"), 1),
            ("33", 2, None, 2),
            ("4", 4, None, 2),
        ] {
            request.spec.resources.insert("requests.cpu".into(), Quantity(cpu.into()));
            request.spec.system.security_level = level;
            let (found, approvals) = super::class(&request, &classes);
            assert_eq!(
                (found.map(ResourceExt::name_any).as_deref(), approvals),
                (expected, needed),
                "{cpu} {level}"
            );
        }
    }
}
