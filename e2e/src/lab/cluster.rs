//! One real Kubernetes cluster: every component as a process in the centre's network namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::build::Binaries;
use super::cgroup;
use super::command::{run, tail, wait_for};
use super::kwok;
use super::layout::CentreLayout;
use super::pki::Pki;
use super::process;
use super::progress::Progress;

/// Components in the order in which they start. They stop in the opposite order: an API server whose etcd is
/// gone hangs on its way out.
pub const COMPONENTS: [&str; 9] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "coredns",
    "metrics-server",
];

/// The provisioner of the StorageClass `lab-local`, beside the components.
pub const PROVISIONER: &str = "provisioner";

const READY: Duration = Duration::from_mins(2);

/// A centre with what it takes to start its cluster.
#[derive(Debug)]
pub struct Cluster<'a> {
    centre: &'a CentreLayout,
    binaries: &'a Binaries,
    pki: Pki,
}

impl<'a> Cluster<'a> {
    /// Writes every file that the components read.
    ///
    /// # Errors
    /// When a file or cgroup can't be made.
    pub fn prepare(centre: &'a CentreLayout, binaries: &'a Binaries) -> Result<Self> {
        for folder in ["log", "kubelet", "volumes", "cni", "etcd", "containerd"] {
            fs::create_dir_all(centre.data().join(folder))?;
        }
        fs::create_dir_all(centre.run())?;
        let pki = Pki::ensure(centre)?;
        cgroup::ensure(centre)?;
        let cluster = Self { centre, binaries, pki };
        let server = format!("https://{}:6443", centre.address());
        for leaf in ["admin", "addons", "controller-manager", "scheduler", "proxy", "kubelet"] {
            cluster.pki.kubeconfig(&server, leaf, &cluster.file(&format!("{leaf}.kubeconfig")))?;
        }
        cluster.write("kubelet.yaml", &cluster.kubelet_config())?;
        cluster.write("proxy.yaml", &cluster.proxy_config())?;
        cluster.write("containerd.toml", &cluster.containerd_config())?;
        cluster.write("cni/10-lab.conflist", &cluster.cni_config())?;
        cluster.write("Corefile", &cluster.corefile())?;
        cluster.write("resolv.conf", &format!("nameserver {}\n", centre.address()))?;
        cluster.write("addons.yaml", &cluster.addons()?)?;
        Ok(cluster)
    }

