use proptest::prelude::*;
use tripod_crds::backup_policy::{Exclude, Include};

use super::claims::{Claim, ClaimRules};
use super::needs::{self, Need};
use super::order::{OutOfOrder, Reorder};
use super::tally::Tally;
use super::*;

fn kind(plural: &str, group: &str, kind: &str) -> Kind {
    Kind { group: group.into(), version: "v1".into(), plural: plural.into(), kind: kind.into() }
}

fn rules(spec: &Value) -> Rules {
    Rules::new(&serde_json::from_value(spec.clone()).unwrap()).unwrap()
}

fn left(reason: Reason) -> Fate {
    Fate::LeftOut(reason)
}

#[test]
fn what_nothing_is_said_of_is_as_it_always_was() {
    let rules = Rules::new(&Selection::default()).unwrap();
    let secret = kind("secrets", "", "Secret");
    let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
    let owned = json!({"metadata": {"name": "x", "ownerReferences": [
        {"kind": "A", "name": "a"}, {"kind": "Deployment", "name": "web", "controller": true}]}});
    let ours = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "tripod"}}});
    let hook = json!({"metadata": {"labels": {HOOK_LABEL: "quiet"}}});
    let shared = json!({"metadata": {"name": "x", "ownerReferences": [{"kind": "A", "name": "a"}]}});
    let token = json!({"metadata": {"name": "t"}, "type": "kubernetes.io/service-account-token"});
    let config = kind("configmaps", "", "ConfigMap");
    let account = kind("serviceaccounts", "", "ServiceAccount");
    for (of, object, expected) in [
        (&config, object("ConfigMap", "settings"), Fate::Taken),
        (&config, shared, Fate::Taken),
        (&config, owned, left(Reason::Owned { kind: "Deployment".into(), name: "web".into() })),
        (&config, ours, left(Reason::Platform)),
        (&kind("jobs", "batch", "Job"), hook, left(Reason::Platform)),
        (&config, object("ConfigMap", "kube-root-ca.crt"), left(Reason::Given)),
        (&account, object("ServiceAccount", "default"), left(Reason::Given)),
        (&account, object("ServiceAccount", "web"), Fate::Taken),
        (&secret, object("Secret", "default"), Fate::Taken),
        (&secret, token, left(Reason::AccountToken)),
        (&kind("pods", "", "Pod"), object("Pod", "p"), left(Reason::DerivedKind)),
        (&kind("replicasets", "apps", "ReplicaSet"), object("ReplicaSet", "r"), left(Reason::DerivedKind)),
        (&kind("restores", "tripod.cloud", "Restore"), object("Restore", "r"), left(Reason::PlatformKind)),
        (&kind("backuppolicies", "tripod.cloud", "BackupPolicy"), object("BackupPolicy", "p"), Fate::Taken),
        (&kind("widgets", "example.org", "Widget"), object("Widget", "w"), Fate::Taken),
    ] {
        assert_eq!(rules.object(of, &object), expected, "{object}");
        // Who restores is told the same of what a policy has no say in.
        let mut whole = object.clone();
        (whole["apiVersion"], whole["kind"]) = (json!(of.api_version()), json!(of.kind));
        assert_eq!(given_or_derived(&whole), expected != Fate::Taken, "{whole}");
    }
}

