//! Which kubeconfigs the operator uses: those that name a server over TLS and who to be there, and nothing else. One that
//! starts programs or reads files would do so in the operator's pod, with all that the operator has.

use kube::config::{AuthInfo, Cluster, Kubeconfig};

/// Reads a kubeconfig that may be used.
///
/// # Errors
/// Names what is wrong with it and what to do. Nothing of its text is repeated: it holds credentials.
pub fn read(text: &str) -> Result<Kubeconfig, String> {
    let config = Kubeconfig::from_yaml(text)
        .map_err(|_| "it is no kubeconfig; write the YAML that kubectl reads".to_owned())?;
    if config.clusters.is_empty() {
        return Err("it has no clusters; write the YAML that kubectl reads".to_owned());
    }
    for (index, named) in config.clusters.iter().enumerate() {
        let problem = named.cluster.as_ref().and_then(of_cluster);
        if let Some((field, why)) = problem {
            return Err(format!("clusters[{index}].cluster.{field}: {why}"));
        }
    }
    for (index, named) in config.auth_infos.iter().enumerate() {
        let problem = named.auth_info.as_ref().and_then(of_user);
        if let Some((field, why)) = problem {
            return Err(format!("users[{index}].user.{field}: {why}"));
        }
    }
    if config.current_context.as_ref().is_none_or(String::is_empty) {
        return Err("current-context is not set".to_owned());
    }
    Ok(config)
}

/// The first field that is not accepted, and why.
type Problem = (&'static str, &'static str);

const FILE: &str = "names a file of the operator's pod";
const PROGRAM: &str =
    "would run a program in the operator's pod; put a token or a client certificate into its place";

fn of_cluster(cluster: &Cluster) -> Option<Problem> {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if set(&cluster.certificate_authority) {
        return Some((
            "certificate-authority",
            "names a file of the operator's pod; use certificate-authority-data",
        ));
    }
    if set(&cluster.proxy_url) {
        return Some(("proxy-url", "is not used: the operator talks to the server itself"));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Some((
            "insecure-skip-tls-verify",
            "would give the token to whoever answers; use certificate-authority-data",
        ));
    }
    let is_safe = cluster.server.as_ref().is_some_and(|server| server.starts_with("https://"));
    (!is_safe).then_some(("server", "is not an address that begins with https://"))
}

fn of_user(user: &AuthInfo) -> Option<Problem> {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if user.exec.is_some() {
        return Some(("exec", PROGRAM));
    }
    if user.auth_provider.is_some() {
        return Some(("auth-provider", PROGRAM));
    }
    let files = [
        ("tokenFile", &user.token_file),
        ("client-certificate", &user.client_certificate),
        ("client-key", &user.client_key),
    ];
    files.into_iter().find(|(_, file)| set(file)).map(|(field, _)| (field, FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: 'https://api.second.example:6443', certificate-authority-data: TEU=}}]
users: [{name: u, user: {token: s3cret}}]
";

    #[test]
    fn a_server_and_a_token_are_all_it_takes() {
        assert!(read(GOOD).is_ok());
        assert!(
            read(&GOOD.replace("token: s3cret", "client-certificate-data: TEU=, client-key-data: TEU="))
                .is_ok()
        );
    }

    #[test]
    fn what_reaches_into_the_operators_pod_is_refused_by_its_field() {
        let token = "token: s3cret";
        let server = "server: 'https://api.second.example:6443'";
        for (part, instead, field) in [
            (token, "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}", "users[0].user.exec"),
            (token, "auth-provider: {name: oidc}", "users[0].user.auth-provider"),
            (
                token,
                "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token",
                "users[0].user.tokenFile",
            ),
            (token, "token: s3cret, client-key: /k", "users[0].user.client-key"),
            (token, "token: s3cret, client-certificate: /c", "users[0].user.client-certificate"),
            (
                "certificate-authority-data: TEU=",
                "certificate-authority: /ca",
                "cluster.certificate-authority:",
            ),
            ("certificate-authority-data: TEU=", "proxy-url: 'http://p'", "cluster.proxy-url"),
            (
                "certificate-authority-data: TEU=",
                "insecure-skip-tls-verify: true",
                "insecure-skip-tls-verify",
            ),
            (server, "server: 'http://api.second.example'", "clusters[0].cluster.server"),
            (server, "tls-server-name: x", "clusters[0].cluster.server"),
            ("current-context: c", "preferences: {}", "current-context"),
        ] {
            assert!(GOOD.contains(part), "{part}");
            let why = read(&GOOD.replace(part, instead)).unwrap_err();
            assert!(why.contains(field), "{instead}: {why}");
        }
    }

    #[test]
    fn of_what_is_no_kubeconfig_nothing_is_repeated() {
        for text in
            ["", "s3cret", "users: s3cret", "users: [{name: u, user: {token: [s3cret]}}]", "{", "a: [s3cret"]
        {
            let why = read(text).unwrap_err();
            assert!(why.contains("kubectl reads") && !why.contains("s3cret"), "{text}: {why}");
        }
    }
}
