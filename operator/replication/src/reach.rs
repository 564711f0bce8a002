//! Whom a store's endpoint may lead to. Behind a name there may be any address: this machine itself, the one where clouds hand
//! out credentials, a service of the cluster. So nothing is decided by names, but by the very addresses that are connected to,
//! each time that a name is resolved.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use tower::Service;

use crate::StoreError;

/// Where no store is, and others may be found who trust whoever reaches them. Private networks are not here: most stores are
/// in one.
const NEVER: [IpNet; 14] = [
    // This machine, in all the ways to say so.
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    // Also `::`, `::1`, and the IPv4 addresses that were once written so.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
    // This link. Most clouds hand out credentials at 169.254.169.254.
    v4([169, 254, 0, 0], 16),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    // Where others do: Alibaba, Azure, Oracle; AWS and Google by IPv6.
    v4([100, 100, 100, 200], 32),
    v4([168, 63, 129, 16], 32),
    v4([192, 0, 0, 0], 24),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    // Many at once.
    v4([224, 0, 0, 0], 4),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    // Reserved, and everybody at its end.
    v4([240, 0, 0, 0], 4),
    // NAT64 of whoever runs the network: which address is meant, nobody else knows.
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
];

const fn v4(address: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_octets(address), length))
}

const fn v6(address: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_segments(address), length))
}

/// Which addresses may be connected to. By default all. Written down for those who work for others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    refused: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

/// An address that may not be connected to.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("{address} is in {network}, where no store may be called")]
pub struct OutOfReach {
    pub address: IpAddr,
    /// The network that is refused.
    pub network: IpNet,
}

impl Reach {
    /// Neither what is never a store, nor these networks; except what is allowed, which counts more.
    #[must_use]
    pub fn guarded(refused: &[IpNet], allowed: &[IpNet]) -> Self {
        Self { refused: [&NEVER, refused].concat(), allowed: allowed.to_vec() }
    }

    /// Whether an address may be connected to. IPv4 in IPv6 is IPv4.
    ///
    /// # Errors
    /// With the network that is refused.
    pub fn check(&self, address: IpAddr) -> Result<(), OutOfReach> {
        let meant = meant(address);
        if self.allowed.iter().any(|network| network.contains(&meant)) {
            return Ok(());
        }
        match self.refused.iter().find(|network| network.contains(&meant)) {
            Some(network) => Err(OutOfReach { address, network: *network }),
            None => Ok(()),
        }
    }

    /// Of an endpoint that is an address: those are connected to without being resolved.
    pub(crate) fn check_endpoint(&self, endpoint: &str) -> Result<(), StoreError> {
        let uri: Option<Uri> = endpoint.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        address.map_or(Ok(()), |address| self.check(address)).map_err(|e| e.at(endpoint))
    }

    /// Those that may be connected to.
    fn within(&self, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, OutOfReach> {
        let (mut within, mut refused) = (Vec::new(), None);
        for address in found {
            match self.check(address.ip()) {
                Ok(()) => within.push(address),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.filter(|_| within.is_empty()).map_or(Ok(within), Err)
    }
}

impl OutOfReach {
    pub(crate) fn at(self, endpoint: &str) -> StoreError {
        StoreError::OutOfReach { endpoint: endpoint.to_owned(), refusal: self }
    }

    /// Where it is the cause of an error.
    pub(crate) fn in_causes_of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref::<Self>() {
                return Some(*found);
            }
            next = cause.source();
        }
        None
    }
}

/// The address that a packet ends up at.
fn meant(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.segments() {
            // NAT64 (RFC 6052).
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                let [.., a, b, c, d] = v6.octets();
                Ipv4Addr::new(a, b, c, d).into()
            }
            _ => address.to_canonical(),
        },
    }
}

/// Resolves names, and gives only addresses that may be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Resolver<R = GaiResolver> {
    inner: R,
    reach: Reach,
}

impl Resolver {
    /// As the machine resolves them.
    pub(crate) fn new(reach: &Reach) -> Self {
        Self { inner: GaiResolver::new(), reach: reach.clone() }
    }
}

type Boxed = Box<dyn Error + Send + Sync>;

impl<R> Service<Name> for Resolver<R>
where
    R: Service<Name, Response: Iterator<Item = SocketAddr>, Error: Into<Boxed>, Future: Send + 'static>,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Boxed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Boxed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, reach) = (self.inner.call(name), self.reach.clone());
        Box::pin(async move { Ok(reach.within(found.await.map_err(Into::into)?)?.into_iter()) })
    }
}

/// The same for the SDK.
impl<R> ResolveDns for Resolver<R>
where
    Self: Service<Name, Response = vec::IntoIter<SocketAddr>, Error = Boxed, Future: Send>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync,
{
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        let mut own = self.clone();
        DnsFuture::new(async move {
            let name = name.parse::<Name>().map_err(ResolveDnsError::new)?;
            std::future::poll_fn(|cx| own.poll_ready(cx)).await.map_err(ResolveDnsError::new)?;
            let found = own.call(name).await.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
