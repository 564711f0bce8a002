//! One trial of all policies: what the cases need, the cases, then the cases again under every mutant.
//!
//! Mutants are bound with `Warn`: each request tells at once which of them would have refused it, and the policies that
//! are really in force are left as they are. A mutant looks only at requests of the group of its batch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tripod_e2e::installation::repository;

use super::api::{Api, Place};
use super::case::{Case, documents};
use super::mutant::{self, Mutant};

/// As many warnings as an API server passes on, however long they are.
const BATCH: usize = 16;
const LABEL: &str = "policy-cases";
const API: &str = "admissionregistration.k8s.io/v1";
const SUSPENSION: &str = "tripod.cloud/suspension";
/// Enough for an API server to see what was just written.
const SOON: Duration = Duration::from_secs(20);
/// Enough for namespaces to be emptied.
const GONE: Duration = Duration::from_mins(2);
/// Between two looks at what others have to do.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests under way at a time.
const WIDTH: usize = 8;

pub struct Trial {
    api: Api,
    setting: Vec<Value>,
    cases: Vec<(String, Vec<Case>)>,
    mutants: Vec<Mutant>,
}

impl Trial {
    pub async fn new(kubeconfig: &Path) -> Result<Self> {
        let root = repository().join("policies");
        let setting = documents(&std::fs::read_to_string(root.join("setting.yaml"))?)?;
        let (mut cases, mut mutants) = (Vec::new(), Vec::new());
        for folder in sorted(&root)?.iter().filter(|path| path.join("policy.yaml").exists()) {
            let rule = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let policy = documents(&std::fs::read_to_string(folder.join("policy.yaml"))?)?;
            mutants.extend(mutant::of(&rule, policy.first().context("no policy")?)?);
            let mut all = Vec::new();
            for kind in ["allow", "deny"] {
                let files = sorted(&folder.join(kind))?;
                ensure!(files.len() >= 5, "{rule}: {} cases in {kind}/, five are the least", files.len());
                for file in files {
                    all.push(Case::read(&rule, kind, &file)?);
                }
            }
            cases.push((rule, all));
        }
        Ok(Self { api: Api::new(kubeconfig).await?, setting, cases, mutants })
    }

    pub async fn run(&self, enough: usize) -> Result<()> {
        self.clean().await.context("cleaning up what an earlier trial left")?;
        self.prepare().await?;
        // The cases are tried while the mutants come into force.
        let (verdicts, installed) = tokio::join!(self.verdicts(), self.install());
        let stillborn = installed?;
        let wrong = verdicts?;
        ensure!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
        self.await_mutants().await?;
        self.judge(&self.noticed().await?, &stillborn, enough)
    }

