//! `/livez`, `/readyz` and `/metrics`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// Serves until the future `until` is done. Whoever calls it is ready.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    until: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
        .route("/metrics", get(exposition))
        .with_state(metrics);
    axum::serve(listener, routes).with_graceful_shutdown(until).await
}

/// OpenMetrics to who asks for it, as every Prometheus does; to others the format before it.
async fn exposition(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let Ok(text) = metrics.expose() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (kind, text) = if accepted.contains("application/openmetrics-text") {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", classic(&text))
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The same for those who know the format before OpenMetrics only: a counter is declared under the name of its samples,
/// and there are neither units nor an end.
fn classic(text: &str) -> String {
    let counters: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let declared = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        let name = declared.and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let of_counter = counters.contains(name);
        out += &if of_counter { line.replacen(name, &format!("{name}_total"), 1) } else { line.to_owned() };
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn a_counter_is_declared_under_the_name_of_its_samples() {
        let open = "# HELP a_b Things.\n# TYPE a_b counter\n# UNIT a_b bytes\na_b_total{x=\"a_b\"} 1\n\
            # HELP a_bc More.\n# TYPE a_bc gauge\na_bc 2\n# EOF\n";
        let before = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"a_b\"} 1\n\
            # HELP a_bc More.\n# TYPE a_bc gauge\na_bc 2\n";
        assert_eq!(classic(open), before);
    }
}
