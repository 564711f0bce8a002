//! Where everything of a lab is: addresses, interface names and paths, all derived from the lab's name, so that
//! two labs never meet and `down` needs no memory to find what `up` made.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The centres of the scheme, in the order of their addresses.
pub const CENTRES: [&str; 3] = ["production", "same-city", "remote"];

/// Port of each centre's S3 store.
pub const STORE_PORT: u16 = 7070;

/// All names of one lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    name: String,
    /// Second octet of the lab's range `10.<octet>.0.0/16`.
    octet: u8,
}

impl Layout {
    /// # Errors
    /// Refuses a name that could not be part of a path, a cgroup and a host name.
    pub fn new(name: &str) -> Result<Self> {
        let fits = (1..=20).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            bail!("lab name {name:?}: use 1 to 20 characters of a-z, 0-9 and -");
        }
        Ok(Self { name: name.to_owned(), octet: 100 + u8::try_from(fnv(name) % 100).unwrap_or(0) })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's bridge on the host.
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("tb{:08x}", fnv(&self.name))
    }

    /// The host's address on the bridge.
    #[must_use]
    pub fn host_address(&self) -> String {
        format!("10.{}.0.1", self.octet)
    }

    /// An address of this machine alone, apart from those of other labs.
    #[must_use]
    pub fn loopback(&self, number: u8) -> String {
        format!("127.{}.0.{number}", self.octet)
    }

    /// What marks everything of the lab outside its own folders.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("lab-{}", self.name)
    }

    /// Folder of data: removed by `down`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        Path::new("/var/lib/tripod-lab").join(&self.name)
    }

    /// Folder of sockets and process records: short, since socket paths are limited to 107 bytes.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        Path::new("/run/tripod-lab").join(&self.name)
    }

    /// Names of one centre.
    ///
    /// # Errors
    /// Refuses a centre that the scheme does not have.
    pub fn centre(&self, centre: &str) -> Result<CentreLayout> {
        let Some(index) = CENTRES.iter().position(|c| *c == centre) else {
            bail!("there is no centre {centre:?}; there are {}", CENTRES.join(", "));
        };
        let index = u8::try_from(index)?;
        Ok(CentreLayout { lab: self.clone(), name: centre.to_owned(), index })
    }
}

/// All names of one centre of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CentreLayout {
    pub lab: Layout,
    pub name: String,
    index: u8,
}

impl CentreLayout {
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.{}.0.{}", self.lab.octet, 11 + self.index)
    }

    #[must_use]
    pub fn pod_range(&self) -> String {
        format!("10.{}.{}.0/24", self.lab.octet, 10 * (self.index + 1))
    }

    #[must_use]
    pub fn service_range(&self) -> String {
        format!("10.{}.{}.0/24", self.lab.octet, 10 * (self.index + 1) + 1)
    }

    /// The address of the API server inside the cluster: the first of the service range.
    #[must_use]
    pub fn kubernetes_service(&self) -> String {
        format!("10.{}.{}.1", self.lab.octet, 10 * (self.index + 1) + 1)
    }

    /// The network namespace, and the cgroup at the top of each hierarchy.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("{}-{}", self.lab.mark(), self.name)
    }

    #[must_use]
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(self.mark())
    }

    /// The host's end of the cable. At most 15 characters.
    #[must_use]
    pub fn cable(&self) -> String {
        format!("tv{:08x}{}", fnv(&self.lab.name), self.index)
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.lab.data().join(&self.name)
    }

    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.lab.run().join(&self.name)
    }

    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }

    #[must_use]
    pub fn store_endpoint(&self, tls: bool) -> String {
        format!("{}://{}:{STORE_PORT}", if tls { "https" } else { "http" }, self.address())
    }
}

/// FNV-1a: short, and the same in every build.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_their_limits() {
        let lab = Layout::new("abcdefghij-abcdefghi").unwrap();
        assert!(lab.bridge().len() <= 15);
        for centre in CENTRES {
            let centre = lab.centre(centre).unwrap();
            assert!(centre.cable().len() <= 15);
            assert!(centre.run().join("containerd/io.containerd.grpc.v1.cri/x.sock").as_os_str().len() < 107);
        }
    }

    #[test]
    fn centres_and_labs_do_not_share_addresses() {
        let (one, two) = (Layout::new("tripod").unwrap(), Layout::new("ci").unwrap());
        assert_ne!(one.octet, two.octet);
        assert_ne!(one.centre("remote").unwrap().pod_range(), one.centre("same-city").unwrap().pod_range());
    }

    #[test]
    fn refuses_names_that_could_leave_their_folder() {
        for name in ["", "..", "a/b", "A", "a-name-that-is-far-too-long-for-this"] {
            assert!(Layout::new(name).is_err(), "{name}");
        }
    }
}
