//! The index itself: namespaces with what is in them, by department.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tripod_crds::department::BudgetForecast;
use tripod_crds::{Approval, ResourceRequest};
use tripod_domain::ledger::{Amounts, Quota};
use tripod_domain::namespace::{Child, ChildName, Namespace};
use tripod_domain::tenancy::{DEPARTMENT, home};

/// Whom a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub department: Option<String>,
    pub request: Option<String>,
    pub for_department: bool,
    pub for_request: bool,
}

/// A child with the version that was seen or written last.
#[derive(Clone, Debug)]
pub struct SeenChild {
    pub child: Child,
    pub version: u64,
}

/// Everything that is known.
#[derive(Default)]
pub struct Index {
    namespaces: HashMap<String, Namespace>,
    by_department: HashMap<String, BTreeSet<String>>,
    quotas: HashMap<String, (u64, Quota, i64)>,
    children: HashMap<String, BTreeMap<ChildName, SeenChild>>,
    approvals: HashMap<(String, String), BTreeMap<String, Approval>>,
    waiting: HashMap<String, BTreeSet<String>>,
    skeletons: HashMap<String, HashSet<ObjectRef<ResourceRequest>>>,
    free: HashMap<String, Amounts>,
    forecasts: HashMap<String, Forecasts>,
}

/// When a department's budget will be exhausted, by resource.
pub type Forecasts = BTreeMap<String, BudgetForecast>;

