//! The mover's connection to the gateway: one authority trusted, one token sent, and a few attempts.

use std::future::Future;
use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};

use super::{Common, MoverError};

/// How often a run is tried, and for how long the second and the third wait.
const WAITS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(20)];

/// A client that trusts the gateway's authority and nobody else.
pub(super) fn client(common: &Common) -> Result<Client, MoverError> {
    let pem = match (&common.ca_pem, &common.ca_file) {
        (Some(pem), _) => pem.clone().into_bytes(),
        (None, Some(file)) => std::fs::read(file)?,
        (None, None) => return Err(MoverError::Failed("no authority for the gateway is given".to_owned())),
    };
    let wrong = |error: reqwest::Error| MoverError::Failed(format!("the client: {}", chain(&error)));
    let authority = Certificate::from_pem_bundle(&pem).map_err(wrong)?;
    Client::builder()
        .tls_certs_only(authority)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(wrong)
}

/// `https://gateway/v1/…`
pub(super) fn url(common: &Common, path: &str) -> String {
    format!("{}/v1/{path}", common.gateway.trim_end_matches('/'))
}

/// Sends a request with the token as it is now.
pub(super) async fn send(common: &Common, request: RequestBuilder) -> Result<Response, MoverError> {
    let token = std::fs::read_to_string(&common.token_file)?;
    let sent = request.bearer_auth(token.trim()).send().await;
    let response = sent.map_err(|error| MoverError::Passing(format!("the gateway: {}", chain(&error))))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    let message = format!("{status}: {}", reason(&body));
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => MoverError::Refused(message),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => MoverError::Failed(message),
        _ => MoverError::Passing(message),
    })
}

/// Tries a whole run up to three times, as long as another attempt can help.
pub(super) async fn attempts<T, F>(mut run: impl FnMut() -> F) -> Result<T, MoverError>
where
    F: Future<Output = Result<T, MoverError>>,
{
    for wait in WAITS {
        match run().await {
            Err(MoverError::Passing(reason)) => {
                tracing::warn!(reason, seconds = wait.as_secs(), "trying again");
                tokio::time::sleep(wait).await;
            }
            other => return other,
        }
    }
    run().await
}

/// An error with all that caused it: the outermost one of a connection says nothing.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn reason(body: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|body| Some(body.get("error")?.as_str()?.to_owned()))
        .unwrap_or_else(|| body.chars().take(200).collect())
}
