//! What the operator tells of itself: logs, metrics, and whether it is alive and ready.

pub mod api_calls;
pub mod http;
pub mod live;
pub mod metrics;
pub mod policies;

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` chooses what; the default is the operator's own `info`.
pub fn start_logs(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,rustic_core=warn,kube_client=warn,jiff=error"));
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    if json {
        logs.json().flatten_event(true).with_span_list(false).init();
    } else {
        logs.init();
    }
}