    /// Makes what the cases find. Namespaces are suspended last: what is in them was there before.
    async fn prepare(&self) -> Result<()> {
        for object in &self.setting {
            let mut object = object.clone();
            if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
                labels.remove(SUSPENSION);
            }
            self.api.apply(&object).await?;
            if object["kind"] == "Namespace" {
                // Kubernetes makes it too, a moment later.
                let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": {"name": "default", "namespace": object["metadata"]["name"]}});
                self.api.apply(&account).await?;
            }
        }
        for case in self.all_cases() {
            case.prepare(&self.api).await?;
        }
        for object in self.setting.iter().filter(|o| o["metadata"]["labels"][SUSPENSION].is_string()) {
            self.api.apply(object).await?;
        }
        Ok(())
    }

    fn all_cases(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().flat_map(|(_, cases)| cases)
    }

    /// The cases that do not go as they say.
    async fn verdicts(&self) -> Result<Vec<String>> {
        let deadline = Instant::now() + SOON;
        let every = self.cases.iter().flat_map(|(rule, cases)| cases.iter().map(move |case| (rule, case)));
        let wrong = stream::iter(every).map(|(rule, case)| self.verdict(rule, case, deadline));
        wrong.buffered(WIDTH).try_filter_map(async |wrong| Ok(wrong)).try_collect().await
    }

    /// Says what is wrong with a case, if it stays wrong: an API server needs a moment to see new labels.
    async fn verdict(&self, rule: &str, case: &Case, deadline: Instant) -> Result<Option<String>> {
        loop {
            let answer = case.attempt(&self.api, None).await.with_context(|| case.file.clone())?;
            let refuses = format!("ValidatingAdmissionPolicy 'tripod-{rule}'");
            let right = match &case.expect {
                None => answer.succeeded(),
                Some(words) => {
                    !answer.succeeded() && answer.words().contains(&refuses) && answer.words().contains(words)
                }
            };
            if right {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Ok(Some(format!("{}: {} {}", case.file, answer.code, answer.words())));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Those that an API server does not take, since they are no policies any more.
    async fn install(&self) -> Result<BTreeSet<usize>> {
        let all = self.mutants.iter().enumerate();
        let all = all.map(async |(at, mutant)| anyhow::Ok((at, self.bind(at, &mutant.spec).await?)));
        let taken: Vec<(usize, bool)> = stream::iter(all).buffer_unordered(WIDTH).try_collect().await?;
        // What is written last is in force last.
        let sentinel = json!({"failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["configmaps"]}]},
            "validations": [{"expression": "false"}]});
        ensure!(self.bind(self.mutants.len(), &sentinel).await?, "the sentinel is no policy");
        Ok(taken.into_iter().filter(|(_, taken)| !taken).map(|(at, _)| at).collect())
    }

    /// A policy for one batch, whose refusal is a warning of one word; whether it is taken.
    async fn bind(&self, at: usize, spec: &Value) -> Result<bool> {
        let name = format!("mutant-{at}");
        let mut spec = spec.clone();
        let condition = json!({"name": "of-this-batch", "expression": format!("'{}' in request.userInfo.groups", group(at))});
        match spec["matchConditions"].as_array_mut() {
            Some(conditions) => conditions.insert(0, condition),
            None => spec["matchConditions"] = json!([condition]),
        }
        for validation in spec["validations"].as_array_mut().into_iter().flatten() {
            *validation = json!({"expression": validation["expression"], "message": "no"});
        }
        let metadata = json!({"name": name, "labels": {LABEL: "mutant"}});
        let policy = json!({"apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec});
        let binding = json!({"apiVersion": API, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
            "spec": {"policyName": name, "validationActions": ["Warn"]}});
        let answer = self.api.try_apply(&policy).await?;
        if answer.code == 422 && self.mutants.get(at).is_some_and(|m| m.what.is_some()) {
            return Ok(false);
        }
        ensure!(answer.succeeded(), "{}: {} {}", self.describe(at), answer.code, answer.words());
        self.api.apply(&binding).await.map(|()| true)
    }

    fn describe(&self, at: usize) -> String {
        match self.mutants.get(at) {
            Some(mutant) => format!("{} {}", mutant.rule, mutant.what.as_deref().unwrap_or("as it is")),
            None => "the sentinel".to_owned(),
        }
    }

    async fn await_mutants(&self) -> Result<()> {
        let (sentinel, deadline) = (self.mutants.len(), Instant::now() + SOON);
        let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": "pol-plain"}});
        let probe = Case::creation(probe);
        loop {
            let answer = probe.attempt(&self.api, Some(&group(sentinel))).await?;
            if warned(&answer.warnings, true).contains(&sentinel) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "mutants are not in force after {} s", SOON.as_secs());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The mutants under which a case of their rule goes otherwise than it says.
    async fn noticed(&self) -> Result<BTreeSet<usize>> {
        let mut rounds = BTreeSet::new();
        for (at, mutant) in self.mutants.iter().enumerate() {
            rounds.insert((at / BATCH, mutant.rule.as_str()));
        }
        let cases: BTreeMap<&str, &Vec<Case>> =
            self.cases.iter().map(|(rule, all)| (rule.as_str(), all)).collect();
        let every =
            rounds.iter().flat_map(|(batch, rule)| cases[rule].iter().map(move |case| (*batch, *rule, case)));
        let found = stream::iter(every).map(|(batch, rule, case)| self.against(batch, rule, case));
        let found: Vec<Vec<usize>> = found.buffer_unordered(WIDTH).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn against(&self, batch: usize, rule: &str, case: &Case) -> Result<Vec<usize>> {
        let first = batch * BATCH;
        let answer = case.attempt(&self.api, Some(&group(first))).await.with_context(|| case.file.clone())?;
        let (refusing, failing) = (warned(&answer.warnings, true), warned(&answer.warnings, false));
        let of_rule =
            (first..first + BATCH).filter(|at| self.mutants.get(*at).is_some_and(|m| m.rule == rule));
        // One that fails refuses as well, but says nothing that anybody could act on.
        let noticed = |at: &usize| failing.contains(at) || refusing.contains(at) != case.expect.is_some();
        Ok(of_rule.filter(noticed).collect())
    }

    fn judge(&self, noticed: &BTreeSet<usize>, stillborn: &BTreeSet<usize>, enough: usize) -> Result<()> {
        let (mut all, mut missed) = (0, Vec::new());
        for (at, mutant) in self.mutants.iter().enumerate().filter(|(at, _)| !stillborn.contains(at)) {
            match (&mutant.what, noticed.contains(&at)) {
                (None, true) => bail!("{}: warned of otherwise than it refuses", mutant.rule),
                (None, false) => {}
                (Some(_), seen) => {
                    all += 1;
                    if !seen {
                        missed.push(self.describe(at));
                    }
                }
            }
        }
        let seen = all - missed.len();
        for what in &missed {
            println!("not noticed: {what}");
        }
        println!("policies: {all} mutants, {seen} noticed ({} %)", seen * 100 / all.max(1));
        ensure!(seen * 100 >= enough * all, "fewer than {enough} % of the mutants are noticed");
        Ok(())
    }

    /// Takes away everything that a trial makes, and waits until it is gone.
    pub async fn clean(&self) -> Result<()> {
        for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
            self.api.delete_labelled(API, kind, LABEL).await?;
        }
        let before = self.all_cases().filter_map(|case| case.before.as_ref());
        // What has a namespace of the setting goes with it.
        let wide: Vec<&Value> =
            self.setting.iter().chain(before).filter(|o| o["metadata"]["namespace"].is_null()).collect();
        let wide = wide.into_iter().filter(|o| !is_kubernetes_own(o)).collect::<Vec<_>>();
        for object in &wide {
            self.api.delete(object).await?;
        }
        let deadline = Instant::now() + GONE;
        for object in wide {
            let place = Place::of(object)?;
            while self.api.get(&place, None).await?.is_some() {
                ensure!(
                    Instant::now() < deadline,
                    "{} is still there after {} s",
                    place.name,
                    GONE.as_secs()
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// Namespaces that are there in every cluster.
fn is_kubernetes_own(object: &Value) -> bool {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    object["kind"] == "Namespace" && (name == "default" || name.starts_with("kube-"))
}

fn group(mutant: usize) -> String {
    format!("policy-mutants-{}", mutant / BATCH)
}

/// The mutants that would have refused a request with their own words, or those that failed instead.
fn warned(warnings: &[String], own: bool) -> BTreeSet<usize> {
    let number = |text: &str| text.split("'mutant-").nth(1)?.split('\'').next()?.parse().ok();
    let wanted = warnings.iter().filter(|text| text.trim_end_matches('"').ends_with(": no") == own);
    wanted.filter_map(|text| number(text)).collect()
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}
