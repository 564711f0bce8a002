//! Answers: bodies that can break off, XML, and refusals with the codes of S3.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::content::Content;

/// Before a connection is closed: what was written shall have gone out.
const FLUSH: Duration = Duration::from_millis(50);

/// The connection is to be closed without another word.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// The body of an answer.
pub(super) struct Reply {
    pub(super) content: Content,
    sent: usize,
    /// Bytes that are still owed.
    left: usize,
    cut: Option<Pin<Box<Sleep>>>,
}

impl Reply {
    pub(super) fn new(content: Content) -> Self {
        Self { sent: 0, left: content.size(), content, cut: None }
    }

    pub(super) fn empty() -> Self {
        Self::new(Content::new(Vec::new()))
    }

    /// Half of it, though the headers promise all.
    pub(super) fn truncated(self) -> Self {
        let half = self.content.slice(0, self.content.size() / 2);
        Self { content: half, cut: Some(Box::pin(tokio::time::sleep(FLUSH))), ..self }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(piece) = self.content.pieces().get(self.sent).cloned() {
            self.sent += 1;
            self.left -= piece.len();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut self.cut {
            None => Poll::Ready(None),
            Some(pause) => {
                ready!(pause.as_mut().poll(cx));
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.sent == self.content.pieces().len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// A refusal.
#[derive(Debug)]
pub struct Failure {
    status: u16,
    code: &'static str,
    message: Cow<'static, str>,
    headers: Vec<(&'static str, String)>,
}

impl Failure {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    pub(super) fn precondition() -> Self {
        Self::new(412, "PreconditionFailed", "A condition of the request did not hold.")
    }

    pub(super) fn unsupported(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(501, "NotImplemented", what)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// As an answer; one to HEAD has no body.
    pub(super) fn response(&self, head: bool) -> Response<Reply> {
        let bodiless = head || self.status == StatusCode::NOT_MODIFIED;
        let mut response = if bodiless { Response::new(Reply::empty()) } else { xml(self.element()) };
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in &self.headers {
            set(&mut response, name, value);
        }
        response
    }

    pub(super) fn element(&self) -> String {
        format!("<Error><Code>{}</Code><Message>{}</Message></Error>", self.code, Escaped(&self.message))
    }

    /// Of one key in an answer about many.
    pub(super) fn element_for(&self, key: &str) -> String {
        let (code, message) = (self.code, Escaped(&self.message));
        format!("<Error><Key>{}</Key><Code>{code}</Code><Message>{message}</Message></Error>", Escaped(key))
    }
}

/// Sets a header from text; what can't be one is left out.
pub(super) fn set(response: &mut Response<Reply>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// 200, or another status, without a body.
pub(super) fn bare(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::empty());
    *response.status_mut() = status;
    response
}

/// 200 with an element.
pub(super) fn xml(element: String) -> Response<Reply> {
    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let pieces = vec![Bytes::from_static(HEAD.as_bytes()), Bytes::from(element)];
    let mut response = Response::new(Reply::new(Content::new(pieces)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Text as it is written into XML; what XML 1.0 has no place for as S3 writes it.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let special = |c: char| matches!(c, '&' | '<' | '>' | '"') || c.is_control();
        let mut rest = self.0;
        while let Some(at) = rest.find(special) {
            let (before, from) = rest.split_at(at);
            f.write_str(before)?;
            let Some(c) = from.chars().next() else { break };
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                control => write!(f, "&#x{:x};", u32::from(control))?,
            }
            rest = &from[c.len_utf8()..];
        }
        f.write_str(rest)
    }
}
