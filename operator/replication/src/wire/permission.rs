//! What an account must be allowed to do for a call: a store that refuses seldom says.

use http::Method;

use super::call::Call;

/// The action, as policies name it.
pub(super) fn needed(call: &Call<'_>) -> &'static str {
    let asks = |name: &str| call.query.iter().any(|(n, _)| *n == name);
    match call.method {
        Method::GET if asks("tagging") => "s3:GetObjectTagging",
        Method::GET if asks("uploads") => "s3:ListBucketMultipartUploads",
        _ if call.key.is_empty() => "s3:ListBucket",
        Method::DELETE if asks("uploadId") => "s3:AbortMultipartUpload",
        Method::DELETE => "s3:DeleteObject",
        Method::PUT | Method::POST if call.headers.contains_key("x-amz-tagging") => {
            "s3:PutObject and s3:PutObjectTagging"
        }
        Method::PUT | Method::POST => "s3:PutObject",
        // Without the right to list, what is not there is denied too.
        _ => "s3:GetObject and s3:ListBucket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_action() {
        let cases = [
            (Method::GET, "", "list-type", "s3:ListBucket"),
            (Method::GET, "", "uploads", "s3:ListBucketMultipartUploads"),
            (Method::GET, "k", "tagging", "s3:GetObjectTagging"),
            (Method::HEAD, "k", "partNumber", "s3:GetObject and s3:ListBucket"),
            (Method::PUT, "k", "uploadId", "s3:PutObject"),
            (Method::DELETE, "k", "uploadId", "s3:AbortMultipartUpload"),
            (Method::DELETE, "k", "", "s3:DeleteObject"),
        ];
        for (method, key, query, action) in cases {
            assert_eq!(needed(&Call { query: &[(query, "1")], ..Call::new(method, "b", key) }), action);
        }
        let mut tagged = Call::new(Method::PUT, "b", "k");
        tagged.headers.insert("x-amz-tagging", http::HeaderValue::from_static("a=b"));
        assert_eq!(needed(&tagged), "s3:PutObject and s3:PutObjectTagging");
    }
}
