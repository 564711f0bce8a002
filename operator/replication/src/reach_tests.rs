use std::future::{Ready, ready};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::*;
use crate::wire::{Part, Patience, Wire};
use crate::{Store, StoreConfig};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn what_no_store_has_is_refused_in_every_way_to_write_it() {
    let reach = Reach::guarded(&[net("10.96.0.0/12"), net("fd00:96::/112")], &[net("127.0.0.7/32")]);
    let cases = [
        ("169.254.169.254", Some("169.254.0.0/16")),
        ("::ffff:169.254.169.254", Some("169.254.0.0/16")),
        ("64:ff9b::169.254.169.254", Some("169.254.0.0/16")),
        ("64:ff9b:1::a9fe:a9fe", Some("64:ff9b:1::/48")),
        ("::169.254.169.254", Some("::/96")),
        ("100.100.100.200", Some("100.100.100.200/32")),
        ("168.63.129.16", Some("168.63.129.16/32")),
        ("192.0.0.192", Some("192.0.0.0/24")),
        ("fd00:ec2::254", Some("fd00:ec2::254/128")),
        ("fd20:ce::254", Some("fd20:ce::254/128")),
        ("fe80::1", Some("fe80::/10")),
        ("127.0.0.1", Some("127.0.0.0/8")),
        ("127.0.0.8", Some("127.0.0.0/8")),
        ("::ffff:127.0.0.1", Some("127.0.0.0/8")),
        ("::1", Some("::/96")),
        ("::", Some("::/96")),
        ("0.0.0.0", Some("0.0.0.0/8")),
        ("224.0.0.1", Some("224.0.0.0/4")),
        ("ff02::1", Some("ff00::/8")),
        ("255.255.255.255", Some("240.0.0.0/4")),
        // What the platform refuses, and what it allows.
        ("10.96.0.1", Some("10.96.0.0/12")),
        ("::ffff:10.96.0.1", Some("10.96.0.0/12")),
        ("fd00:96::1", Some("fd00:96::/112")),
        ("127.0.0.7", None),
        ("::ffff:127.0.0.7", None),
        // Where stores are.
        ("10.1.2.3", None),
        ("172.16.0.9", None),
        ("192.168.1.1", None),
        ("100.64.0.1", None),
        ("fd12:3456::1", None),
        ("8.8.8.8", None),
        ("2001:db8::1", None),
        ("64:ff9b::8.8.8.8", None),
    ];
    for (address, refused) in cases {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(reach.check(address).err().map(|e| e.network), refused.map(net), "{address}");
        assert_eq!(Reach::default().check(address), Ok(()), "{address}");
    }
}

#[test]
fn an_endpoint_that_is_an_address_is_refused_before_any_call() {
    let reach = Reach::guarded(&[], &[]);
    for endpoint in [
        "http://169.254.169.254",
        "http://169.254.169.254:80/",
        "http://user@169.254.169.254",
        "https://[::ffff:169.254.169.254]:443",
        "http://[fe80::1]",
        "http://0.0.0.0:9000",
    ] {
        for error in [
            Wire::connect(&config(endpoint, &reach)).unwrap_err(),
            Store::connect(&config(endpoint, &reach)).unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::OutOfReach { .. }), "{endpoint}: {error}");
            let words = error.to_string();
            assert!(words.contains(endpoint.trim_end_matches('/')), "{words}");
            assert!(words.contains("stores.reach.allow"), "{words}");
        }
    }
    assert!(Wire::connect(&config("http://10.0.0.1", &reach)).is_ok());
    assert!(Store::connect(&config("http://10.0.0.1", &reach)).is_ok());
}

fn config(endpoint: &str, reach: &Reach) -> StoreConfig {
    StoreConfig {
        endpoint: endpoint.into(),
        region: "r".into(),
        ca_pem: None,
        access_key_id: "id".into(),
        secret_access_key: "secret".into(),
        session_token: None,
        reach: reach.clone(),
    }
}

/// Knows every name, and one more address each time that it is asked.
#[derive(Clone, Debug)]
struct Names {
    addresses: Vec<Vec<IpAddr>>,
    asked: Arc<AtomicU32>,
}

impl Names {
    fn of(addresses: &[&[&str]]) -> Self {
        let parsed = |list: &&[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        Self { addresses: addresses.iter().map(parsed).collect(), asked: Arc::default() }
    }
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) as usize % self.addresses.len();
        let found: Vec<_> = self.addresses[turn].iter().map(|address| SocketAddr::new(*address, 0)).collect();
        ready(Ok(found.into_iter()))
    }
}

