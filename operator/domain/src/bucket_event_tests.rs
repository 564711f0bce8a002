use super::*;

fn of(body: &str) -> (String, Vec<String>, bool) {
    let events = parse(body.as_bytes()).unwrap();
    let [event] = &events[..] else { panic!("{events:?}") };
    (event.bucket.clone(), event.keys.iter().cloned().collect(), event.is_gone)
}

/// The example of "Event message structure" in the user guide of Amazon S3, with a key as it says keys are encoded.
const AWS: &str = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-west-2",
    "eventTime":"1970-01-01T00:00:00.000Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"AIDAJDPLRKLG7UEXAMPLE"},
    "requestParameters":{"sourceIPAddress":"127.0.0.1"},"responseElements":{"x-amz-request-id":"C3D13FE58DE4C810",
    "x-amz-id-2":"FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD"},"s3":{"s3SchemaVersion":"1.0",
    "configurationId":"testConfigRule","bucket":{"name":"amzn-s3-demo-bucket","ownerIdentity":{"principalId":"A3NL1KOZZKExample"},
    "arn":"arn:aws:s3:::amzn-s3-demo-bucket"},"object":{"key":"red+flower%2B1.jpg","size":1024,
    "eTag":"d41d8cd98f00b204e9800998ecf8427e","versionId":"096fKKXTRTtl3on89fVO.nfljtsv6qko","sequencer":"0055AED6DCD90281E5"}}}]}"#;

/// What MinIO sends to a webhook: a record, and above it what it is about.
const MINIO: &str = r#"{"EventName":"s3:ObjectCreated:Put","Key":"images/目录/a b.jpg","Records":[{"eventVersion":"2.0",
    "eventSource":"minio:s3","awsRegion":"","eventTime":"2023-03-21T10:00:34.001Z","eventName":"s3:ObjectCreated:Put",
    "userIdentity":{"principalId":"minio"},"requestParameters":{"principalId":"minio","region":"","sourceIPAddress":"172.18.0.1"},
    "responseElements":{"x-amz-request-id":"174E6B1A0EB8F8A4","x-minio-deployment-id":"0170a4cc-dca6-4e72-86f1-c0cc760dff7f"},
    "s3":{"s3SchemaVersion":"1.0","configurationId":"Config","bucket":{"name":"images","ownerIdentity":{"principalId":"minio"},
    "arn":"arn:aws:s3:::images"},"object":{"key":"%E7%9B%AE%E5%BD%95%2Fa+b.jpg","size":224662,"contentType":"image/jpeg",
    "eTag":"5fc7298143efe1276d39a3466d4e255f-1","sequencer":"15CFEDF8D5304D1A"}},"source":{"host":"172.18.0.1","port":""}}]}"#;

/// What versitygw 1.8 sends (`s3event/event.go`): the key is the path as it was asked for.
const VERSITYGW: &str = r#"{"Records":[{"eventVersion":"2.2","eventSource":"aws:s3","awsRegion":"us-east-1",
    "eventTime":"2026-11-26T04:00:00Z","eventName":"s3:ObjectCreated:Put","userIdentity":{"PrincipalId":"root"},
    "requestParameters":{"sourceIPAddress":"127.0.0.1"},"responseElements":{"x-amz-request-id":"","x-amz-id-2":""},
    "s3":{"s3SchemaVersion":"1.0","configurationId":"webhook-global","bucket":{"name":"files","ownerIdentity":{"PrincipalId":"root"},
    "arn":"arn:aws:s3:::/files/with%20a%20space/plus+.txt"},"object":{"key":"with%20a%20space/plus+.txt","size":7,
    "eTag":"c4ca4238a0b923820dcc509a6f75849b","versionId":null,"sequencer":"18BC0000"}},
    "glacierEventData":{"restoreEventData":{"lifecycleRestorationExpiryTime":"","lifecycleRestoreStorageClass":""}}}]}"#;