/// A resourceVersion as a number: they grow.
#[must_use]
pub fn version(text: Option<&str>) -> u64 {
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

impl Index {
    /// A namespace with all that is known to be in it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        let mut namespace = self.namespaces.get(name)?.clone();
        if let Some((_, quota, written)) = self.quotas.get(name) {
            namespace.quota = Some(quota.clone());
            namespace.quota_written_at = *written;
        }
        if let Some(children) = self.children.get(name) {
            namespace.children =
                children.iter().map(|(key, seen)| (key.clone(), seen.child.clone())).collect();
        }
        Some(namespace)
    }

    /// All namespaces with a department's label.
    #[must_use]
    pub fn of_department(&self, department: &str) -> BTreeMap<String, Namespace> {
        let names = self.by_department.get(department).into_iter().flatten();
        names.filter_map(|name| Some((name.clone(), self.namespace(name)?))).collect()
    }

    /// Names of all namespaces with a department's label.
    #[must_use]
    pub fn namespace_names(&self) -> HashSet<String> {
        self.by_department.values().flatten().cloned().collect()
    }

    /// The namespaces of a department, each with the request that it is for.
    #[must_use]
    pub fn namespaces_of(&self, department: &str) -> Vec<(String, Option<String>)> {
        let names = self.by_department.get(department).into_iter().flatten();
        let one = |name: &String| {
            (name.clone(), self.namespaces.get(name).and_then(|n| n.request().map(str::to_owned)))
        };
        names.map(one).collect()
    }

    /// The requests of a department that have a namespace.
    #[must_use]
    pub fn requests_of(&self, department: &str) -> Vec<String> {
        let names = self.by_department.get(department).into_iter().flatten();
        names.filter_map(|name| self.namespaces.get(name)?.request().map(str::to_owned)).collect()
    }

    /// The home of every department, with its namespaces and since when each is a system, or there at all.
    #[must_use]
    pub fn departments(&self) -> Vec<(String, Vec<(String, Timestamp)>)> {
        let since = |name: &String| {
            let namespace = self.namespaces.get(name)?;
            let created = Timestamp::from_second(namespace.created).ok()?;
            Some((name.clone(), namespace.grant().map_or(created, |grant| grant.since)))
        };
        let one = |(department, names): (&String, &BTreeSet<String>)| {
            (home(department), names.iter().filter_map(since).collect())
        };
        self.by_department.iter().map(one).collect()
    }

    /// Names of the department whose namespace this is.
    #[must_use]
    pub fn department_of(&self, namespace: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.labels.get(DEPARTMENT).map(String::as_str)
    }

    #[must_use]
    pub fn approvals(&self, namespace: &str, request: &str) -> Vec<Approval> {
        let key = (namespace.to_owned(), request.to_owned());
        self.approvals.get(&key).into_iter().flat_map(|all| all.values().cloned()).collect()
    }

    /// Requests of a department that are not in force, or not wholly.
    pub fn waiting(&self, department: &str) -> impl Iterator<Item = &String> {
        self.waiting.get(department).into_iter().flatten()
    }

    fn concerned(&self, namespace: &str) -> Changed {
        let seen = self.namespaces.get(namespace);
        Changed {
            department: seen.and_then(|n| n.labels.get(DEPARTMENT)).cloned(),
            request: seen.and_then(Namespace::request).map(ToOwned::to_owned),
            for_department: true,
            for_request: true,
        }
    }

    /// A namespace is there, or is other than before.
    pub fn put_namespace(&mut self, name: &str, seen: Namespace) -> Changed {
        if let Some(before) = self.namespaces.get(name) {
            if version(Some(&before.version)) >= version(Some(&seen.version)) && before.uid == seen.uid {
                return Changed::default();
            }
            if let Some(department) = before.labels.get(DEPARTMENT) {
                leave(&mut self.by_department, department, name);
            }
        }
        if let Some(department) = seen.labels.get(DEPARTMENT) {
            self.by_department.entry(department.clone()).or_default().insert(name.to_owned());
        }
        self.namespaces.insert(name.to_owned(), seen);
        self.concerned(name)
    }

    pub fn drop_namespace(&mut self, name: &str) -> Changed {
        let changed = self.concerned(name);
        if let Some(department) = &changed.department {
            leave(&mut self.by_department, department, name);
        }
        self.namespaces.remove(name);
        self.quotas.remove(name);
        self.children.remove(name);
        changed
    }

    /// A quota is there, or is other than before. That only its use has grown concerns nobody.
    pub fn put_quota(&mut self, namespace: &str, quota: Quota, written_at: i64) -> Changed {
        let at = version(Some(&quota.version));
        let mut changed = self.concerned(namespace);
        if let Some((seen, before, _)) = self.quotas.get(namespace) {
            if *seen >= at {
                return Changed::default();
            }
            let same = before.spec == quota.spec
                && before.enforced == quota.enforced
                && before.promise == quota.promise;
            let counted = before.used.is_some() == quota.used.is_some();
            let frees = before.used.as_ref().zip(quota.used.as_ref()).is_some_and(|(before, now)| {
                before.iter().any(|(resource, used)| now.get(resource).is_none_or(|n| n < used))
            });
            changed.for_department = !(same && counted) || frees;
            changed.for_request = !(same && counted);
        }
        self.quotas.insert(namespace.to_owned(), (at, quota, written_at));
        changed
    }

    pub fn drop_quota(&mut self, namespace: &str) -> Changed {
        self.quotas.remove(namespace);
        self.concerned(namespace)
    }

    /// A child is there. One that somebody else has written is not what we applied any more.
    pub fn put_child(
        &mut self,
        namespace: &str,
        key: ChildName,
        mut child: Child,
        at: u64,
        ours: bool,
    ) -> Changed {
        let children = self.children.entry(namespace.to_owned()).or_default();
        if let Some(before) = children.get(&key) {
            if before.version >= at && !ours {
                return Changed::default();
            }
            if !ours {
                child.applied.clear();
            }
        }
        let is_new = children.insert(key, SeenChild { child: child.clone(), version: at }).is_none();
        let concerned = self.concerned(namespace);
        Changed { for_department: child.applied.is_empty() && !is_new, ..concerned }
    }

    pub fn drop_child(&mut self, namespace: &str, key: &ChildName) -> Changed {
        match self.children.get_mut(namespace).and_then(|children| children.remove(key)) {
            Some(_) => self.concerned(namespace),
            None => Changed::default(),
        }
    }

    pub fn put_approval(&mut self, name: &str, approval: Approval) -> Changed {
        let subject = &approval.spec.subject;
        let (namespace, request) = (subject.namespace.clone(), subject.name.clone());
        let changed = Changed {
            department: tripod_domain::tenancy::department_of_home(&namespace).map(ToOwned::to_owned),
            request: Some(request.clone()),
            for_department: false,
            for_request: true,
        };
        self.approvals.entry((namespace, request)).or_default().insert(name.to_owned(), approval);
        changed
    }

    pub fn drop_approval(&mut self, name: &str, approval: &Approval) {
        let subject = &approval.spec.subject;
        leave_map(&mut self.approvals, &(subject.namespace.clone(), subject.name.clone()), name);
    }

    pub fn keep_approvals(&mut self, keep: impl Fn(&str) -> bool) {
        self.approvals.values_mut().for_each(|all| all.retain(|name, _| keep(name)));
        self.approvals.retain(|_, all| !all.is_empty());
    }

    #[must_use]
    pub fn namespaces_without(&self, there: impl Fn(&str) -> bool) -> Vec<String> {
        self.namespaces.keys().filter(|name| !there(name)).cloned().collect()
    }

    #[must_use]
    pub fn quotas_without(&self, there: impl Fn(&str) -> bool) -> Vec<String> {
        self.quotas.keys().filter(|namespace| !there(namespace)).cloned().collect()
    }

    #[must_use]
    pub fn children_without(
        &self,
        kind: &str,
        there: impl Fn(&str, &str) -> bool,
    ) -> Vec<(String, ChildName)> {
        let all = self.children.iter().flat_map(|(at, children)| children.keys().map(move |key| (at, key)));
        all.filter(|(at, key)| key.0 == kind && !there(at, &key.1))
            .map(|(at, key)| (at.clone(), key.clone()))
            .collect()
    }

    /// Whether a request is to be woken when its department changes.
    pub fn set_waiting(&mut self, department: &str, request: &str, waits: bool) {
        if waits {
            self.waiting.entry(department.to_owned()).or_default().insert(request.to_owned());
        } else {
            leave(&mut self.waiting, department, request);
        }
    }

    /// Remembers what of a budget is free; tells whether that is news.
    pub fn set_free(&mut self, department: &str, free: Amounts) -> bool {
        let before = self.free.insert(department.to_owned(), free);
        before.as_ref() != self.free.get(department)
    }

    /// Remembers how a budget will do; tells whether that is news.
    pub fn set_forecast(&mut self, department: &str, forecasts: Forecasts) -> bool {
        let before = self.forecasts.insert(department.to_owned(), forecasts);
        before.as_ref() != self.forecasts.get(department)
    }

    /// How a budget will do; nothing is said before the first whole day was reported.
    #[must_use]
    pub fn forecasts(&self, department: &str) -> Forecasts {
        self.forecasts.get(department).cloned().unwrap_or_default()
    }

    /// Remembers how a request's system reads; returns all that were ever seen to read so.
    pub fn reads_like(
        &mut self,
        skeleton: &str,
        request: ObjectRef<ResourceRequest>,
    ) -> HashSet<ObjectRef<ResourceRequest>> {
        let all = self.skeletons.entry(skeleton.to_owned()).or_default();
        all.insert(request);
        all.clone()
    }
}

fn leave(map: &mut HashMap<String, BTreeSet<String>>, key: &str, member: &str) {
    if let Some(set) = map.get_mut(key) {
        set.remove(member);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

fn leave_map<V>(
    map: &mut HashMap<(String, String), BTreeMap<String, V>>,
    key: &(String, String),
    member: &str,
) {
    if let Some(all) = map.get_mut(key) {
        all.remove(member);
        if all.is_empty() {
            map.remove(key);
        }
    }
}
