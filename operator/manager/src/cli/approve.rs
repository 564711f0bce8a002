//! `approve` and `reject`: a verdict on a request exactly as it stands. What is refused here is refused early, with a
//! clear word; it is the API server that enforces it.

use std::time::Duration;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};
use tripod_crds::approval::{ApprovalSpec, Subject, SubjectKind, Verdict};
use tripod_crds::{Approval, ResourceRequest};
use tripod_domain::explain::{self, Line};
use tripod_domain::{duration, spec_hash};

use super::{Connection, Speech, print, table};

/// How long a request that was just written may take until the operator has looked at it, and how often to ask.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);

/// `approve`
pub const APPROVE: Verdict = Verdict::Approved;
/// `reject`
pub const REJECT: Verdict = Verdict::Rejected;

/// What is judged, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the ResourceRequest.
    name: String,
    /// Its namespace. Without it that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Why; everybody who may read the verdict reads it.
    #[arg(long, value_parser = comment)]
    comment: Option<String>,
    /// The verdict counts only for so long, for instance 72h. What was granted by then stays granted.
    #[arg(long, value_parser = lifetime, value_name = "DURATION")]
    expires_in: Option<SignedDuration>,
    /// Refuse unless the request has this hash: what was read is what is judged. At least its first 12 digits.
    #[arg(long, value_parser = hash_start)]
    hash: Option<String>,
    /// The operator's namespace, in which approvals are given.
    #[arg(long, default_value = "tripod-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

fn lifetime(text: &str) -> Result<SignedDuration, String> {
    let lifetime = duration::parse(text)?;
    if lifetime.is_zero() { Err("it would never count".to_owned()) } else { Ok(lifetime) }
}

fn comment(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0..=1024 => Ok(text.to_owned()),
        n => Err(format!("it has {n} characters; 1024 are allowed")),
    }
}

fn hash_start(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    let is_hash =
        (12..=64).contains(&digits.len()) && digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    if is_hash { Ok(text.to_owned()) } else { Err("write it like sha256:0123456789ab".to_owned()) }
}

/// Shows what is judged, and writes the verdict down.
pub async fn run(arguments: Arguments, verdict: Verdict) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let namespace = arguments.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let request = looked_at(&Api::namespaced(client.clone(), &namespace), &arguments.name).await?;
    let (hash, now) = (spec_hash::of(&request.spec)?, Timestamp::now());
    let language = arguments.speech.language();
    let judged = explain::judgement(&request, &hash, now);
    print(&format!("{}\n", table::sections(&judged, language, str::to_owned)))?;

    let approver = who_am_i(&client).await?;
    if let Some(why) = refusal(&request, &hash, &approver, arguments.hash.as_deref()) {
        bail!("{}", language.of(&why));
    }
    let spec = spec(&request, &hash, approver, verdict, &arguments, now);
    let approval = Approval::new(&name(&spec), spec);
    let said = give(&client, &arguments.operator_namespace, &approval, now).await?;
    print(&format!("{}\n", language.of(&said)))
}

