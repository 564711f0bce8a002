//! What the operator knows of all departments' namespaces, from watches: the two controllers of tenancy decide from it
//! without asking the API server, so that at rest nothing is asked at all. It holds what it has read or written itself;
//! every write that matters is a compare-and-swap, so that knowing too little is never worse than being late.

mod index;
mod watch;

use std::collections::HashSet;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tripod_crds::{Department, ResourceRequest};
use tripod_domain::assessment::skeleton;
use tripod_domain::ledger::{self, Amounts};
use tripod_domain::tenancy::{department_of_home, home};
use tripod_domain::utilisation::report::Standing;

pub use index::{Changed, Forecasts, Index};
pub use watch::{WRITTEN, child_of, namespace_of, quota_of};

/// Shared by the controllers of departments and of requests.
pub struct Tenancy {
    index: RwLock<Index>,
    pub departments: Store<Department>,
    pub requests: Store<ResourceRequest>,
    wake_department: UnboundedSender<ObjectRef<Department>>,
    wake_request: UnboundedSender<ObjectRef<ResourceRequest>>,
}

/// What wakes the controllers.
pub struct Triggers {
    pub departments: UnboundedReceiver<ObjectRef<Department>>,
    pub requests: UnboundedReceiver<ObjectRef<ResourceRequest>>,
}

impl Tenancy {
    /// Empty, until [`Tenancy::watch`] has filled it.
    #[must_use]
    pub fn new(departments: Store<Department>, requests: Store<ResourceRequest>) -> (Arc<Self>, Triggers) {
        let (wake_department, for_departments) = unbounded();
        let (wake_request, for_requests) = unbounded();
        let tenancy = Self { index: RwLock::default(), departments, requests, wake_department, wake_request };
        (Arc::new(tenancy), Triggers { departments: for_departments, requests: for_requests })
    }

    /// Keeps the index current for as long as it is polled; tells once when it is complete.
    pub async fn watch(
        self: Arc<Self>,
        client: Client,
        operator_namespace: String,
        complete: tokio::sync::oneshot::Sender<()>,
    ) {
        Box::pin(watch::all(self, client, operator_namespace, complete)).await;
    }

    /// To read. Never held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes what is known, and wakes whom that concerns. That the controllers are gone is the end of the process.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Changed) {
        let changed = change(&mut self.write());
        if changed.for_department
            && let Some(department) = &changed.department
        {
            let _ = self.wake_department.unbounded_send(ObjectRef::new(department));
        }
        if changed.for_request
            && let (Some(department), Some(request)) = (&changed.department, &changed.request)
        {
            let _ = self.wake_request.unbounded_send(ObjectRef::new(request).within(&home(department)));
        }
    }

    /// Changes what is known, because we wrote it ourselves: nobody is woken but the request that waits for it.
    pub fn wrote(&self, change: impl FnOnce(&mut Index) -> Changed) {
        self.change(|index| Changed { for_department: false, ..change(index) });
    }

    /// Wakes the departments whose namespaces these are.
    pub fn wake_departments_of<'a>(&self, namespaces: impl Iterator<Item = &'a String>) {
        let index = self.read();
        let departments: HashSet<&str> = namespaces.filter_map(|name| index.department_of(name)).collect();
        for department in departments {
            let _ = self.wake_department.unbounded_send(ObjectRef::new(department));
        }
    }

    /// Wakes the request whose system a namespace is.
    pub fn wake_request_of(&self, namespace: &str) {
        let index = self.read();
        let Some(seen) = index.namespace(namespace) else { return };
        if let (Some(department), Some(request)) = (index.department_of(namespace), seen.request()) {
            let _ = self.wake_request.unbounded_send(ObjectRef::new(request).within(&home(department)));
        }
    }

    /// Wakes the requests of all systems.
    pub fn wake_systems(&self) {
        let names = self.read().namespace_names();
        for name in &names {
            self.wake_request_of(name);
        }
    }

    /// Wakes all departments.
    pub fn wake_all(&self) {
        for department in self.departments.state() {
            let _ = self.wake_department.unbounded_send(ObjectRef::from_obj(department.as_ref()));
        }
    }

    /// Wakes the requests of a department that are not all they want to be.
    pub fn wake_waiting(&self, department: &str) {
        let waiting: Vec<String> = self.read().waiting(department).cloned().collect();
        for request in waiting {
            let _ = self.wake_request.unbounded_send(ObjectRef::new(&request).within(&home(department)));
        }
    }

    /// Remembers whether a request is to be woken when its department changes.
    pub fn wrote_waiting(&self, department: &str, request: &str, waits: bool) {
        self.write().set_waiting(department, request, waits);
    }

    /// Remembers what of a department's budget is free; tells whether that is news.
    pub fn set_free(&self, department: &str, free: Amounts) -> bool {
        self.write().set_free(department, free)
    }

    /// Remembers how a department's budget will do, and wakes it if that is news.
    pub fn set_forecast(&self, department: &str, forecasts: Forecasts) {
        if self.write().set_forecast(department, forecasts) {
            let _ = self.wake_department.unbounded_send(ObjectRef::new(department));
        }
    }

    /// What a report of a namespace says beside its figures; of a home, over all of its department's namespaces.
    pub fn standing(&self, namespace: &str) -> Option<Standing> {
        let name = self.read().department_of(namespace)?.to_owned();
        let department = self.departments.get(&ObjectRef::new(&name))?;
        let budget = ledger::read("", &department.spec.budget).unwrap_or_default();
        let namespaces = self.read().of_department(&name);
        let is_home = home(&name) == namespace;
        let own = namespaces.iter().filter(|(other, _)| is_home || *other == namespace);
        let mut standing = Standing {
            department: name.clone(),
            requested: Some(Amounts::new()),
            budget,
            ..Standing::default()
        };
        for (_, one) in own {
            add(&mut standing.granted, one.quota.as_ref().map(|quota| &quota.spec));
            match (one.quota.as_ref().and_then(|quota| quota.used.as_ref()), &mut standing.requested) {
                (Some(used), Some(requested)) => add(requested, Some(used)),
                _ => standing.requested = None,
            }
        }
        Some(standing)
    }

    /// Requests that came before this one and whose systems read like its own.
    pub fn alike(&self, request: &ResourceRequest) -> Vec<String> {
        let like = skeleton(&request.spec.system.display_name);
        let age = |r: &ResourceRequest| (r.creation_timestamp().map(|t| t.0), r.namespace(), r.name_any());
        let candidates: HashSet<ObjectRef<ResourceRequest>> = {
            let mut index = self.write();
            let namespace = request.namespace().unwrap_or_default();
            index.reads_like(&like, ObjectRef::new(&request.name_any()).within(&namespace))
        };
        let exists = |candidate: &ObjectRef<ResourceRequest>| {
            let other = self.requests.get(candidate)?;
            let same = skeleton(&other.spec.system.display_name) == like
                && other.uid() != request.uid()
                && other.metadata.deletion_timestamp.is_none()
                && age(&other) < age(request);
            same.then(|| format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any()))
        };
        candidates.iter().filter_map(exists).collect()
    }

    /// The department whose home this namespace is.
    pub fn department_at(&self, namespace: &str) -> Option<Arc<Department>> {
        self.departments.get(&ObjectRef::new(department_of_home(namespace)?))
    }
}

fn add(sum: &mut Amounts, more: Option<&Amounts>) {
    for (resource, amount) in more.into_iter().flatten() {
        *sum.entry(resource.clone()).or_default() += amount;
    }
}
