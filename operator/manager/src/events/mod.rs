//! Events of buckets, as stores send them: `POST /events/{name of the store's Centre}/{token}`.
//!
//! An event is a hint where to look. Whoever knows the token can make the operator look at keys of buckets that it replicates
//! anyway, and at nothing else. Errors are `{"error": "…"}` with 400 (no event of S3), 403 (the token), 408, 413, and 503
//! where this replica does not lead.

mod server;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http_body_util::LengthLimitError;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tripod_domain::bucket_event::{self, Event};

use crate::controllers::bucket_replication::RunsOfAll;
use crate::telemetry::metrics::Metrics;

pub use self::server::serve;

/// The longest message, in bytes.
const LONGEST: usize = 1 << 20;
/// Who has not sent all of it by then is not heard.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a token, at least.
const TOKEN: usize = 16;
/// Stands for centres that nothing is replicated from: whoever sends events must not make series.
const UNKNOWN: &str = "";

/// How many events concern somebody here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub taken: u64,
    pub ignored: u64,
    /// Something is replicated from the centre.
    pub knows_centre: bool,
}

/// Who acts on events.
pub trait Hears: Send + Sync + 'static {
    /// `None` where nobody acts here.
    fn hear(&self, centre: &str, events: &[Event]) -> Option<Heard>;
}

impl Hears for Arc<RunsOfAll> {
    fn hear(&self, centre: &str, events: &[Event]) -> Option<Heard> {
        self.hint(centre, events)
    }
}

/// Where events come in.
#[derive(Clone)]
pub struct Desk {
    token_file: PathBuf,
    hears: Arc<dyn Hears>,
    metrics: Arc<Metrics>,
}

impl Desk {
    /// With the token in a file, which may be replaced at any time.
    ///
    /// # Errors
    /// When it can't be read now, or the token is too short to be a secret.
    pub fn open(token_file: PathBuf, hears: impl Hears, metrics: Arc<Metrics>) -> io::Result<Self> {
        let desk = Self { token_file, hears: Arc::new(hears), metrics };
        desk.token()?;
        Ok(desk)
    }

    fn token(&self) -> io::Result<String> {
        let wrong = |what: &str| io::Error::other(format!("{}: {what}", self.token_file.display()));
        let text = std::fs::read_to_string(&self.token_file).map_err(|error| wrong(&error.to_string()))?;
        let token = text.trim().to_owned();
        if token.len() < TOKEN {
            return Err(wrong(&format!("a token has at least {TOKEN} characters")));
        }
        Ok(token)
    }

    /// Takes the same time whatever of it is right.
    fn is_right(&self, token: &str) -> bool {
        let right = self.token().inspect_err(|error| tracing::warn!(%error, "no event can be heard"));
        right.is_ok_and(|right| Sha256::digest(right).ct_eq(&Sha256::digest(token)).into())
    }
}

fn router(desk: Desk) -> Router {
    Router::new().route("/events/{centre}/{token}", post(tell)).with_state(desk)
}

async fn tell(
    State(desk): State<Desk>,
    Path((centre, token)): Path<(String, String)>,
    body: Body,
) -> Response {
    // Before anything that was sent is read.
    if !desk.is_right(&token) {
        desk.metrics.told(UNKNOWN, "refused", 1);
        return failure(StatusCode::FORBIDDEN, "the token in the path is not this operator's");
    }
    let malformed = |status, why: &str| {
        desk.metrics.told(UNKNOWN, "malformed", 1);
        failure(status, why)
    };
    let body = match tokio::time::timeout(PATIENCE, read(body)).await {
        Ok(Ok(body)) => body,
        Ok(Err((status, why))) => return malformed(status, &why),
        Err(_) => return malformed(StatusCode::REQUEST_TIMEOUT, "the rest of the message did not come"),
    };
    let events = match bucket_event::parse(&body) {
        Ok(events) => events,
        Err(why) => return malformed(StatusCode::BAD_REQUEST, &why),
    };
    let Some(heard) = desk.hears.hear(&centre, &events) else {
        desk.metrics.told(UNKNOWN, "missed", events.len() as u64);
        let answer = failure(StatusCode::SERVICE_UNAVAILABLE, "another replica of this operator leads");
        return ([(header::RETRY_AFTER, "5")], answer).into_response();
    };
    let of = if heard.knows_centre { centre.as_str() } else { UNKNOWN };
    desk.metrics.told(of, "taken", heard.taken);
    desk.metrics.told(of, "ignored", heard.ignored);
    Json(json!({"taken": heard.taken, "ignored": heard.ignored})).into_response()
}

async fn read(body: Body) -> Result<Bytes, (StatusCode, String)> {
    to_bytes(body, LONGEST).await.map_err(|error| {
        if error.source().is_some_and(<dyn Error>::is::<LengthLimitError>) {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("the message is longer than {LONGEST} bytes"))
        } else {
            (StatusCode::BAD_REQUEST, format!("the message broke off: {error}"))
        }
    })
}