#[test]
fn each_field_chooses() {
    let (config, secret) = (kind("configmaps", "", "ConfigMap"), kind("secrets", "", "Secret"));
    let deployment = kind("deployments", "apps", "Deployment");
    let labelled = |labels: Value| json!({"metadata": {"name": "x", "labels": labels}});
    let web = labelled(json!({"app": "web", "tier": "front"}));
    let plain = labelled(json!({}));
    let backed = labelled(json!({BACKUP_LABEL: "true"}));
    let select =
        |expression: Value| json!({"include": {"labelSelector": {"matchExpressions": [expression]}}});
    for (spec, of, object, expected) in [
        (json!({"include": {"objects": false}}), &config, &plain, left(Reason::ObjectsOff)),
        (json!({"include": {"kinds": ["deployments.apps"]}}), &deployment, &plain, Fate::Taken),
        (json!({"include": {"kinds": ["deployments.apps"]}}), &config, &plain, left(Reason::KindNotIncluded)),
        // The group belongs to the name.
        (json!({"include": {"kinds": ["deployments"]}}), &deployment, &plain, left(Reason::KindNotIncluded)),
        (json!({"exclude": {"kinds": ["configmaps"]}}), &config, &plain, left(Reason::KindExcluded)),
        (json!({"exclude": {"kinds": ["configmaps"]}}), &secret, &plain, Fate::Taken),
        (json!({"include": {"secrets": "None"}}), &secret, &backed, left(Reason::SecretsOff)),
        (json!({"include": {"secrets": "None"}}), &config, &plain, Fate::Taken),
        (json!({"include": {"secrets": "Labelled"}}), &secret, &plain, left(Reason::SecretNotLabelled)),
        (json!({"include": {"secrets": "Labelled"}}), &secret, &backed, Fate::Taken),
        (json!({"include": {"secrets": "Labelled"}}), &config, &plain, Fate::Taken),
        (json!({"include": {"labelSelector": {"matchLabels": {"app": "web"}}}}), &config, &web, Fate::Taken),
        (
            json!({"include": {"labelSelector": {"matchLabels": {"app": "web"}}}}),
            &config,
            &plain,
            left(Reason::NotSelected),
        ),
        (
            select(json!({"key": "app", "operator": "In", "values": ["db", "web"]})),
            &config,
            &web,
            Fate::Taken,
        ),
        (select(json!({"key": "app", "operator": "NotIn", "values": ["web"]})), &config, &plain, Fate::Taken),
        (
            select(json!({"key": "app", "operator": "NotIn", "values": ["web"]})),
            &config,
            &web,
            left(Reason::NotSelected),
        ),
        (select(json!({"key": "app", "operator": "DoesNotExist"})), &config, &plain, Fate::Taken),
        (
            json!({"exclude": {"labelSelector": {"matchLabels": {"tier": "front"}}}}),
            &config,
            &web,
            left(Reason::Deselected),
        ),
        (
            json!({"exclude": {"labelSelector": {"matchLabels": {"tier": "front"}}}}),
            &config,
            &plain,
            Fate::Taken,
        ),
    ] {
        assert_eq!(rules(&spec).object(of, object), expected, "{spec} {object}");
    }
    let broken =
        json!({"exclude": {"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}});
    let error = Rules::new(&serde_json::from_value(broken).unwrap()).unwrap_err();
    assert!(error.starts_with("spec.exclude.labelSelector: "), "{error}");
}

#[test]
fn claims_are_chosen_by_name_and_label() {
    let claim = |name: &str, tier: &str, bound| Claim {
        name: name.into(),
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        bound,
    };
    let (data, cache) = (claim("data", "gold", true), claim("cache", "none", true));
    let waiting = claim("new", "gold", false);
    let gold = json!({"volumeSelector": {"matchLabels": {"tier": "gold"}}});
    for (include, exclude, claim, expected) in [
        (json!({}), json!({}), &data, Fate::Taken),
        (json!({}), json!({}), &waiting, left(Reason::NotBound)),
        (json!({"volumes": false}), json!({}), &data, left(Reason::VolumesOff)),
        (json!({}), json!({"volumes": ["cache"]}), &cache, left(Reason::VolumeExcluded)),
        (json!({}), json!({"volumes": ["cache"]}), &data, Fate::Taken),
        (gold.clone(), json!({}), &data, Fate::Taken),
        (gold, json!({}), &cache, left(Reason::VolumeNotSelected)),
    ] {
        let include: Include = serde_json::from_value(include).unwrap();
        let exclude: Exclude = serde_json::from_value(exclude).unwrap();
        let rules = ClaimRules::new(&include, &exclude).unwrap();
        assert_eq!(rules.claim(claim), expected, "{include:?} {exclude:?}");
    }
}

#[test]
fn what_is_needed_of_the_cluster_is_found_by_reference() {
    let pod = json!({"spec": {"priorityClassName": "urgent", "runtimeClassName": "gvisor"}});
    let claims = json!([{"spec": {"storageClassName": "fast"}}]);
    let titles = |of: &Kind, object: Value| -> Vec<String> {
        needs::of(of, &object).iter().map(Need::title).collect()
    };
    let (priority, runtime) =
        ("priorityclasses.scheduling.k8s.io/urgent", "runtimeclasses.node.k8s.io/gvisor");
    let storage = "storageclasses.storage.k8s.io/fast";
    for (of, object, expected) in [
        (
            kind("deployments", "apps", "Deployment"),
            json!({"spec": {"template": pod}}),
            vec![priority, runtime],
        ),
        (
            kind("cronjobs", "batch", "CronJob"),
            json!({"spec": {"jobTemplate": {"spec": {"template": pod}}}}),
            vec![priority, runtime],
        ),
        (
            kind("statefulsets", "apps", "StatefulSet"),
            json!({"spec": {"volumeClaimTemplates": claims}}),
            vec![storage],
        ),
        (
            kind("persistentvolumeclaims", "", "PersistentVolumeClaim"),
            json!({"spec": {"storageClassName": "fast"}}),
            vec![storage],
        ),
        (
            kind("persistentvolumeclaims", "", "PersistentVolumeClaim"),
            json!({"spec": {"storageClassName": ""}}),
            vec![],
        ),
        (
            kind("ingresses", "networking.k8s.io", "Ingress"),
            json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}}),
            vec!["ingressclasses.networking.k8s.io/nginx"],
        ),
        (
            kind("widgets", "example.org", "Widget"),
            json!({}),
            vec!["customresourcedefinitions.apiextensions.k8s.io/widgets.example.org"],
        ),
        (kind("backuppolicies", "tripod.cloud", "BackupPolicy"), json!({}), vec![]),
        (
            kind("deployments", "apps", "Deployment"),
            json!({"spec": {"template": {"spec": {"priorityClassName": "system-node-critical"}}}}),
            vec![],
        ),
        // A name that would be more than one part of a URL is none.
        (
            kind("persistentvolumeclaims", "", "PersistentVolumeClaim"),
            json!({"spec": {"storageClassName": "../secrets"}}),
            vec![],
        ),
    ] {
        assert_eq!(titles(&of, object.clone()), expected, "{object}");
        assert!(expected.is_empty() || needs::can_need(&of));
    }
    assert!(!needs::can_need(&kind("secrets", "", "Secret")));
}

