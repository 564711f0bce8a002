//! Tripod installed in a lab the way the README tells: Secrets, charts, centres.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::lab::command::{output, run};
use crate::lab::layout::{CENTRES, Layout};
use crate::lab::progress::Progress;
use crate::lab::store::{Credentials, REPLICA};
use crate::lab::{Centre, Lab, LabSpec};

/// The operator's namespace.
pub const NAMESPACE: &str = "tripod-system";
const READY: Duration = Duration::from_mins(2);

/// A lab in which every cluster has its operator.
#[derive(Debug)]
pub struct Installation {
    pub lab: Lab,
    /// The operator's image, with its tag.
    pub image: String,
}

impl Installation {
    /// Brings up the lab, and in each of its clusters the operator from `archive`; waits until every centre is Ready.
    /// Run again, it changes only what differs.
    ///
    /// # Errors
    /// Says what did not come up, with its own words.
    pub fn ensure(spec: &LabSpec, archive: &Path, progress: &Progress) -> Result<Self> {
        let lab = Lab::up(spec, progress)?;
        let image = reference(archive)?;
        let installation = Self { lab, image };
        let clusters = spec.clusters.join(", ");
        progress.step(&format!("installing the operator at {clusters}"), || {
            spec.clusters.iter().try_for_each(|centre| installation.install(centre, archive))
        })?;
        let (first, centres) = (&spec.clusters[0], CENTRES);
        progress.step("waiting until every centre is Ready", || {
            for cluster in &spec.clusters {
                let kubectl = installation.kubectl(cluster)?;
                kubectl.run(&[
                    "-n",
                    NAMESPACE,
                    "rollout",
                    "status",
                    "deployment/tripod",
                    "--timeout=120s",
                ])?;
                for centre in centres {
                    kubectl.wait(&format!("centre/{centre}"), None, "Ready", READY)?;
                }
            }
            Ok(())
        })?;
        progress.note(&format!("the operator runs, for instance at {first}"));
        Ok(installation)
    }

    /// `kubectl` for a centre's cluster.
    ///
    /// # Errors
    /// When there is no such centre.
    pub fn kubectl(&self, centre: &str) -> Result<Kubectl> {
        Ok(Kubectl {
            program: self.lab.program("kubectl"),
            kubeconfig: self.lab.centre(centre)?.kubeconfig,
            centre: centre.to_owned(),
        })
    }

    /// Helm in a centre's cluster.
    ///
    /// # Errors
    /// With Helm's own words.
    pub fn helm(&self, centre: &str, words: &[&str]) -> Result<String> {
        let kubeconfig = self.lab.centre(centre)?.kubeconfig;
        output(Command::new(self.lab.program("helm")).env("KUBECONFIG", kubeconfig).args(words))
    }

