//! Connections, and the way of a request through the store: its fault, its body, what is done, its answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::{DATE, ETAG, HeaderValue};
use http::{Method, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::answer::{Cut, Failure, Reply, xml};
use super::content::Content;
use super::digest::Digests;
use super::fault::Fault;
use super::receive::{Received, receive};
use super::request::{Operation, Request};
use super::{Shared, buckets, list, lock, multipart, read, write};

/// Before it is tried again to accept: there are too many files open.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves until it is dropped, which ends all its connections.
pub(super) async fn serve(listener: TcpListener, store: Arc<Shared>) {
    let tls = store.options.tls.clone().map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        // Without it small answers wait for each other.
        let _ = stream.set_nodelay(true);
        let (store, tls) = (store.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => converse(stream, store).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, store).await;
                    }
                }
            }
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, store: Arc<Shared>) {
    let service = service_fn(move |request| answer(store.clone(), request));
    // How a connection ends is the client's affair, or was a fault on purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(store: Arc<Shared>, request: http::Request<Incoming>) -> Result<Response<Reply>, Cut> {
    let (parts, body) = request.into_parts();
    let head = parts.method == Method::HEAD;
    let request = match Request::parse(parts) {
        Ok(request) => request,
        Err(refusal) => return Ok(refusal.response(head)),
    };
    store.count(request.operation);
    let fault = store.faults.next(&request);
    let mut flip = None;
    match &fault {
        Some(Fault::ConnectionCutBefore) => return Err(Cut),
        Some(Fault::Slow(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::FlippedUpload(it)) => flip = Some(*it),
        _ => {}
    }
    let received = if body.is_end_stream() {
        empty(&store)
    } else {
        receive(body, &request.headers, &store.options, flip).await?
    };
    let done = match &fault {
        Some(Fault::HalfOpen) => std::future::pending().await,
        Some(fault) => refusal(fault, request.operation).map_or(Ok(()), Err),
        None => Ok(()),
    };
    let done = done.and_then(|()| store.admit(&request));
    let done = match &fault {
        Some(Fault::ErrorInside200) if done.is_ok() => {
            Ok(xml(Failure::new(200, "InternalError", "It failed after it had begun to answer.").element()))
        }
        fault => done.and_then(|()| handle(&store, &request, received, fault.as_ref())),
    };
    let mut response = done.unwrap_or_else(|refusal| refusal.response(head));
    response.headers_mut().insert(DATE, store.clock.date());
    match fault {
        Some(Fault::ReplyLost) => Err(Cut),
        Some(fault) => Ok(spoilt(response, &fault, request.operation)),
        None => Ok(response),
    }
}

fn empty(store: &Shared) -> Received {
    let digests = Digests::of(store.options.etags, []);
    Received { content: Content::new(Vec::new()), digests, trailers: Vec::new(), malformed: false }
}

/// What a fault says instead of doing.
fn refusal(fault: &Fault, operation: Operation) -> Option<Failure> {
    match fault {
        Fault::Status(503) => Some(Failure::new(503, "SlowDown", "Please reduce your request rate.")),
        Fault::Status(status) => Some(Failure::new(*status, "InternalError", "A fault on purpose.")),
        Fault::Full(status) if operation.writes() => {
            Some(Failure::new(*status, "QuotaExceeded", "There is no space left."))
        }
        Fault::ExpiredToken => Some(expired()),
        Fault::Denied => Some(Failure::new(403, "AccessDenied", "Access Denied")),
        _ => None,
    }
}

pub(super) fn expired() -> Failure {
    Failure::new(400, "ExpiredToken", "The provided token has expired.")
}

/// An answer as a fault leaves it.
fn spoilt(mut response: Response<Reply>, fault: &Fault, operation: Operation) -> Response<Reply> {
    match fault {
        Fault::TruncatedBody => response.map(Reply::truncated),
        Fault::FlippedByte(flip) if operation == Operation::GetObject => {
            response.map(|reply| Reply::new(reply.content.flipped(*flip)))
        }
        Fault::WrongETag => {
            if let Some(etag) = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()) {
                let other = other_etag(etag, "\"");
                if let Ok(other) = HeaderValue::from_str(&other) {
                    response.headers_mut().insert(ETAG, other);
                }
                return response;
            }
            if operation == Operation::GetObject {
                return response;
            }
            response.map(|reply| {
                let text = String::from_utf8_lossy(&reply.content.to_bytes()).into_owned();
                Reply::new(Content::from(other_etag(&text, "<ETag>&quot;")))
            })
        }
        _ => response,
    }
}

/// With the first digit after a mark changed.
fn other_etag(text: &str, mark: &str) -> String {
    let Some((before, after)) = text.split_once(mark) else { return text.to_owned() };
    let (digit, rest) = after.split_at_checked(1).unwrap_or(("", after));
    let other = if digit == "0" { "1" } else { "0" };
    [before, mark, other, rest].concat()
}

/// Does what is asked.
fn handle(
    store: &Shared,
    request: &Request,
    received: Received,
    fault: Option<&Fault>,
) -> Result<Response<Reply>, Failure> {
    let options = &store.options;
    let bucket = &request.bucket;
    match request.operation {
        Operation::ListBuckets => Ok(buckets::list(store)),
        Operation::CreateBucket => buckets::create(store, request),
        Operation::HeadBucket => buckets::head(store, request),
        Operation::DeleteBucket => buckets::delete(store, request),
        Operation::GetBucketLocation => buckets::location(store, request),
        Operation::GetBucketVersioning => buckets::get_versioning(store, request),
        Operation::PutBucketVersioning => buckets::put_versioning(store, request, &received),
        Operation::GetObjectLockConfiguration => buckets::get_object_lock(store, request),
        Operation::GetBucketTagging => buckets::get_tagging(store, request),
        Operation::ListObjectsV2 => list::objects(options, store.read().bucket(bucket)?, request, fault),
        Operation::ListObjectVersions => {
            list::versions(options, store.read().bucket(bucket)?, request, fault)
        }
        Operation::ListMultipartUploads => list::uploads(options, store.read().bucket(bucket)?, request),
        Operation::GetObject => read::read(options, store.read().bucket(bucket)?, request, false),
        Operation::HeadObject => read::read(options, store.read().bucket(bucket)?, request, true),
        Operation::PutObject => write::put(store, request, received),
        Operation::CopyObject => write::copy(store, request),
        Operation::DeleteObject => write::delete(store, request),
        Operation::DeleteObjects => write::delete_many(store, request, &received),
        Operation::CreateMultipartUpload => multipart::create(store, request),
        Operation::UploadPart => multipart::upload_part(store, request, received),
        Operation::CompleteMultipartUpload => multipart::complete(store, request, &received),
        Operation::AbortMultipartUpload => multipart::abort(store, request),
        Operation::ListParts => multipart::list_parts(store, request),
        Operation::GetObjectTagging | Operation::PutObjectTagging | Operation::DeleteObjectTagging
            if options.no_tags =>
        {
            Err(Failure::unsupported("This store keeps no tags."))
        }
        Operation::GetObjectTagging => write::get_tags(store, request),
        Operation::PutObjectTagging => write::put_tags(store, request, &received),
        Operation::DeleteObjectTagging => write::delete_tags(store, request),
        Operation::PutObjectRetention => lock::put_retention(store, request, &received),
        Operation::PutObjectLegalHold => lock::put_legal_hold(store, request, &received),
        Operation::Other => Err(Failure::unsupported("This store does not know what is asked.")),
    }
}
