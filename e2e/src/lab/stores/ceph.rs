//! Ceph, as small as it goes: one monitor, one store in memory, one gateway, no manager, and nobody asks who anyone is but
//! the gateway.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::super::command::{output, wait_for};
use super::super::store::{Credentials, random};
use super::{Make, PORT, READY, Stores};

const MONITOR: &str = "ceph-mon";
const STORE: &str = "ceph-osd";
const MONITOR_PORT: u16 = 3300;

pub(super) fn start(stores: &Stores, account: &Credentials) -> Result<()> {
    let ceph = Ceph { stores, tree: stores.binaries.path("ceph"), folder: stores.folder(Make::Ceph) };
    if !ceph.folder.join("made").exists() {
        ceph.make()?;
        fs::write(ceph.folder.join("made"), "")?;
    }
    stores.launch(MONITOR, ceph.command(MONITOR).args(["-i", "a", "-f"]))?;
    stores.await_port(MONITOR, &stores.address(Make::Ceph), MONITOR_PORT)?;
    stores.launch(STORE, ceph.command(STORE).args(["-i", "0", "-f"]))?;
    let keys = ["--access-key", &account.access_key_id, "--secret-key", &account.secret_access_key];
    // Waits until the store is there. Again, it changes nothing.
    wait_for("an account in Ceph", READY, || {
        let mut create = ceph.command("radosgw-admin");
        output(create.args(["user", "create", "--uid=lab", "--display-name=lab"]).args(keys))
    })?;
    let listen = format!("--rgw-frontends=beast endpoint={}:{PORT}", stores.address(Make::Ceph));
    stores.launch(Make::Ceph.name(), ceph.command("radosgw").args(["-f", &listen]))
}

struct Ceph<'a> {
    stores: &'a Stores,
    /// The unpacked packages.
    tree: PathBuf,
    folder: PathBuf,
}

impl Ceph<'_> {
    /// A program of it, that finds its libraries where they were unpacked.
    fn command(&self, program: &str) -> Command {
        let folders = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/ceph", "lib/x86_64-linux-gnu"];
        let libraries = folders.map(|folder| self.tree.join(folder).display().to_string()).join(":");
        let mut command = Command::new(self.tree.join("usr/bin").join(program));
        command.env("LD_LIBRARY_PATH", libraries).env("CEPH_CONF", self.configuration());
        command
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("ceph.conf")
    }

    /// The maps that an installer would have the monitor make, step by step, are written beforehand.
    fn make(&self) -> Result<()> {
        let (monitor, store) = (self.folder.join("mon"), self.folder.join("osd"));
        for folder in [&monitor, &store] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(folder)?;
        }
        let id = uuid()?;
        fs::write(self.configuration(), self.settings(&id))?;
        let (monitors, stores) = (self.folder.join("monmap"), self.folder.join("osdmap"));
        let run = |program: &str, words: &[&str], file: Option<&Path>| {
            let mut command = self.command(program);
            output(command.args(words).args(file)).with_context(|| format!("preparing {program}"))
        };
        let address = format!("[v2:{}:{MONITOR_PORT}]", self.stores.address(Make::Ceph));
        let words = ["--create", "--clobber", "--fsid", &id, "--addv", "a", &address];
        run("monmaptool", &words, Some(&monitors))?;
        run("osdmaptool", &["--createsimple", "1", "--clobber"], Some(&stores))?;
        let (monitors, stores) = (monitors.display().to_string(), stores.display().to_string());
        run(MONITOR, &["-i", "a", "--mkfs", "--monmap", &monitors, "--osdmap", &stores], None)?;
        run(STORE, &["-i", "0", "--mkfs", "--no-mon-config", "--osd-uuid", &uuid()?], None)?;
        Ok(())
    }

    fn settings(&self, id: &str) -> String {
        let (address, folder) = (self.stores.address(Make::Ceph), self.folder.display());
        let libraries = self.tree.join("usr/lib/x86_64-linux-gnu").display().to_string();
        format!(
            "[global]
fsid = {id}
mon host = v2:{address}:{MONITOR_PORT}
public addr = {address}
ms bind ipv6 = false
ms bind msgr1 = false
# Without these a gateway insists on keys, for the sake of encryption.
ms mon client mode = crc
ms client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
mon data = {folder}/mon
# By default every change waits for a second, in case that there is another.
paxos propose interval = 0.05
paxos min wait = 0.01
mon allow pool size one = true
mon max pg per osd = 1000
# It keeps next to nothing: that a disk is nearly full, in percent, is no reason not to start.
mon data avail warn = 1
mon data avail crit = 0
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
rgw data = {folder}/rgw
run dir = {folder}
admin socket =
log to file = false
mon cluster log to file = false
log to stderr = true
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
"
        )
    }
}

fn uuid() -> Result<String> {
    let hex = hex::encode(random::<16>()?);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