#[test]
fn the_tally_does_not_grow_with_the_objects() {
    let mut tally = Tally::default();
    for n in 0..1000 {
        let owner = Reason::Owned { kind: "Job".into(), name: format!("j{n}") };
        tally.object("configmaps", &format!("c{n}"), &Fate::LeftOut(owner));
        tally.object("configmaps", &format!("t{n}"), &Fate::Taken);
    }
    let of = &tally.kinds["configmaps"];
    assert_eq!((of.taken, of.left_out["Owned"].count, of.left_out["Owned"].first.len()), (1000, 1000, 5));
}

fn through(names: &[String]) -> Result<Vec<String>, OutOfOrder> {
    let of = kind("configmaps", "", "ConfigMap");
    let (mut reorder, mut out) = (Reorder::default(), Vec::new());
    for name in names {
        out.extend(reorder.next(of.path(name), ())?);
    }
    out.extend(reorder.rest()?);
    Ok(out.into_iter().map(|(path, ())| path).collect())
}

#[test]
fn a_list_in_another_order_is_noticed() {
    let list = |names: &[&str]| through(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    assert_eq!(list(&["a", "a-b", "a.b", "b"]).unwrap().len(), 4);
    assert!(list(&["b", "c", "a", "d"]).is_err());
    // Two names of one path.
    assert!(list(&["a:b", "a_b"]).is_err());
    assert!(list(&["a", "a"]).is_err());
}

proptest! {
    #[test]
    fn names_in_order_become_paths_in_order(
        names in proptest::collection::btree_set("[a0j][a0-9.json-]{0,6}", 0..40)
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let mut sorted: Vec<String> = names.iter().map(|n| format!("configmaps/{n}.json")).collect();
        sorted.sort();
        prop_assert_eq!(through(&names), Ok(sorted));
    }
}