fn failure(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"error": why}))).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    const RIGHT: &str = "0123456789abcdef";
    const BODY: &str = r#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"files"},"object":{"key":"a+b"}}},
        {"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"other"},"object":{"key":"c"}}}]}"#;

    /// Remembers what it was told, and replicates the bucket `files` of production.
    #[derive(Default)]
    struct Ear {
        leads: bool,
        told: Mutex<Vec<Event>>,
    }

    impl Hears for Arc<Ear> {
        fn hear(&self, centre: &str, events: &[Event]) -> Option<Heard> {
            self.told.lock().unwrap().extend(events.iter().cloned());
            let knows_centre = centre == "production";
            let taken = events.iter().filter(|event| knows_centre && event.bucket == "files").count() as u64;
            self.leads.then_some(Heard { taken, ignored: events.len() as u64 - taken, knows_centre })
        }
    }

    struct Tested {
        desk: Desk,
        ear: Arc<Ear>,
        folder: tempfile::TempDir,
    }

    fn tested(leads: bool) -> Tested {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), format!("{RIGHT}\n")).unwrap();
        let ear = Arc::new(Ear { leads, ..Ear::default() });
        let desk = Desk::open(folder.path().join("token"), ear.clone(), Arc::default()).unwrap();
        Tested { desk, ear, folder }
    }

    impl Tested {
        async fn post(&self, path: &str, body: impl Into<Body>) -> (u16, String) {
            let request = Request::post(path).body(body.into()).unwrap();
            let answer = router(self.desk.clone()).oneshot(request).await.unwrap();
            let status = answer.status().as_u16();
            let text = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            (status, String::from_utf8(text.to_vec()).unwrap())
        }

        fn counts(&self, series: &str) -> bool {
            self.desk
                .metrics
                .expose()
                .unwrap()
                .contains(&format!("tripod_replication_events_total{series}\n"))
        }
    }

    #[tokio::test]
    async fn what_concerns_somebody_is_taken() {
        let tested = tested(true);
        let answer = tested.post(&format!("/events/production/{RIGHT}"), BODY).await;
        assert_eq!(answer, (200, r#"{"ignored":1,"taken":1}"#.to_owned()));
        assert_eq!(tested.ear.told.lock().unwrap()[0].keys, ["a b".to_owned(), "a+b".to_owned()].into());
        assert!(tested.counts(r#"{centre="production",result="taken"} 1"#));
        // Nobody can make series.
        assert_eq!(tested.post(&format!("/events/moon/{RIGHT}"), BODY).await.0, 200);
        assert!(tested.counts(r#"{centre="",result="ignored"} 2"#));
        assert!(!tested.desk.metrics.expose().unwrap().contains("moon"));
    }

    #[tokio::test]
    async fn without_the_token_nothing_is_heard() {
        let tested = tested(true);
        for token in ["", "0123456789abcdeX", "0123456789abcde", "0123456789abcdef0"] {
            let (status, _) = tested.post(&format!("/events/production/{token}"), BODY).await;
            assert!(matches!(status, 403 | 404), "{token:?}: {status}");
        }
        assert!(tested.ear.told.lock().unwrap().is_empty());
        assert!(tested.counts(r#"{centre="",result="refused"} 3"#));
        // Another one counts from the moment that it is there.
        std::fs::write(tested.folder.path().join("token"), "fedcba9876543210").unwrap();
        assert_eq!(tested.post(&format!("/events/production/{RIGHT}"), BODY).await.0, 403);
        assert_eq!(tested.post("/events/production/fedcba9876543210", BODY).await.0, 200);
        std::fs::write(tested.folder.path().join("token"), "").unwrap();
        assert_eq!(tested.post("/events/production/fedcba9876543210", BODY).await.0, 403);
        let short = Desk::open(tested.folder.path().join("token"), tested.ear.clone(), Arc::default());
        assert!(short.err().unwrap().to_string().contains("at least 16 characters"));
    }

    #[tokio::test]
    async fn what_is_no_event_is_refused_in_words_and_counted() {
        let tested = tested(true);
        let path = format!("/events/production/{RIGHT}");
        let (status, text) = tested.post(&path, "{").await;
        assert!(status == 400 && text.contains("it is no event of S3"), "{status} {text}");
        let (status, text) = tested.post(&path, vec![b' '; LONGEST + 1]).await;
        assert!(status == 413 && text.contains("longer than 1048576 bytes"), "{status} {text}");
        assert!(tested.counts(r#"{centre="",result="malformed"} 2"#));
    }

    #[tokio::test]
    async fn who_does_not_lead_says_so() {
        let tested = tested(false);
        let (status, text) = tested.post(&format!("/events/production/{RIGHT}"), BODY).await;
        assert!(status == 503 && text.contains("leads"), "{status} {text}");
        assert!(tested.counts(r#"{centre="",result="missed"} 2"#));
    }
}