/// The request once the operator has looked at it as it stands, or as it is after [`PATIENCE`]. Asked for again and again
/// rather than watched: who may approve need not be allowed to watch.
async fn looked_at(api: &Api<ResourceRequest>, name: &str) -> anyhow::Result<ResourceRequest> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let request = api.get(name).await?;
        let seen = request.status.as_ref().and_then(|status| status.spec_hash.as_deref());
        if seen == Some(&spec_hash::of(&request.spec)?) || tokio::time::Instant::now() >= deadline {
            return Ok(request);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The user as the API server knows it.
async fn who_am_i(client: &Client) -> anyhow::Result<String> {
    let review = Api::<SelfSubjectReview>::all(client.clone())
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .context("can't ask the API server who you are")?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    user.filter(|name| !name.is_empty()).context("the API server does not say who you are")
}

/// Why the verdict is not given.
fn refusal(request: &ResourceRequest, hash: &str, approver: &str, wanted: Option<&str>) -> Option<Line> {
    let name = format!("{}/{}", request.namespace().unwrap_or_default(), request.name_any());
    if let Some(wanted) = wanted.filter(|wanted| !hash.starts_with(wanted)) {
        return Some(Line::new(
            format!("{name} is not what you have read: its hash is {hash} now, not {wanted}"),
            format!("{name} 与您查看的内容不同：当前哈希为 {hash}，而非 {wanted}"),
        ));
    }
    if approver == request.spec.requester {
        return Some(Line::new(
            format!("{approver} asks for {name}, and nobody judges their own request"),
            format!("{approver} 是 {name} 的申请人，不能审批自己的申请"),
        ));
    }
    match request.status.as_ref().and_then(|status| status.spec_hash.as_deref()) {
        Some(seen) if seen == hash => None,
        None => Some(Line::new(
            format!("the operator has not looked at {name} yet; try again in a moment"),
            format!("控制器尚未处理 {name}，请稍后重试"),
        )),
        Some(seen) => Some(Line::new(
            format!(
                "the operator has looked at another spec of {name} ({seen}, and this is {hash}): try again in a moment; if that stays so, this command is of another version than the operator"
            ),
            format!(
                "控制器处理的是 {name} 的另一规格（{seen}，当前为 {hash}）：请稍后重试；若仍如此，则此命令与控制器版本不一致"
            ),
        )),
    }
}

fn spec(
    request: &ResourceRequest,
    hash: &str,
    approver: String,
    verdict: Verdict,
    arguments: &Arguments,
    now: Timestamp,
) -> ApprovalSpec {
    // Kubernetes writes whole seconds.
    let whole = |moment: Timestamp| Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    let expires_at = arguments.expires_in.and_then(|lifetime| now.checked_add(lifetime).ok());
    ApprovalSpec {
        subject: Subject {
            kind: SubjectKind::ResourceRequest,
            namespace: request.namespace().unwrap_or_default(),
            name: request.name_any(),
            uid: request.uid().unwrap_or_default(),
            spec_hash: hash.to_owned(),
            requester: request.spec.requester.clone(),
        },
        verdict,
        approver,
        comment: arguments.comment.clone(),
        expires_at: expires_at.map(|moment| Time(whole(moment))),
    }
}

/// The same for the same request, spec and person, and for nothing else: so that a verdict is one object. With the uid
/// in it, what was said of a request that was deleted does not stand in the way of one made anew.
fn name(spec: &ApprovalSpec) -> String {
    let subject = &spec.subject;
    let parts = [&subject.namespace, &subject.name, &subject.uid, &spec.approver, &subject.spec_hash];
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        // No part has it, so no two lists of parts read the same.
        digest.update([0]);
    }
    let readable = format!("{}-{}", subject.namespace.trim_start_matches("dept-"), subject.name);
    let readable: String = readable.chars().map(|c| if c == '.' { '-' } else { c }).take(46).collect();
    format!("{}-{}", readable.trim_end_matches('-'), hex::encode(&digest.finalize()[..8]))
}

