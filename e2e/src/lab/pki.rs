//! A certificate authority a centre, and everything it has to sign. Made once, in one go: a folder that has
//! them all is left as it is, so that clients that trust it keep doing so.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::layout::CentreLayout;

/// The folder of a centre's certificates.
#[derive(Clone, Debug)]
pub struct Pki(PathBuf);

struct Leaf<'a> {
    file: &'a str,
    common_name: &'a str,
    organisation: Option<&'a str>,
    names: &'a [String],
}

impl Pki {
    /// Makes what is missing.
    ///
    /// # Errors
    /// When keys can't be made or written.
    pub fn ensure(centre: &CentreLayout) -> Result<Self> {
        let pki = Self(centre.data().join("pki"));
        if pki.0.join("complete").exists() {
            return Ok(pki);
        }
        fs::create_dir_all(&pki.0)?;
        let authority = pki.authority("ca", &format!("{} of lab {}", centre.name, centre.lab.name()))?;
        let front = pki.authority("front-proxy-ca", "front proxy")?;
        let node = format!("system:node:{}", centre.name);
        let api_names = [
            "kubernetes".into(),
            "kubernetes.default".into(),
            "kubernetes.default.svc".into(),
            "kubernetes.default.svc.cluster.local".into(),
            centre.address(),
            centre.kubernetes_service(),
            "127.0.0.1".into(),
        ];
        let here = [centre.address(), centre.name.clone()];
        let metrics = ["metrics-server.kube-system.svc".into(), centre.address()];
        let masters = Some("system:masters");
        let leaf = |file, common_name, organisation, names| Leaf { file, common_name, organisation, names };
        for leaf in [
            leaf("apiserver", "kube-apiserver", None, &api_names[..]),
            leaf("apiserver-kubelet", "kube-apiserver-kubelet-client", masters, &[]),
            leaf("admin", "lab-admin", masters, &[]),
            leaf("addons", "lab-addons", masters, &[]),
            leaf("controller-manager", "system:kube-controller-manager", None, &[]),
            leaf("scheduler", "system:kube-scheduler", None, &[]),
            leaf("proxy", "system:kube-proxy", None, &[]),
            leaf("kubelet", &node, Some("system:nodes"), &here),
            leaf("metrics-server", "metrics-server", None, &metrics),
            leaf("store", "store", None, &here),
        ] {
            pki.leaf(&leaf, &authority)?;
        }
        pki.leaf(&leaf("front-proxy", "front-proxy-client", None, &[]), &front)?;
        let accounts = KeyPair::generate()?;
        fs::write(pki.key("service-accounts"), accounts.serialize_pem())?;
        fs::write(pki.0.join("service-accounts.pub"), accounts.public_key_pem())?;
        fs::write(pki.0.join("complete"), "")?;
        Ok(pki)
    }

    /// Path of a certificate.
    #[must_use]
    pub fn certificate(&self, name: &str) -> String {
        self.0.join(format!("{name}.crt")).display().to_string()
    }

    /// Path of a private key.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        self.0.join(format!("{name}.key")).display().to_string()
    }

    /// Path of the public key that proves service accounts' tokens.
    #[must_use]
    pub fn accounts_public_key(&self) -> String {
        self.0.join("service-accounts.pub").display().to_string()
    }

    /// Writes a kubeconfig for one of the leaves.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn kubeconfig(&self, server: &str, leaf: &str, path: &Path) -> Result<()> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
             clusters: [{{name: lab, cluster: {{server: {server:?}, certificate-authority: {:?}}}}}]\n\
             users: [{{name: lab, user: {{client-certificate: {:?}, client-key: {:?}}}}}]\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]\n",
            self.certificate("ca"),
            self.certificate(leaf),
            self.key(leaf)
        );
        Ok(fs::write(path, text)?)
    }

    fn authority(&self, file: &str, name: &str) -> Result<Issuer<'static, KeyPair>> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        self.write(file, &certificate.pem(), &key)?;
        Ok(Issuer::new(params, key))
    }

    fn leaf(&self, leaf: &Leaf<'_>, issuer: &Issuer<'static, KeyPair>) -> Result<()> {
        let mut params = CertificateParams::new(leaf.names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, leaf.common_name);
        if let Some(organisation) = leaf.organisation {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        self.write(leaf.file, &certificate.pem(), &key)
    }

    fn write(&self, file: &str, certificate: &str, key: &KeyPair) -> Result<()> {
        fs::write(self.certificate(file), certificate)?;
        Ok(fs::write(self.key(file), key.serialize_pem())?)
    }
}
