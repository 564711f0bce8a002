use super::*;
use axum::Router;
use axum::http::{StatusCode, Uri};
use kube::Config;
use kube::core::Status;
use serde_json::json;

fn refusal(code: u16) -> Result<(), kube::Error> {
    Err(kube::Error::Api(Status { code, message: "no".into(), ..Status::default() }.boxed()))
}

#[test]
fn a_part_is_missing_on_its_own_and_a_cluster_as_a_whole() {
    let quotas = |code| part("list resourcequotas", refusal(code));
    let metrics = |code| part("list pods.metrics.k8s.io", refusal(code));
    assert_eq!(quotas(403), Ok(Err(Gap::Forbidden("list resourcequotas".into()))));
    assert_eq!(quotas(401), Err(Trouble::Unauthorised));
    assert_eq!(quotas(404), Err(Trouble::Unreachable("list resourcequotas: no (HTTP 404)".into())));
    assert_eq!(quotas(503), Err(Trouble::Unreachable("list resourcequotas: no (HTTP 503)".into())));
    assert_eq!(metrics(404), Ok(Err(Gap::Absent)));
    assert_eq!(metrics(503), Ok(Err(Gap::Failed("no".into()))));
    assert_eq!(metrics(401), Err(Trouble::Unauthorised));
}

#[test]
fn a_pod_without_all_its_readings_has_none() {
    let container = |usage: &[(&str, &str)]| ContainerMetrics {
        usage: usage.iter().map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned()))).collect(),
    };
    let good = container(&[("cpu", "250m"), ("memory", "1Ki")]);
    let two = sum(&[good.clone(), good.clone()]);
    assert_eq!(two, Some(Usage { cpu: 500_000_000, memory: 2048 * 1_000_000_000 }));
    assert_eq!(sum(&[good.clone(), container(&[("cpu", "1")])]), None);
    assert_eq!(sum(&[good, container(&[("cpu", "-1"), ("memory", "1")])]), None);
}

#[test]
fn an_error_is_told_with_its_causes_once() {
    let inner = std::io::Error::other("connection refused");
    let error = kube::Error::Service(Box::new(std::io::Error::other(inner)));
    assert_eq!(words(&error), "ServiceError: connection refused");
}

/// A cluster that answers by path, and refuses what `refused` names; of namespaces it gives one a page.
async fn cluster_that_refuses(refused: &'static [(&'static str, u16)]) -> Client {
    let answer = move |uri: Uri| async move {
        let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
        let refusal = refused.iter().find(|(prefix, _)| path.starts_with(prefix));
        if let Some((_, code)) = refusal {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "code": code});
            return (StatusCode::from_u16(*code).unwrap(), status.to_string());
        }
        (StatusCode::OK, list(&path, &query).to_string())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap()
}

fn list(path: &str, query: &str) -> Value {
    let labels = json!({"tripod.cloud/department": "health"});
    let named = |namespace: &str, name: &str| json!({"metadata": {"name": name, "namespace": namespace}});
    let page = |items: Value, token: &str| json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": token}, "items": items});
    assert!(query.contains("limit=500"), "{path}?{query}");
    let ours = query.contains("labelSelector=tripod.cloud%2Fdepartment");
    match path {
        "/api/v1/namespaces" if query.contains("kube-system") => {
            page(json!([{"metadata": {"uid": "u"}}]), "")
        }
        "/api/v1/namespaces" if ours && query.contains("continue=next") => {
            page(json!([{"metadata": {"name": "health-web", "labels": labels}}]), "")
        }
        "/api/v1/namespaces" if ours => {
            page(json!([{"metadata": {"name": "dept-health", "labels": labels}}]), "next")
        }
        "/api/v1/resourcequotas" if ours && query.contains("fieldSelector=metadata.name%3Dtripod-budget") => {
            let quota = |namespace: &str, owner: &str| {
                json!({"spec": {"hard": {"requests.cpu": "2"}}, "status": {"used": {"requests.cpu": "1"}},
                "metadata": {"name": "tripod-budget", "namespace": namespace, "labels": {"tripod.cloud/department": owner}}})
            };
            page(
                json!([quota("dept-health", "health"), quota("health-web", "tax"), quota("other", "health")]),
                "",
            )
        }
        "/api/v1/pods" if query.contains("fieldSelector=status.phase%3DRunning") => page(
            json!([
                named("health-web", "a"),
                named("health-web", "b"),
                named("dept-health", "c"),
                named("kube-system", "d")
            ]),
            "",
        ),
        "/apis/metrics.k8s.io/v1beta1/pods" => {
            let reading = json!([{"name": "x", "usage": {"cpu": "250m", "memory": "1Ki"}}]);
            let pod = |namespace: &str, name: &str| json!({"metadata": {"name": name, "namespace": namespace}, "containers": reading});
            page(json!([pod("health-web", "a"), pod("health-web", "b"), pod("kube-system", "d")]), "")
        }
        "/apis/tripod.cloud/v1alpha1/departments" => page(
            json!([{"metadata": {"name": "health"}, "spec": {"displayName": "x", "budget": {"requests.cpu": 8, "requests.memory": "1Gi"}}}]),
            "",
        ),
        other => panic!("{other}?{query}"),
    }
}

#[tokio::test]
async fn a_cluster_is_read_page_by_page_and_only_what_is_ours_is_kept() {
    let reading = read(&cluster_that_refuses(&[]).await).await.unwrap();
    assert_eq!(reading.cluster.as_deref(), Some("u"));
    assert_eq!(reading.namespaces.unwrap().into_keys().collect::<Vec<_>>(), ["dept-health", "health-web"]);
    assert_eq!(reading.quotas.unwrap().into_keys().collect::<Vec<_>>(), ["dept-health"], "the labels agree");
    let usage = reading.usage.unwrap();
    assert_eq!(usage["health-web"], Ok(Usage { cpu: 500_000_000, memory: 2048 * 1_000_000_000 }));
    assert_eq!(usage["dept-health"], Err("pod c runs and has no reading".into()));
    assert_eq!(usage.len(), 2);
    assert_eq!(reading.budgets.unwrap()["health"]["requests.cpu"], Quantity("8".into()));
}

#[tokio::test]
async fn a_right_that_is_missing_takes_only_its_part() {
    let bare = cluster_that_refuses(&[("/api/v1", 403), ("/apis/metrics", 404), ("/apis/tripod", 403)]).await;
    let reading = read(&bare).await.unwrap();
    assert_eq!(reading.namespaces, Err(Gap::Forbidden("list namespaces".into())));
    assert_eq!(reading.usage, Err(Gap::Absent));
    assert_eq!(reading.budgets, Err(Gap::Forbidden("list departments.tripod.cloud".into())));
    let blind =
        read(&cluster_that_refuses(&[("/api/v1/pods", 403), ("/apis/tripod", 404)]).await).await.unwrap();
    assert_eq!(blind.usage, Err(Gap::Forbidden("list pods".into())));
    assert_eq!((blind.budgets, blind.quotas.unwrap().len()), (Err(Gap::Absent), 1));
    let stranger = cluster_that_refuses(&[("/", 401)]).await;
    assert_eq!(read(&stranger).await, Err(Trouble::Unauthorised));
}
