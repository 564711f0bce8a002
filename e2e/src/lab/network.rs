//! The lab's wires: a network namespace a centre, a cable to one bridge on the host, and cuts between centres
//! that drop packets in silence, as a broken line does.

use anyhow::{Result, bail};

use super::command::{output, run};
use super::layout::{CentreLayout, Layout};

/// The table that holds the cuts, in the network namespace of each centre they concern.
const CUTS: &str = "lab_cuts";

/// Lays what is missing.
///
/// # Errors
/// Where `ip` fails, and in one line where another lab has the addresses.
pub fn ensure(lab: &Layout, centres: &[CentreLayout]) -> Result<()> {
    let bridge = lab.bridge();
    if run("ip", &["link", "show", &bridge]).is_err() {
        let taken = run("ip", &["-4", "-o", "addr", "show", "to", &lab.host_address()])?;
        if !taken.trim().is_empty() {
            bail!("lab {}: its addresses are in use by another lab; choose another name", lab.name());
        }
        run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{}/24", lab.host_address()), "dev", &bridge])?;
        run("ip", &["link", "set", &bridge, "up"])?;
    }
    centres.iter().try_for_each(|centre| ensure_centre(centre, &bridge))
}

fn ensure_centre(centre: &CentreLayout, bridge: &str) -> Result<()> {
    let (mark, cable) = (centre.mark(), centre.cable());
    if !centre.netns().exists() {
        run("ip", &["netns", "add", &mark])?;
    }
    if run("ip", &["-n", &mark, "link", "show", "eth0"]).is_ok() {
        return Ok(());
    }
    // A cable left half-laid by a killed run is laid again from the start.
    let _ = run("ip", &["link", "del", &cable]);
    run("ip", &["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &mark])?;
    run("ip", &["link", "set", &cable, "master", bridge, "up"])?;
    run("ip", &["-n", &mark, "link", "set", "lo", "up"])?;
    run("ip", &["-n", &mark, "addr", "add", &format!("{}/24", centre.address()), "dev", "eth0"])?;
    run("ip", &["-n", &mark, "link", "set", "eth0", "up"])?;
    run("ip", &["-n", &mark, "route", "add", "default", "via", &centre.lab.host_address()])?;
    within(centre, &["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
    Ok(())
}

/// Drops every packet between two centres, both ways, pods' included; the host still reaches both.
///
/// # Errors
/// Where `nft` fails.
pub fn cut(a: &CentreLayout, b: &CentreLayout) -> Result<()> {
    for (here, there) in [(a, b), (b, a)] {
        let address = there.address();
        let rules = format!(
            "add table ip {CUTS}\n\
             add chain ip {CUTS} in {{ type filter hook prerouting priority -300; }}\n\
             add chain ip {CUTS} out {{ type filter hook postrouting priority 300; }}\n\
             add rule ip {CUTS} in ip saddr {address} drop\n\
             add rule ip {CUTS} out ip daddr {address} drop\n"
        );
        let file = here.run().join("cut.nft");
        std::fs::write(&file, rules)?;
        within(here, &["nft", "-f", &file.display().to_string()])?;
    }
    Ok(())
}

/// Whether the packets between two centres are dropped.
#[must_use]
pub fn is_cut(a: &CentreLayout, b: &CentreLayout) -> bool {
    within(a, &["nft", "list", "table", "ip", CUTS]).is_ok_and(|rules| rules.contains(&b.address()))
}

/// Mends all cuts.
pub fn heal(centres: &[CentreLayout]) {
    for centre in centres {
        // Most have none.
        let _ = within(centre, &["nft", "delete", "table", "ip", CUTS]);
    }
}

/// Takes everything away. Network namespaces first: their ends of the cables go with them.
pub fn remove(lab: &Layout, centres: &[CentreLayout]) {
    for centre in centres {
        if centre.netns().exists() {
            let _ = run("ip", &["netns", "del", &centre.mark()]);
        }
        if std::path::Path::new("/sys/class/net").join(centre.cable()).exists() {
            let _ = run("ip", &["link", "del", &centre.cable()]);
        }
    }
    if std::path::Path::new("/sys/class/net").join(lab.bridge()).exists() {
        let _ = run("ip", &["link", "del", &lab.bridge()]);
    }
}

/// Runs a command in a centre's network namespace. `ip netns exec` would hide the cgroups.
fn within(centre: &CentreLayout, words: &[&str]) -> Result<String> {
    output(
        std::process::Command::new("nsenter").arg(format!("--net={}", centre.netns().display())).args(words),
    )
}