/// What radosgw pushes to an HTTP endpoint (`rgw_pubsub.h`): its own fields beside those of S3, and keys as they are.
const CEPH: &str = r#"{"Records":[{"eventVersion":"2.2","eventSource":"ceph:s3","awsRegion":"default",
    "eventTime":"2024-04-21T10:03:18.419013Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"user"},
    "requestParameters":{"sourceIPAddress":""},"responseElements":{"x-amz-request-id":"89759221-f520.14369.13245","x-amz-id-2":
    "3821-default-default"},"s3":{"s3SchemaVersion":"1.0","configurationId":"HTTPNotification","bucket":{"name":"jayanth",
    "ownerIdentity":{"principalId":"user"},"arn":"arn:aws:s3:default::jayanth","id":"89759221-f520-4594.14371.2"},"object":{
    "key":"100% of it.json","size":177,"eTag":"a60023221945e53a31f07df71f37f032","versionId":"","sequencer":"66E42466712CA919",
    "metadata":[{"key":"x-amz-meta-s3cmd-attrs","val":"uid:0"}],"tags":[]}},"eventId":"1713693798.430517.a60023221945e53a",
    "opaqueData":""}]}"#;

#[test]
fn the_key_is_among_its_readings() {
    for (body, bucket, key) in [
        (AWS, "amzn-s3-demo-bucket", "red flower+1.jpg"),
        (MINIO, "images", "目录/a b.jpg"),
        (VERSITYGW, "files", "with a space/plus+.txt"),
        (CEPH, "jayanth", "100% of it.json"),
    ] {
        let (found, keys, is_gone) = of(body);
        assert!(found == bucket && keys.iter().any(|k| k == key) && keys.len() <= 3 && !is_gone, "{keys:?}");
    }
    // Most keys have one reading.
    let plain = VERSITYGW.replace("with%20a%20space/plus+.txt", "scans/1.txt");
    assert_eq!(of(&plain).1, ["scans/1.txt"]);
}

#[test]
fn what_was_deleted_is_told_apart() {
    for name in ["ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated", "LifecycleExpiration:Delete"]
    {
        assert!(of(&AWS.replace("ObjectCreated:Put", name)).2, "{name}");
    }
    assert!(!of(&AWS.replace("ObjectCreated:Put", "ObjectTagging:Put")).2);
}

#[test]
fn some_messages_have_no_records_or_many() {
    // MinIO, where something on the way kept the outside only.
    let outside = r#"{"EventName":"s3:ObjectRemoved:Delete","Key":"images/a/b%.jpg","Records":[]}"#;
    assert_eq!(of(outside), ("images".into(), vec!["a/b%.jpg".into()], true));
    // What AWS and versitygw send to try the way (`s3event/event.go`).
    let aws = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"amzn-s3-demo-bucket"}"#;
    let versitygw =
        r#"{"Bucket":"Test-Bucket","Event":"s3:TestEvent","Service":"S3","Time":"2026-11-26T04:00:00Z"}"#;
    for body in [aws, versitygw, r#"{"Records":[]}"#] {
        assert_eq!(parse(body.as_bytes()), Ok(Vec::new()));
    }
    let one = VERSITYGW.trim_start_matches(r#"{"Records":["#).trim_end_matches("]}");
    let of_bucket = one.replace("with%20a%20space/plus+.txt", "");
    let body = format!(r#"{{"Records":[{one},{of_bucket},{one}]}}"#);
    assert_eq!(parse(body.as_bytes()).unwrap().len(), 2);
}

#[test]
fn what_is_no_event_is_refused_in_words() {
    for (body, words) in [
        ("", "it is no event of S3"),
        ("[1]", "it is no event of S3"),
        (r#"{"Records":[{"eventName":"x"}]}"#, "missing field `s3`"),
        (r#"{"Records":[{"s3":{"bucket":{}}}]}"#, "missing field `name`"),
        (r#"{"Key":"images"}"#, "Key: \"images\" is no bucket with a key"),
        ("{}", "neither Records nor Key"),
    ] {
        let error = parse(body.as_bytes()).unwrap_err();
        assert!(error.contains(words), "{body}: {error}");
    }
}
