//! Stands between an operator and the API server: passes everything on as it is, and kills the operator at a write.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;

/// Bytes of a request; an API server takes no more.
const LARGEST: usize = 4 << 20;

/// When the operator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The write is not done.
    Before,
    /// It is done, and the operator never hears of it.
    After,
}

#[derive(Default)]
struct Plan {
    /// How many writes there are until then.
    left: Option<(usize, Moment)>,
    operator: Option<i32>,
    killed_at: Option<String>,
}

#[derive(Clone)]
struct Way {
    client: Client,
    namespace: String,
    plan: Arc<Mutex<Plan>>,
}

pub struct Proxy {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    _runtime: Runtime,
}

impl Proxy {
    /// In front of the API server of this kubeconfig. Who asks is told by what he sends. Writes to objects of one namespace
    /// count: how many others there are depends on what else the lab has.
    pub fn start(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let plan = Arc::<Mutex<Plan>>::default();
        let address = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
            let mut config =
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            config.auth_info = kube::config::AuthInfo::default();
            // A watch is silent for as long as nothing happens.
            config.read_timeout = None;
            let (client, namespace) = (Client::try_from(config)?, format!("/namespaces/{namespace}/"));
            let way = Way { client, namespace, plan: Arc::clone(&plan) };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let router = Router::new().fallback(pass).with_state(way);
            tokio::spawn(async move { axum::serve(listener, router).await });
            anyhow::Ok(address)
        })?;
        Ok(Self { address, plan, _runtime: runtime })
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to kill.
    pub fn is_of(&self, process: u32) {
        self.plan().operator = i32::try_from(process).ok();
    }

    /// At the n-th write from now, from 1.
    pub fn kill_at(&self, number: usize, moment: Moment) {
        let mut plan = self.plan();
        (plan.left, plan.killed_at) = (Some((number, moment)), None);
    }

    pub fn let_live(&self) {
        self.plan().left = None;
    }

    /// The write at which it was killed, if it was.
    pub fn has_killed(&self) -> Option<String> {
        self.plan().killed_at.clone()
    }
}

impl Way {
    /// Whether it is the operator's time now, and when exactly. Events change nothing that counts.
    fn is_due(&self, request: &Request<Body>) -> Option<Moment> {
        let path = request.uri().path();
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(request.method());
        if !writes || !path.contains(&self.namespace) || path.ends_with("/events") {
            return None;
        }
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, moment) = plan.left.as_mut()?;
        *left -= 1;
        let moment = *moment;
        if *left > 0 {
            return None;
        }
        plan.left = None;
        Some(moment)
    }

    fn kill(&self, title: String) {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(operator) = plan.operator {
            // That it is gone already is as good.
            let _ = kill(Pid::from_raw(operator), Signal::SIGKILL);
        }
        plan.killed_at = Some(title);
    }
}

async fn pass(State(way): State<Way>, request: Request<Body>) -> Response {
    let due = way.is_due(&request);
    let title = format!("{} {}", request.method(), request.uri().path());
    if due == Some(Moment::Before) {
        way.kill(title);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let answer = way.client.send(Request::from_parts(parts, body.to_vec().into())).await;
    if due == Some(Moment::After) {
        way.kill(title);
    }
    match answer {
        Ok(answer) => answer.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