    /// The master key of this lab's vaults.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn vault_key(&self) -> Result<PathBuf> {
        let file = self.lab.data().join("tripod-vault.key");
        if !file.exists() {
            let mut random = [0u8; 32];
            std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut random)?;
            fs::write(&file, hex::encode(random))?;
        }
        Ok(file)
    }

    fn install(&self, centre: &str, archive: &Path) -> Result<()> {
        self.lab.load_image(centre, archive)?;
        let kubectl = self.kubectl(centre)?;
        self.helm(
            centre,
            &[
                "upgrade",
                "--install",
                "tripod-crds",
                &chart("tripod-crds"),
                "-n",
                NAMESPACE,
                "--create-namespace",
                "--wait",
            ],
        )?;
        let key = fs::read_to_string(self.vault_key()?)?;
        kubectl.apply(&secret("tripod-vault-key", &json!({"key": key})))?;
        for other in CENTRES {
            let store = self.lab.centre(other)?.store;
            if self.server_of(other) == centre {
                kubectl.apply(&secret(&format!("store-{other}"), &keys(&store.operator)))?;
            } else {
                kubectl.apply(&secret(&format!("reader-{other}"), &keys(&store.reader)))?;
            }
        }
        self.configure(centre, &[])?;
        for centre in CENTRES {
            kubectl.apply(&self.centre(&self.lab.centre(centre)?).to_string())?;
        }
        Ok(())
    }

    /// Installs the operator of a centre, or changes its settings to these beside the lab's own, which sample often and
    /// read volumes.
    ///
    /// # Errors
    /// With Helm's own words.
    pub fn configure(&self, centre: &str, more: &[&str]) -> Result<()> {
        let (repository, tag) = self.image.rsplit_once(':').context("the image has no tag")?;
        let folder = chart("tripod");
        let layout = Layout::new(&self.lab.spec.name)?.centre(centre)?;
        let reach = format!("stores.reach.refuse={{{},{}}}", layout.service_range(), layout.pod_range());
        let settings = [
            format!("centre={centre}"),
            format!("image.repository={repository}"),
            format!("image.tag={tag}"),
        ];
        let settings = settings.iter().flat_map(|s| ["--set-string", s.as_str()]);
        let utilisation =
            "utilisation.samplingInterval=15,utilisation.bucketInterval=30,utilisation.kubeletVolumes=true";
        let more = more.iter().flat_map(|setting| ["--set", setting]);
        let words: Vec<&str> = [
            "upgrade",
            "--install",
            "tripod",
            folder.as_str(),
            "-n",
            NAMESPACE,
            "--set",
            utilisation,
            "--set",
            &reach,
        ]
        .into_iter()
        .chain(settings)
        .chain(more)
        .collect();
        self.helm(centre, &words).map(drop)
    }

    /// The centre whose operator looks after `centre`: its own, or production's where it has a store only.
    #[must_use]
    pub fn server_of<'a>(&'a self, centre: &'a str) -> &'a str {
        if self.lab.has_cluster(centre) { centre } else { &self.lab.spec.clusters[0] }
    }

    /// The Centre object, the same in every cluster. Points are looked for often, since a lab is watched while it works.
    #[must_use]
    pub fn centre(&self, centre: &Centre) -> Value {
        let (role, city) = match centre.name.as_str() {
            "production" => ("Production", "east"),
            "same-city" => ("SameCity", "east"),
            _ => ("Remote", "west"),
        };
        let name = &centre.name;
        let mut object = json!({
            "apiVersion": "tripod.cloud/v1alpha1", "kind": "Centre", "metadata": {"name": name},
            "spec": {"role": role, "city": city, "pullIntervalSeconds": 2, "verifyIntervalSeconds": 600,
                "store": {"endpoint": centre.store.endpoint, "region": centre.store.region, "bucket": centre.store.bucket,
                    "replicaBucket": REPLICA, "allowPlainHttp": centre.store.ca_pem.is_none(),
                    "credentialsSecretRef": {"name": format!("store-{name}")},
                    "readerCredentialsSecretRef": {"name": format!("reader-{name}")}}},
        });
        if name != "production" {
            object["spec"]["pullFrom"] = json!("production");
        }
        if self.server_of(name) != name {
            object["spec"]["servedBy"] = json!(self.server_of(name));
        }
        if let Some(pem) = &centre.store.ca_pem {
            object["spec"]["store"]["caBundle"] = json!(pem);
        }
        object
    }
}

/// A folder of this repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A chart of this repository.
#[must_use]
pub fn chart(name: &str) -> String {
    repository().join("charts").join(name).display().to_string()
}

fn keys(credentials: &Credentials) -> Value {
    json!({"accessKeyId": credentials.access_key_id, "secretAccessKey": credentials.secret_access_key})
}

fn secret(name: &str, data: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": data})
        .to_string()
}

/// The name under which an OCI archive holds its image.
fn reference(archive: &Path) -> Result<String> {
    let index = run("tar", &["-xOf", &archive.display().to_string(), "index.json"])
        .context("the operator's image is missing; `make image` builds it")?;
    let index: Value = serde_json::from_str(&index)?;
    let name = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str();
    match name {
        Some(name) if name.contains(':') => Ok(name.to_owned()),
        _ => bail!("{} names no image", archive.display()),
    }
}
