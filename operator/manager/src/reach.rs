//! Where the stores of centres may be, as the platform says: whoever writes a Centre must not reach through the operator what
//! is meant for this machine, this cluster or this cloud alone.

use std::env;
use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use tripod_replication::Reach;

/// Where Kubernetes tells every pod its API server's address.
const API_SERVER: &str = "KUBERNETES_SERVICE_HOST";

#[derive(Args, Debug)]
pub struct ReachArguments {
    /// Networks where stores may be called that are refused otherwise: loopback, link-local, multicast, metadata of clouds, the
    /// API server, and --stores-refuse. Can be repeated.
    #[arg(long, env = "TRIPOD_STORES_ALLOW", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    stores_allow: Vec<IpNet>,
    /// More networks where no store is called, such as the cluster's ranges of services and pods. Can be repeated.
    #[arg(long, env = "TRIPOD_STORES_REFUSE", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    stores_refuse: Vec<IpNet>,
}

impl ReachArguments {
    /// What this comes to, with the API server's own addresses.
    pub async fn reach(&self) -> Reach {
        let mut refused = self.stores_refuse.clone();
        if let Ok(host) = env::var(API_SERVER) {
            let found = addresses(&host).await;
            if found.is_empty() {
                tracing::warn!(host, "the API server has no address; a Centre that names it is not refused");
            }
            refused.extend(found.into_iter().map(IpNet::from));
        }
        Reach::guarded(&refused, &self.stores_allow)
    }
}

/// Some clouds give a name.
async fn addresses(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return vec![address.to_canonical()];
    }
    let found = tokio::net::lookup_host((host, 443)).await;
    found.into_iter().flatten().map(|address| address.ip().to_canonical()).collect()
}

/// `10.96.0.0/12`, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| single());
    match network.map_err(|_| "write it like 10.96.0.0/12 or fd00::/8".to_owned())? {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
            Err("write networks of IPv4 like 10.96.0.0/12: addresses are compared so".to_owned())
        }
        network => Ok(network.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_as_it_is_compared() {
        assert_eq!(network("10.96.0.7/12").unwrap().to_string(), "10.96.0.0/12");
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("fd00::1/8").unwrap().to_string(), "fd00::/8");
        for wrong in ["", "10.0.0.0/33", "10.0.0", "store.example", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1"]
        {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_api_server_is_found_by_address_and_by_name() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(addresses("10.96.0.1").await, [address("10.96.0.1")]);
        assert_eq!(addresses("::ffff:10.96.0.1").await, [address("10.96.0.1")]);
        assert!(addresses("localhost").await.iter().all(IpAddr::is_loopback));
        assert!(!addresses("localhost").await.is_empty());
        assert!(addresses("no host at all").await.is_empty());
    }
}
