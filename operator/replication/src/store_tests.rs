use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

fn config(endpoint: &str, ca_pem: Option<&str>) -> StoreConfig {
    StoreConfig {
        endpoint: endpoint.into(),
        region: "r".into(),
        ca_pem: ca_pem.map(Into::into),
        access_key_id: "id".into(),
        secret_access_key: "hush".into(),
        session_token: None,
        reach: Reach::default(),
    }
}

/// A server that gives one answer after the other, each on its own connection. The connection of an answer that
/// is shorter than it promises is closed, or with `hold` kept open in silence.
fn serve(answers: Vec<&'static str>, hold: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for answer in answers {
            let (mut peer, _) = listener.accept().unwrap();
            let _ = peer.read(&mut [0; 8192]);
            peer.write_all(answer.as_bytes()).unwrap();
            if hold {
                open.push(peer);
            }
        }
        if hold {
            std::thread::sleep(Duration::from_mins(1));
        }
    });
    endpoint
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef";
const BROKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabc";

#[test]
fn the_secret_is_never_printed() {
    let config = config("http://s", None);
    assert!(!format!("{config:?}").contains("hush"));
    assert!(!format!("{:?}", Store::connect(&config)).contains("hush"));
}

#[test]
fn a_description_that_can_not_work_is_refused_before_any_call() {
    for endpoint in ["", "s3.example", "ftp://s", "https://"] {
        assert!(Store::connect(&config(endpoint, None)).unwrap_err().to_string().contains("is not a URL"));
    }
    let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    for pem in ["", "no certificate", garbage] {
        let error = Store::connect(&config("https://s", Some(pem))).unwrap_err();
        assert!(error.to_string().contains("certificates to trust for https://s"), "{error}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again() {
    let store = Store::connect(&config(&serve(vec![BROKEN, BROKEN, WHOLE], false), None)).unwrap();
    assert_eq!(store.get("b", "k").await.unwrap(), Bytes::from_static(b"abcdef"));
}

#[tokio::test]
async fn a_body_that_falls_silent_does_not_hold_its_reader() {
    let mut store = Store::connect(&config(&serve(vec![BROKEN; 3], true), None)).unwrap();
    store.silence = Duration::from_millis(50);
    let error = store.get("b", "k").await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("nothing came"), "{error}");
}

#[tokio::test]
async fn a_conflict_that_decided_nothing_is_not_taken_for_an_object() {
    let conflict = "HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 62\r\n\r\n\
                    <Error><Code>ConditionalRequestConflict</Code></Error>        ";
    let missing = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 38\r\n\r\n\
                   <Error><Code>NoSuchKey</Code></Error> ";
    let made = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let store = Store::connect(&config(&serve(vec![conflict, missing, made], false), None)).unwrap();
    assert_eq!(store.put_new("b", "k", Bytes::from_static(b"x")).await, Ok(Created::Yes));
}