/// A server that gives the same answer to all, and counts its visitors.
fn serve(answer: String) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, visitors) = (listener.local_addr().unwrap().port(), Arc::<AtomicU32>::default());
    let counted = visitors.clone();
    std::thread::spawn(move || {
        while let Ok((mut peer, _)) = listener.accept() {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = peer.read(&mut [0; 8192]);
            let _ = peer.write_all(answer.as_bytes());
        }
    });
    (port, visitors)
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_name_is_judged_by_what_it_means_at_each_connection() {
    let (port, visitors) = serve(EMPTY.to_owned());
    let get = async |names: Names, reach: Reach| {
        let http = HttpConnector::new_with_resolver(Resolver { inner: names, reach });
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(http);
        let uri = format!("http://store.example:{port}/").parse().unwrap();
        match client.get(uri).await {
            Ok(answer) => drop(answer.into_body().collect().await.unwrap()),
            Err(error) => return Err(OutOfReach::in_causes_of(&error).unwrap().address.to_string()),
        }
        // Whoever answers for the name may change what it means.
        let uri = format!("http://store.example:{port}/").parse().unwrap();
        let again = client.get(uri).await.map(drop);
        again.map_err(|error| OutOfReach::in_causes_of(&error).unwrap().address.to_string())
    };
    let guarded = || Reach::guarded(&[], &[]);
    let near = || Reach::guarded(&[], &[net("127.0.0.1/32")]);
    let metadata = "169.254.169.254";
    assert_eq!(get(Names::of(&[&[metadata]]), guarded()).await, Err(metadata.to_owned()));
    assert_eq!(get(Names::of(&[&["127.0.0.1"]]), guarded()).await, Err("127.0.0.1".to_owned()));
    assert_eq!(visitors.load(Ordering::SeqCst), 0);
    assert_eq!(get(Names::of(&[&["127.0.0.1"], &[metadata]]), near()).await, Err(metadata.to_owned()));
    assert_eq!(visitors.load(Ordering::SeqCst), 1);
    // One that may be connected to is enough, and no other is.
    assert_eq!(get(Names::of(&[&[metadata, "127.0.0.1", "::1"]]), near()).await, Ok(()));
    assert_eq!(visitors.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_sdk_gets_the_same_addresses() {
    let names = Names::of(&[&["169.254.169.254", "10.0.0.1"], &["169.254.169.254"]]);
    let resolver = Resolver { inner: names, reach: Reach::guarded(&[], &[]) };
    assert_eq!(resolver.resolve_dns("s").await.unwrap(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    let error = resolver.resolve_dns("s").await.unwrap_err();
    assert!(OutOfReach::in_causes_of(&error).is_some(), "{error:?}");
}

#[tokio::test]
async fn both_clients_say_why_they_do_not_call() {
    let (port, visitors) = serve(EMPTY.to_owned());
    let endpoint = format!("http://localhost:{port}");
    let guarded = config(&endpoint, &Reach::guarded(&[], &[]));
    let by_wire = Wire::connect(&guarded).unwrap().head("b", "k", Part::default()).await.unwrap_err();
    let by_sdk = Store::connect(&guarded).unwrap().head("b", "k").await.unwrap_err();
    for error in [by_wire, by_sdk] {
        assert!(matches!(&error, StoreError::OutOfReach { endpoint: at, .. } if *at == endpoint), "{error}");
        assert!(!error.is_transient());
    }
    assert_eq!(visitors.load(Ordering::SeqCst), 0);
    let near = config(&endpoint, &Reach::guarded(&[], &[net("127.0.0.0/8")]));
    assert!(Wire::connect(&near).unwrap().head("b", "k", Part::default()).await.unwrap().is_some());
    assert!(Store::connect(&near).unwrap().head("b", "k").await.unwrap().is_some());
    assert_eq!(visitors.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let (elsewhere, visitors) = serve(EMPTY.to_owned());
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let to = format!("http://127.0.0.1:{elsewhere}/b/k");
        let (port, _) = serve(format!(
            "HTTP/1.1 {status}\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        let config = config(&format!("http://127.0.0.1:{port}"), &Reach::default());
        let patience = Patience { silence: Duration::from_secs(5), pause: Duration::from_millis(1) };
        let wire = Wire::with_patience(&config, patience).unwrap();
        assert!(wire.get("b", "k", Part::default()).await.is_err(), "{status}");
        assert!(wire.list("b", "", None, None).await.is_err(), "{status}");
        let store = Store::connect(&config).unwrap();
        assert!(store.get("b", "k").await.is_err(), "{status}");
        assert!(store.list("b", "").await.is_err(), "{status}");
        assert!(store.put("b", "k", Bytes::from_static(b"x")).await.is_err(), "{status}");
    }
    assert_eq!(visitors.load(Ordering::SeqCst), 0);
}
