//! One request and its answer: where it goes, how long it may take, and what an answer that is none means.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use super::{Outgoing, Wire, permission};
use crate::StoreError;
use crate::error::{Target, chain};

/// Left as they are in a path: what RFC 3986 calls unreserved, and the slash.
const PATH: &AsciiSet = &QUERY.remove(b'/');
pub(super) const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The longest answer that is not an object: a page of a listing has a thousand entries with keys of up to 3 KiB each.
const ANSWER: usize = 8 << 20;

/// What is asked.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    /// Names with values, not yet encoded.
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: HeaderMap,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, bucket: &'a str, key: &'a str) -> Self {
        Self { method, bucket, key, query: &[], headers: HeaderMap::new() }
    }
}

/// A body that makes progress may take as long as it takes.
pub(super) enum Patience {
    /// Headers are expected within the longest silence.
    Answer,
    /// While bytes go out, the answer is waited for.
    While(super::Passed),
}

impl Wire {
    pub(super) fn target<'a>(&'a self, bucket: &'a str, key: &'a str) -> Target<'a> {
        Target { endpoint: self.endpoint(), bucket, key }
    }

    /// Sends, and hands on what a store answers with success; other answers are errors.
    pub(super) async fn send(
        &self,
        call: Call<'_>,
        body: Outgoing,
        patience: Patience,
    ) -> Result<Response<Incoming>, StoreError> {
        let target = self.target(call.bucket, call.key);
        let permission = permission::needed(&call);
        let mut url = String::with_capacity(self.inner.base.len() + call.bucket.len() + call.key.len() + 64);
        url.push_str(&self.inner.base);
        url.push('/');
        url.push_str(call.bucket);
        if !call.key.is_empty() {
            url.push('/');
            url.extend(utf8_percent_encode(call.key, PATH));
        }
        for (n, (name, value)) in call.query.iter().enumerate() {
            url.push(if n == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, QUERY));
        }
        let mut request = Request::builder().method(call.method).uri(url).body(body).map_err(|e| {
            StoreError::Other { what: format!("{}/{}", call.bucket, call.key), detail: e.to_string() }
        })?;
        *request.headers_mut() = call.headers;
        // hyper leaves it out where there is no body, and some stores insist on it.
        if matches!(*request.method(), Method::PUT | Method::POST)
            && request.body().size_hint().exact() == Some(0)
        {
            request.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.toll(&mut request).await;
        // Signed when its turn has come: a signature has an age.
        let request = self.signed(request)?;
        let answer = self.answer(request, patience, target).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = timeout(self.inner.patience.silence, whole(answer.into_body(), target)).await;
        let error = refused(target, status, &text.ok().and_then(Result::ok).unwrap_or_default());
        Err(error.for_want_of(permission))
    }

    /// Waits for the link's leave to send this.
    async fn toll(&self, request: &mut Request<Outgoing>) {
        let Some(lane) = &self.lane else { return };
        lane.request().await;
        match request.body_mut() {
            Outgoing::Passing(passing) => passing.goes_over(lane.clone()),
            Outgoing::Hashed(hashed) => hashed.passing.goes_over(lane.clone()),
            Outgoing::Whole(bytes) => lane.bytes(bytes.as_ref().map_or(0, |b| b.len() as u64)).await,
        }
    }

    async fn answer(
        &self,
        request: Request<Outgoing>,
        patience: Patience,
        target: Target<'_>,
    ) -> Result<Response<Incoming>, StoreError> {
        let mut sent = std::pin::pin!(self.inner.client.request(request));
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(self.inner.patience.silence, &mut sent).await {
                return answer.map_err(|e| target.unanswered(&e));
            }
            let now = match &patience {
                Patience::Answer => 0,
                Patience::While(passed) => passed.bytes(),
            };
            let is_held = matches!(&patience, Patience::While(passed) if passed.is_held());
            if now == seen && !is_held {
                return Err(target.broke_off(&silent(self.inner.patience.silence)));
            }
            seen = now;
        }
    }

    /// Sends what has no body, and reads the whole answer.
    pub(super) async fn ask(&self, call: Call<'_>) -> Result<(HeaderMap, Bytes), StoreError> {
        self.ask_with(call, Bytes::new()).await
    }

    pub(super) async fn ask_with(
        &self,
        call: Call<'_>,
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes), StoreError> {
        let (bucket, key) = (call.bucket, call.key);
        let answer = self.send(call, Outgoing::Whole(Some(body)), Patience::Answer).await?;
        let (head, body) = answer.into_parts();
        let target = self.target(bucket, key);
        let read = timeout(self.inner.patience.silence, whole(body, target)).await;
        let body = read.map_err(|_| target.broke_off(&silent(self.inner.patience.silence)))??;
        if let Some(lane) = &self.lane {
            lane.bytes(body.len() as u64).await;
        }
        Ok((head.headers, body))
    }

    pub(super) fn silence(&self) -> Duration {
        self.inner.patience.silence
    }
}

fn silent(silence: Duration) -> String {
    format!("nothing came for {silence:?}")
}

async fn whole(mut body: Incoming, target: Target<'_>) -> Result<Bytes, StoreError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| target.broke_off(&chain(&e)))?;
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() > ANSWER {
            return Err(target.broke_off(&format!("the answer is longer than {ANSWER} bytes")));
        }
    }
    Ok(read.freeze())
}

/// An answer with an error status, or a 200 with an error in it.
pub(super) fn refused(target: Target<'_>, status: StatusCode, text: &[u8]) -> StoreError {
    let text = String::from_utf8_lossy(text);
    let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
    let detail = match between(&text, "<Message>", "</Message>") {
        Some(message) if !code.is_empty() => format!("{code}: {message}"),
        _ if code.is_empty() => format!("HTTP {}", status.as_u16()),
        _ => format!("HTTP {}, {code}", status.as_u16()),
    };
    target.by_answer(Some(status.as_u16()), code, &detail)
}

/// The text between two tags, the first time they are there.
pub(super) fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inside, _)| inside)
}

/// A header as text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Text of an XML element.
pub(super) fn unescaped(text: &str) -> String {
    quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}
