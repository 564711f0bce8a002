//! What is read from a recovery point, before anything else is believed of it.

use serde_json::Value;

/// An object of the point may be this large, in bytes. The API server's store takes 1.5 MiB in a denser form.
pub const LARGEST: usize = 4 << 20;
/// A point may have so many objects.
pub const MOST: usize = 500_000;
/// Where objects of the whole cluster are recorded. A department's restore never touches them.
pub const CLUSTER_FOLDER: &str = "_cluster";

/// One object, with the names by which its kind is addressed.
#[derive(Clone, Debug, PartialEq)]
pub struct Archived {
    pub plural: String,
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub object: Value,
}

impl Archived {
    /// `deployments.apps`
    #[must_use]
    pub fn kind(&self) -> String {
        folder_of(&self.plural, &self.group)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `deployments.apps/web`
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind(), self.name())
    }
}

fn folder_of(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// The kind in the path of a document, `deployments.apps/web.json`: `None` for what is recorded of the cluster.
///
/// # Errors
/// When it is no such path.
pub fn kind_in(path: &str) -> Result<Option<&str>, String> {
    if path.starts_with("_cluster/") {
        return Ok(None);
    }
    let wrong = || format!("{:?} is no path of an object", shortened(path));
    let (folder, file) = path.split_once('/').ok_or_else(wrong)?;
    let name = file.strip_suffix(".json").ok_or_else(wrong)?;
    let word = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || more.contains(&b))
    };
    let (plural, group) = folder.split_once('.').unwrap_or((folder, "core"));
    let good = word(plural, b"") && word(group, b".") && !group.contains("..") && is_name(name);
    if good { Ok(Some(folder)) } else { Err(wrong()) }
}

/// Whether it can be a name in the path of a URL, and is nothing else.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name != "."
        && name != ".."
        && !name
            .chars()
            .any(|c| matches!(c, '/' | '%' | '\\' | '?' | '#') || c.is_control() || c.is_whitespace())
}

/// Reads a document of a point.
///
/// # Errors
/// Says what is wrong with it: the object says of itself what its path says, or it is not believed.
pub fn read(path: &str, body: &[u8]) -> Result<Option<Archived>, String> {
    let Some(folder) = kind_in(path)? else { return Ok(None) };
    if body.len() > LARGEST {
        return Err(format!("it has {} bytes; no object has more than {LARGEST}", body.len()));
    }
    let object: Value = serde_json::from_slice(body).map_err(|error| format!("it is no JSON: {error}"))?;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(_), Some(name)) =
        (text("/apiVersion"), text("/kind"), text("/metadata/name"))
    else {
        return Err("it has no apiVersion, kind or metadata.name".to_owned());
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (plural, folder_group) = folder.split_once('.').unwrap_or((folder, ""));
    if group != folder_group {
        return Err(format!("its apiVersion is {:?}, and it lies under {folder}", shortened(api_version)));
    }
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if version.is_empty() || !version.bytes().all(good) {
        return Err(format!("its apiVersion is {:?}", shortened(api_version)));
    }
    let file = path.rsplit('/').next().and_then(|file| file.strip_suffix(".json")).unwrap_or_default();
    if !is_name(name) || name.replace(':', "_") != file {
        return Err(format!("its metadata.name is {:?}", shortened(name)));
    }
    let (plural, group, version) = (plural.to_owned(), group.to_owned(), version.to_owned());
    Ok(Some(Archived { plural, group, version, object }))
}

/// Hostile text is not repeated at length.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn body(value: &Value) -> Vec<u8> {
        serde_json::to_vec(value).unwrap()
    }

    #[test]
    fn an_object_is_what_its_path_says() {
        let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        let read_as = |path: &str| read(path, &body(&web)).map(|read| read.map(|a| a.title()));
        assert_eq!(read_as("deployments.apps/web.json"), Ok(Some("deployments.apps/web".into())));
        for path in [
            "deployments.apps/other.json",
            "deployments/web.json",
            "deployments.batch/web.json",
            "deployments.apps/web",
            "deployments.apps/sub/web.json",
            "../deployments.apps/web.json",
            "/deployments.apps/web.json",
            "web.json",
        ] {
            assert!(read_as(path).is_err(), "{path}");
        }
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "system:x"}});
        let path = "roles.rbac.authorization.k8s.io/system_x.json";
        assert_eq!(read(path, &body(&role)).unwrap().unwrap().name(), "system:x");
    }

    #[test]
    fn what_is_recorded_of_the_cluster_is_passed_over() {
        assert_eq!(read("_cluster/storageclasses.storage.k8s.io/fast.json", b"anything"), Ok(None));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["..", ".", "a/b", "../../secrets/x", "a?dryRun=All", "a%2fb", "a b", "", "a\u{0}"] {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            assert!(read(&format!("configmaps/{name}.json"), &body(&object)).is_err(), "{name:?}");
        }
        for version in ["", "v1/../..", "v1/x/y", "../v1"] {
            let object = json!({"apiVersion": version, "kind": "ConfigMap", "metadata": {"name": "a"}});
            assert!(read("configmaps/a.json", &body(&object)).is_err(), "{version:?}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let large = vec![b' '; LARGEST + 1];
        assert!(read("configmaps/a.json", &large).unwrap_err().contains("no object has more"));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read("configmaps/a.json", deep.as_bytes()).unwrap_err().contains("recursion"));
    }

    fn cases() -> ProptestConfig {
        let asked = std::env::var_os("PROPTEST_CASES").is_some();
        if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(4096) }
    }

    proptest! {
        #![proptest_config(cases())]
        /// Whatever is accepted addresses one object of one kind in one namespace.
        #[test]
        fn nothing_that_is_accepted_leads_out(path in ".{0,60}", name in ".{0,20}", version in ".{0,20}") {
            let object = json!({"apiVersion": version, "kind": "X", "metadata": {"name": name}});
            for path in [path, format!("configmaps/{name}.json"), format!("a.{version}/{name}.json")] {
                if let Ok(Some(read)) = read(&path, &body(&object)) {
                    let url = format!("{}/{}/{}/{}", read.group, read.version, read.plural, read.name());
                    prop_assert_eq!(url.split('/').count(), 4, "{}", url);
                    prop_assert!(url.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != ".."));
                }
            }
        }
    }
}