/// Writes the verdict. The same again is no second object.
async fn give(client: &Client, namespace: &str, approval: &Approval, now: Timestamp) -> anyhow::Result<Line> {
    let api = Api::<Approval>::namespaced(client.clone(), namespace);
    let name = approval.name_any();
    let (en, zh) = match approval.spec.verdict {
        Verdict::Approved => ("approved", "已批准"),
        Verdict::Rejected => ("rejected", "已驳回"),
    };
    let of = &approval.spec.subject;
    let said = |en: &str, zh: &str| {
        Line::new(
            format!("{}/{} {en}: approval {name} in {namespace}", of.namespace, of.name),
            format!("{}/{} {zh}：审批 {name}（{namespace}）", of.namespace, of.name),
        )
    };
    match api.create(&PostParams::default(), approval).await {
        Ok(_) => Ok(said(
            &format!("{en} by {}", approval.spec.approver),
            &format!("{zh}，审批人 {}", approval.spec.approver),
        )),
        Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
            let before = api.get(&name).await.context("the verdict exists and can't be read")?;
            if let Some(other) = difference(&before.spec, &approval.spec, now) {
                bail!(
                    "approval {name} exists and {other}; a verdict is never changed, it is taken back: kubectl delete approval {name} -n {namespace}"
                );
            }
            Ok(said(&format!("was {en} already"), &format!("此前{zh}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// In what an earlier verdict is not the one that is given now. That it would end at another moment is no difference:
/// time has gone by since.
fn difference(before: &ApprovalSpec, now_given: &ApprovalSpec, now: Timestamp) -> Option<String> {
    let expired = before.expires_at.as_ref().filter(|end| end.0 <= now);
    if before.subject != now_given.subject || before.approver != now_given.approver {
        return Some("is about something else".to_owned());
    }
    if before.verdict != now_given.verdict {
        return Some(format!("says {:?}", before.verdict));
    }
    if let Some(end) = expired {
        return Some(format!("expired at {}", end.0));
    }
    if now_given.comment.is_some() && before.comment != now_given.comment {
        return Some("has another comment".to_owned());
    }
    match (&before.expires_at, &now_given.expires_at) {
        (Some(end), None) => Some(format!("expires at {}", end.0)),
        (None, Some(_)) => Some("does not expire".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request() -> ResourceRequest {
        serde_json::from_value(json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "ResourceRequest",
            "metadata": {"name": "registration", "namespace": "dept-health", "uid": "u1"},
            "spec": {"requester": "zhang@health",
                "system": {"displayName": "预约挂号", "securityLevel": 1, "buildMode": "New", "owner": "zhang@health"},
                "basis": {"letter": "卫信函〔2026〕12号", "purpose": "全区预约挂号统一平台"},
                "resources": {"requests.cpu": "8"}, "term": "365d", "recoveryLevel": 1},
            "status": {"specHash": "sha256:a"}}))
        .unwrap()
    }

    fn verdict() -> ApprovalSpec {
        let subject = Subject {
            kind: SubjectKind::ResourceRequest,
            namespace: "dept-health".into(),
            name: "registration".into(),
            uid: "u1".into(),
            spec_hash: format!("sha256:{}", "a".repeat(64)),
            requester: "zhang@health".into(),
        };
        ApprovalSpec {
            subject,
            verdict: APPROVE,
            approver: "chief@health".into(),
            comment: None,
            expires_at: None,
        }
    }

    #[test]
    fn the_name_is_of_request_spec_and_person_alone() {
        let first = verdict();
        let same = ApprovalSpec { comment: Some("fine".into()), verdict: REJECT, ..first.clone() };
        assert_eq!(name(&first), name(&same));
        assert!(name(&first).starts_with("health-registration-"), "{}", name(&first));
        let change: [fn(&mut ApprovalSpec); 5] = [
            |spec| spec.subject.namespace.push('x'),
            |spec| spec.subject.name.push('x'),
            |spec| spec.subject.uid.push('x'),
            |spec| spec.subject.spec_hash.push('x'),
            |spec| spec.approver.push('x'),
        ];
        for change in change {
            let mut other = first.clone();
            change(&mut other);
            assert_ne!(name(&other), name(&first), "{other:?}");
        }
    }

    #[test]
    fn the_name_is_one_of_dns() {
        for (namespace, request) in
            [("dept-a", "b"), (&*"n".repeat(63), &*"r".repeat(40)), (&*"n".repeat(45), "x.y")]
        {
            let mut spec = verdict();
            (spec.subject.namespace, spec.subject.name) = (namespace.into(), request.into());
            let name = name(&spec);
            assert!(
                name.len() <= 63
                    && !name.contains("--")
                    && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-')),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_refused_early_says_why() {
        let refused = |approver: &str, wanted: Option<&str>, seen: Option<&str>| {
            let mut request = request();
            request.status.as_mut().unwrap().spec_hash = seen.map(str::to_owned);
            refusal(&request, "sha256:a", approver, wanted).map(|line| line.en).unwrap_or_default()
        };
        assert_eq!(refused("chief@health", Some("sha256:a"), Some("sha256:a")), "");
        assert!(
            refused("chief@health", Some("sha256:b"), Some("sha256:a"))
                .contains("sha256:a now, not sha256:b")
        );
        assert!(refused("zhang@health", None, Some("sha256:a")).contains("nobody judges their own"));
        assert!(refused("chief@health", None, None).contains("has not looked"));
        assert!(refused("chief@health", None, Some("sha256:c")).contains("another spec"));
    }

    #[test]
    fn the_same_again_is_no_second_verdict() {
        let at = |s: i64| Timestamp::from_second(1_800_000_000 + s).unwrap();
        let ends = |s: i64| ApprovalSpec { expires_at: Some(Time(at(s))), ..verdict() };
        let said = |comment: &str| ApprovalSpec { comment: Some(comment.into()), ..verdict() };
        let differs = |before: &ApprovalSpec, given: &ApprovalSpec| {
            difference(before, given, at(0)).unwrap_or_default()
        };
        assert_eq!(differs(&verdict(), &verdict()), "");
        assert_eq!(differs(&ends(60), &ends(90)), "");
        assert_eq!(differs(&said("a"), &verdict()), "");
        assert!(differs(&said("a"), &said("b")).contains("comment"));
        assert!(differs(&ends(0), &ends(90)).contains("expired"));
        assert!(differs(&verdict(), &ends(90)).contains("does not expire"));
        assert!(differs(&verdict(), &ApprovalSpec { verdict: REJECT, ..verdict() }).contains("Approved"));
    }
}
