//! The thin data plane: signed requests of S3 over pooled connections, for the few calls that are made once for every
//! object. Everything else goes through the SDK, which costs five times the processor time a call.

mod call;
mod etag;
mod hashed;
mod list;
mod lock;
mod multipart;
mod object;
mod passing;
mod permission;
mod tls;
mod versions;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::fair::Lane;
use crate::reach::Resolver;
use crate::{StoreConfig, StoreError};

pub use self::etag::ETag;
pub use self::hashed::{Hash, Hashed, Turned};
pub(crate) use self::list::moment;
pub use self::list::{Entry, Page};
pub use self::lock::{Lock, Retention};
pub use self::object::{About, Condition, Found, Part, Written};
pub use self::passing::{Digests, Outgoing, Passed, Passing, of_bytes};
pub use self::versions::{Version, Versioning, Versions};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// How long calls may take, and how often they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the headers of an answer are there, and the longest silence inside a body.
    pub silence: Duration,
    /// Before what failed is tried again; it doubles each time.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(30), pause: Duration::from_millis(100) }
    }
}

/// Times a call is made that failed in a way that may pass.
const ATTEMPTS: u32 = 5;
/// A connection that was not used for so long is closed. Stores close theirs after 60 s and more: a request on one
/// that is being closed fails.
const IDLE: Duration = Duration::from_secs(20);
/// Bytes that a connection buffers of each direction. hyper's own default lets one grow to 400 KiB, which with hundreds
/// of connections is most of the memory.
const BUFFER: usize = 64 << 10;

/// One store, as the data plane sees it. Cheap to clone.
#[derive(Clone)]
pub struct Wire {
    inner: Arc<Inner>,
    /// The link that all calls go over.
    lane: Option<Lane>,
}

struct Inner {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Outgoing>,
    endpoint: String,
    base: String,
    host: http::HeaderValue,
    region: String,
    identity: Identity,
    settings: SigningSettings,
    patience: Patience,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}

impl Wire {
    /// Prepares a client. No call is made.
    ///
    /// # Errors
    /// When the endpoint is not a URL of http or https or may not be called, or the certificates are not PEM.
    pub fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::with_patience(config, Patience::default())
    }

    /// As [`Wire::connect`], with another patience.
    ///
    /// # Errors
    /// As [`Wire::connect`].
    pub fn with_patience(config: &StoreConfig, patience: Patience) -> Result<Self, StoreError> {
        let malformed = |detail: &str| StoreError::Other {
            what: format!("endpoint {:?}", config.endpoint),
            detail: format!("{detail}; write it like https://s3.example"),
        };
        let base = config.endpoint.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| malformed("is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(malformed("is not a URL of http or https"));
        }
        let authority = uri.authority().ok_or_else(|| malformed("names no host"))?;
        let host = http::HeaderValue::from_str(authority.as_str()).map_err(|_| malformed("names no host"))?;
        config.reach.check_endpoint(base)?;
        let mut http = HttpConnector::new_with_resolver(Resolver::new(&config.reach));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(BUFFER)
            .build(tls::connector(config, http)?);
        let keys = Credentials::new(
            &config.access_key_id,
            &config.secret_access_key,
            config.session_token.clone(),
            None,
            "tripod",
        );
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let inner = Inner {
            client,
            endpoint: config.endpoint.clone(),
            base: base.to_owned(),
            host,
            region: config.region.clone(),
            identity: keys.into(),
            settings,
            patience,
        };
        Ok(Self { inner: Arc::new(inner), lane: None })
    }

    /// The same store, where every request and every byte of a body goes over a link with a limit.
    #[must_use]
    pub fn over(self, lane: Lane) -> Self {
        Self { lane: Some(lane), ..self }
    }

    /// The URL it was made for.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// Whether a URL is that of the same store, as far as URLs tell.
    #[must_use]
    pub fn is_at(&self, endpoint: &str) -> bool {
        let place = |url: &str| {
            let uri: Uri = url.trim_end_matches('/').parse().ok()?;
            let standard = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            Some((uri.host()?.trim_end_matches('.').to_ascii_lowercase(), uri.port_u16().unwrap_or(standard)))
        };
        self.endpoint() == endpoint || place(self.endpoint()).is_some_and(|own| Some(own) == place(endpoint))
    }

    /// How long calls may take.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.inner.patience
    }

    /// Calls again after an error that may pass.
    pub(crate) async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        call: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        crate::store::persist_for(ATTEMPTS, self.inner.patience.pause, call).await
    }

    /// Signs for now. The content is not part of the signature: it is streamed, and proved by digests.
    fn signed(&self, mut request: Request<Outgoing>) -> Result<Request<Outgoing>, StoreError> {
        let inner = &*self.inner;
        request.headers_mut().insert(http::header::HOST, inner.host.clone());
        let failed = |error: &dyn fmt::Display| StoreError::Other {
            what: format!("a request to {}", inner.endpoint),
            detail: format!("can't be signed: {error}"),
        };
        let parameters = v4::SigningParams::builder()
            .identity(&inner.identity)
            .region(&inner.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(inner.settings.clone())
            .build()
            .map_err(|e| failed(&e))?
            .into();
        // Header values of ours that are not text can't be signed, and none is made.
        let headers = request.headers().iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
        let uri = request.uri().to_string();
        let body = SignableBody::UnsignedPayload;
        let signable =
            SignableRequest::new(request.method().as_str(), uri, headers, body).map_err(|e| failed(&e))?;
        let (instructions, _) = sign(signable, &parameters).map_err(|e| failed(&e))?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}