    /// Starts what does not run and waits until the node is Ready and metrics are served.
    ///
    /// # Errors
    /// Names the component that is not ready and the end of its log.
    pub fn start(&self, pause: &Path, progress: &Progress) -> Result<()> {
        self.launch("etcd")?;
        self.launch("containerd")?;
        self.launch("kube-apiserver")?;
        self.await_ready("kube-apiserver", || self.kubectl(&["get", "--raw", "/readyz"]).map(drop))?;
        for component in
            ["kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "metrics-server"]
        {
            self.launch(component)?;
        }
        self.await_ready("containerd", || super::image::import(self.binaries, self.centre, pause))?;
        self.launch("kubelet")?;
        self.kubectl(&["apply", "-f", &self.path("addons.yaml")])?;
        self.launch(PROVISIONER)?;
        self.await_ready("kubelet", || self.node_ready())?;
        self.await_ready("metrics-server", || {
            let status = "jsonpath={.status.conditions[?(@.type=='Available')].status}";
            match self.kubectl(&["get", "apiservice", "v1beta1.metrics.k8s.io", "-o", status])?.as_str() {
                "True" => Ok(()),
                other => bail!("APIService v1beta1.metrics.k8s.io is Available={other}"),
            }
        })?;
        progress.note(&format!("{}: cluster is ready", self.centre.name));
        Ok(())
    }

    fn node_ready(&self) -> Result<()> {
        let status = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        match self.kubectl(&["get", "node", &self.centre.name, "-o", status])?.as_str() {
            "True" => Ok(()),
            other => bail!("node is Ready={other:?}"),
        }
    }

    fn await_ready(&self, component: &str, attempt: impl FnMut() -> Result<()>) -> Result<()> {
        wait_for(&format!("{component} of {}", self.centre.name), READY, attempt).with_context(|| {
            let log = process::log_path(self.centre, component);
            let text = fs::read_to_string(&log).unwrap_or_default();
            format!("{} ends with:\n{}", log.display(), tail(&text, 8))
        })
    }

    fn kubectl(&self, words: &[&str]) -> Result<String> {
        let kubeconfig = format!("--kubeconfig={}", self.path("admin.kubeconfig"));
        let words: Vec<&str> = std::iter::once(kubeconfig.as_str()).chain(words.iter().copied()).collect();
        run(self.binaries.path("kubectl"), &words)
    }

    fn launch(&self, component: &str) -> Result<bool> {
        let words: Vec<String> = match component {
            "etcd" => self.etcd(),
            "kube-apiserver" => self.api_server(),
            "kube-controller-manager" => self.controller_manager(),
            "kube-scheduler" => {
                self.words(&[("kubeconfig", &self.path("scheduler.kubeconfig")), ("leader-elect", "false")])
            }
            "containerd" => vec!["--config".into(), self.path("containerd.toml")],
            "kubelet" => self.kubelet(),
            "kube-proxy" => {
                self.words(&[("config", &self.path("proxy.yaml")), ("hostname-override", &self.centre.name)])
            }
            "coredns" => vec!["-conf".into(), self.path("Corefile")],
            "metrics-server" => self.metrics_server(),
            PROVISIONER => self
                .words(&[("kubeconfig", &self.path("addons.kubeconfig")), ("root", &self.path("volumes"))]),
            other => bail!("there is no component {other}"),
        };
        let folder = self.binaries.folder().display().to_string();
        process::start(self.centre, component, &self.binaries.path(component), &words, &folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.centre.data().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.file(name), text).with_context(|| self.path(name))
    }

    #[allow(clippy::unused_self, reason = "reads as the other component functions do")]
    fn words(&self, pairs: &[(&str, &str)]) -> Vec<String> {
        pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }

    fn etcd(&self) -> Vec<String> {
        let mut words = self.words(&[
            ("data-dir", &self.path("etcd")),
            ("listen-client-urls", "http://127.0.0.1:2379"),
            ("advertise-client-urls", "http://127.0.0.1:2379"),
            ("listen-peer-urls", "http://127.0.0.1:2380"),
        ]);
        // A lab's data may be lost with the machine; waiting for its disk would only slow the lab.
        words.push("--unsafe-no-fsync".into());
        words
    }

    fn api_server(&self) -> Vec<String> {
        let (pki, centre) = (&self.pki, self.centre);
        self.words(&[
            ("advertise-address", &centre.address()),
            ("secure-port", "6443"),
            ("etcd-servers", "http://127.0.0.1:2379"),
            ("service-cluster-ip-range", &centre.service_range()),
            ("tls-cert-file", &pki.certificate("apiserver")),
            ("tls-private-key-file", &pki.key("apiserver")),
            ("client-ca-file", &pki.certificate("ca")),
            ("authorization-mode", "Node,RBAC"),
            ("enable-admission-plugins", "NodeRestriction"),
            ("allow-privileged", "true"),
            ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            ("service-account-key-file", &pki.accounts_public_key()),
            ("service-account-signing-key-file", &pki.key("service-accounts")),
            ("kubelet-certificate-authority", &pki.certificate("ca")),
            ("kubelet-client-certificate", &pki.certificate("apiserver-kubelet")),
            ("kubelet-client-key", &pki.key("apiserver-kubelet")),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("requestheader-client-ca-file", &pki.certificate("front-proxy-ca")),
            ("requestheader-allowed-names", "front-proxy-client"),
            ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            ("requestheader-group-headers", "X-Remote-Group"),
            ("requestheader-username-headers", "X-Remote-User"),
            ("proxy-client-cert-file", &pki.certificate("front-proxy")),
            ("proxy-client-key-file", &pki.key("front-proxy")),
            ("enable-aggregator-routing", "true"),
        ])
    }

    fn controller_manager(&self) -> Vec<String> {
        let pki = &self.pki;
        self.words(&[
            ("kubeconfig", &self.path("controller-manager.kubeconfig")),
            ("leader-elect", "false"),
            ("use-service-account-credentials", "true"),
            ("service-account-private-key-file", &pki.key("service-accounts")),
            ("root-ca-file", &pki.certificate("ca")),
            ("cluster-signing-cert-file", &pki.certificate("ca")),
            ("cluster-signing-key-file", &pki.key("ca")),
            // What it may ask by default, 20 requests a second a controller, is for small machines that are busy
            // otherwise: ten thousand namespaces would wait half an hour for their quotas and accounts.
            ("kube-api-qps", "500"),
            ("kube-api-burst", "1000"),
            ("concurrent-resource-quota-syncs", "20"),
            ("concurrent-serviceaccount-token-syncs", "20"),
            ("concurrent-namespace-syncs", "20"),
        ])
    }

    fn kubelet(&self) -> Vec<String> {
        self.words(&[
            ("config", &self.path("kubelet.yaml")),
            ("kubeconfig", &self.path("kubelet.kubeconfig")),
            ("root-dir", &self.path("kubelet")),
            ("hostname-override", &self.centre.name),
            ("node-ip", &self.centre.address()),
        ])
    }

    fn metrics_server(&self) -> Vec<String> {
        let addons = self.path("addons.kubeconfig");
        self.words(&[
            ("secure-port", "4443"),
            ("kubeconfig", &addons),
            ("authentication-kubeconfig", &addons),
            ("authorization-kubeconfig", &addons),
            ("kubelet-certificate-authority", &self.pki.certificate("ca")),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("metric-resolution", "15s"),
            // A fake node has nobody who could be asked.
            ("node-selector", &format!("{0}!={1}", kwok::LABEL.0, kwok::LABEL.1)),
            ("tls-cert-file", &self.pki.certificate("metrics-server")),
            ("tls-private-key-file", &self.pki.key("metrics-server")),
        ])
    }

    fn kubelet_config(&self) -> String {
        format!(
            r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {ca:?}}}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupRoot: /{mark}
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: ["{address}"]
resolvConf: {resolv:?}
containerRuntimeEndpoint: unix://{run}/containerd.sock
tlsCertFile: {certificate:?}
tlsPrivateKeyFile: {key:?}
podLogsDir: {logs:?}
volumePluginDir: {plugins:?}
readOnlyPort: 0
nodeStatusUpdateFrequency: 4s
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
"#,
            ca = self.pki.certificate("ca"),
            mark = self.centre.mark(),
            address = self.centre.address(),
            resolv = self.path("resolv.conf"),
            run = self.centre.run().display(),
            certificate = self.pki.certificate("kubelet"),
            key = self.pki.key("kubelet"),
            logs = self.path("pod-logs"),
            // Not its `plugins`: there it keeps what CSI drivers have mounted, and would take those folders for plugins.
            plugins = self.path("kubelet/flexvolumes"),
        )
    }

    fn proxy_config(&self) -> String {
        format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
             clusterCIDR: {}\nclientConnection: {{kubeconfig: {:?}}}\nconntrack: {{maxPerCore: 0, min: 0}}\n",
            self.centre.pod_range(),
            self.path("proxy.kubeconfig")
        )
    }

    fn containerd_config(&self) -> String {
        let run = self.centre.run();
        format!(
            r#"version = 3
root = "{data}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{run}/containerd.sock"

[ttrpc]
address = "{run}/containerd.sock.ttrpc"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{data}/cni"
"#,
            data = self.centre.data().display(),
            run = run.display(),
            pause = super::PAUSE_IMAGE,
        )
    }

    /// `ptp`, not `bridge`: all traffic is routed, so that a service address is translated on its way between
    /// two pods of one node without a kernel module for filtering bridges.
    fn cni_config(&self) -> String {
        format!(
            r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [
  {{"type": "ptp", "ipMasq": true, "ipam": {{"type": "host-local", "dataDir": "{data}/cni-addresses",
    "ranges": [[{{"subnet": "{range}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}"#,
            name = self.centre.mark(),
            data = self.centre.data().display(),
            range = self.centre.pod_range(),
        )
    }

    fn corefile(&self) -> String {
        format!(
            ".:53 {{\n  bind {} 127.0.0.1\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    \
             kubeconfig {}\n  }}\n  cache 5\n}}\n",
            self.centre.address(),
            self.path("addons.kubeconfig")
        )
    }

    /// What the cluster itself has to know of the components that run beside it.
    fn addons(&self) -> Result<String> {
        use base64::Engine as _;
        let ca = fs::read(self.pki.certificate("ca"))?;
        let ca = base64::engine::general_purpose::STANDARD.encode(ca);
        let address = self.centre.address();
        Ok(format!(
            r"apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: lab-local, annotations: {{storageclass.kubernetes.io/is-default-class: 'true'}}}}
provisioner: lab.tripod.cloud/local
reclaimPolicy: Delete
volumeBindingMode: Immediate
---
apiVersion: v1
kind: Service
metadata: {{name: metrics-server, namespace: kube-system}}
spec: {{ports: [{{name: https, port: 443, targetPort: 4443}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: metrics-server, namespace: kube-system, labels: {{kubernetes.io/service-name: metrics-server}}}}
addressType: IPv4
ports: [{{name: https, port: 4443}}]
endpoints: [{{addresses: ['{address}'], conditions: {{ready: true}}}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1beta1.metrics.k8s.io}}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  caBundle: {ca}
  service: {{name: metrics-server, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: 'system:aggregated-metrics-reader', labels: {{rbac.authorization.k8s.io/aggregate-to-view: 'true'}}}}
rules: [{{apiGroups: [metrics.k8s.io], resources: [pods, nodes], verbs: [get, list, watch]}}]
"
        ))
    }
}
