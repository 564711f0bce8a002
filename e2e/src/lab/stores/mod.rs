//! S3 servers of several makes on loopback, without a cluster: for what must be right whatever the store is. Each has one
//! account that may do everything. They belong to a lab, and its `down` stops them.

mod ceph;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::build::{self, Binaries};
use super::command::{output, tail, wait_for};
use super::layout::Layout;
use super::process;
use super::progress::Progress;
use super::store::{Credentials, random};

const PORT: u16 = 7070;
const READY: Duration = Duration::from_mins(1);
/// Where its signatures say they are.
const REGION: &str = "us-east-1";

/// A make of S3 server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// A gateway in Go on a file system: an object is a file.
    Versitygw,
    /// In Rust, for small sites: an object is blocks under hashes, and its key an entry of a database.
    Garage,
    /// The gateway of Ceph, in C++, with a monitor and a store in memory behind it: what many data centres have.
    Ceph,
}

impl Make {
    pub const ALL: [Self; 3] = [Self::Versitygw, Self::Garage, Self::Ceph];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Versitygw => "versitygw",
            Self::Garage => "garage",
            Self::Ceph => "radosgw",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Versitygw => 11,
            Self::Garage => 12,
            Self::Ceph => 13,
        }
    }
}

/// A server that runs.
#[derive(Clone, Debug)]
pub struct Server {
    pub endpoint: String,
    pub region: String,
    pub account: Credentials,
}

/// The servers of a lab: started when they are asked for.
#[derive(Debug)]
pub struct Stores {
    layout: Layout,
    binaries: Binaries,
}

impl Stores {
    /// Builds what is missing, and starts nothing.
    ///
    /// # Errors
    /// With the compiler's own words.
    pub fn ensure(lab: &str, progress: &Progress) -> Result<Self> {
        let layout = Layout::new(lab)?;
        let binaries = build::ensure_stores(progress)?;
        fs::create_dir_all(records(&layout))?;
        fs::create_dir_all(layout.data().join("stores/log"))?;
        Ok(Self { layout, binaries })
    }

    /// Starts one, unless it runs, and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log where it does not.
    pub fn start(&self, make: Make) -> Result<Server> {
        fs::create_dir_all(self.folder(make))?;
        let account = self.account(make)?;
        match make {
            Make::Versitygw => self.start_versitygw(&account)?,
            Make::Garage => self.start_garage(&account)?,
            Make::Ceph => ceph::start(self, &account)?,
        }
        let address = self.address(make);
        self.await_port(make.name(), &address, PORT)?;
        if make == Make::Garage {
            // Its accounts may not make buckets unless they are told.
            let words = ["key", "allow", "--create-bucket", &account.access_key_id];
            wait_for("an account in Garage", READY, || output(self.garage().args(words)))?;
        }
        Ok(Server { endpoint: format!("http://{address}:{PORT}"), region: REGION.into(), account })
    }

    fn start_versitygw(&self, account: &Credentials) -> Result<()> {
        let make = Make::Versitygw;
        let folder = |name: &str| -> Result<String> {
            let folder = self.folder(make).join(name);
            fs::create_dir_all(&folder)?;
            Ok(folder.display().to_string())
        };
        let mut command = Command::new(self.binaries.path("versitygw"));
        command.args([
            format!("--access={}", account.access_key_id),
            format!("--secret={}", account.secret_access_key),
            format!("--port={}:{PORT}", self.address(make)),
            format!("--iam-dir={}", folder("accounts")?),
            "--keep-alive".to_owned(),
            "--quiet".to_owned(),
            "posix".to_owned(),
            format!("--versioning-dir={}", folder("versions")?),
            folder("s3")?,
        ]);
        self.launch(make.name(), &mut command)
    }

    fn start_garage(&self, account: &Credentials) -> Result<()> {
        let (folder, address) = (self.folder(Make::Garage), self.address(Make::Garage));
        let configuration = [
            format!("metadata_dir = \"{}\"", folder.join("meta").display()),
            format!("data_dir = \"{}\"", folder.join("data").display()),
            "db_engine = \"lmdb\"".to_owned(),
            "replication_factor = 1".to_owned(),
            format!("rpc_bind_addr = \"{address}:3901\""),
            format!("rpc_public_addr = \"{address}:3901\""),
            // Nobody else is to join it: the account's secret will do.
            format!("rpc_secret = \"{}\"", account.secret_access_key),
            "[s3_api]".to_owned(),
            format!("s3_region = \"{REGION}\""),
            format!("api_bind_addr = \"{address}:{PORT}\""),
            "root_domain = \".s3.lab\"".to_owned(),
        ];
        fs::write(self.garage_configuration(), configuration.join("\n") + "\n")?;
        let mut command = self.garage();
        command.args(["server", "--single-node", "--default-access-key"]).envs([
            ("GARAGE_DEFAULT_ACCESS_KEY", &account.access_key_id),
            ("GARAGE_DEFAULT_SECRET_KEY", &account.secret_access_key),
        ]);
        self.launch(Make::Garage.name(), &mut command)
    }

    fn garage_configuration(&self) -> PathBuf {
        self.folder(Make::Garage).join("garage.toml")
    }

    fn garage(&self) -> Command {
        let mut command = Command::new(self.binaries.path("garage"));
        command.arg("-c").arg(self.garage_configuration());
        command
    }

    /// Made once, in the form that Garage asks for.
    fn account(&self, make: Make) -> Result<Credentials> {
        let file = self.folder(make).join("account.json");
        if let Ok(text) = fs::read(&file) {
            return Ok(serde_json::from_slice(&text)?);
        }
        let account = Credentials {
            access_key_id: format!("GK{}", hex::encode(random::<12>()?)),
            secret_access_key: hex::encode(random::<32>()?),
        };
        fs::write(file, serde_json::to_vec(&account)?)?;
        Ok(account)
    }

    fn folder(&self, make: Make) -> PathBuf {
        self.layout.data().join("stores").join(make.name())
    }

    fn address(&self, make: Make) -> String {
        self.layout.loopback(make.number())
    }

    fn log(&self, component: &str) -> PathBuf {
        self.layout.data().join("stores/log").join(format!("{component}.log"))
    }

    fn record(&self, component: &str) -> PathBuf {
        records(&self.layout).join(format!("{component}.pid"))
    }

    fn launch(&self, component: &str, command: &mut Command) -> Result<()> {
        let record = self.record(component);
        if process::recorded(&record).is_some() {
            return Ok(());
        }
        command.current_dir(self.layout.data());
        process::launch(command, &self.log(component), &record)
            .with_context(|| format!("could not start {component}"))
    }

    fn await_port(&self, component: &str, address: &str, port: u16) -> Result<()> {
        let to: SocketAddr = format!("{address}:{port}").parse()?;
        wait_for(component, READY, || match process::recorded(&self.record(component)) {
            Some(_) => Ok(TcpStream::connect_timeout(&to, Duration::from_secs(1)).map(drop)?),
            None => bail!("it has ended"),
        })
        .with_context(|| tail(&fs::read_to_string(self.log(component)).unwrap_or_default(), 8))
    }
}

fn records(layout: &Layout) -> PathBuf {
    layout.run().join("stores")
}

/// Ends all that run for a lab.
pub fn stop(layout: &Layout) {
    let record = |entry: fs::DirEntry| process::recorded(Path::new(&entry.path()));
    let entries = fs::read_dir(records(layout)).into_iter().flatten().flatten();
    let running: Vec<process::Process> = entries.filter_map(record).collect();
    process::end(&running, Duration::from_secs(3));
}
