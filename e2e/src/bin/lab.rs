//! `lab`: brings a three-centre installation up on this machine, and takes it down again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tripod_e2e::lab::kwok::FakeNodes;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::lab::{Lab, LabSpec, build};

/// Three Kubernetes clusters and three S3 stores on one machine, in network namespaces of their own.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Name of the lab. Labs of different names live side by side.
    #[arg(long, global = true, default_value = "tripod", env = "TRIPOD_LAB")]
    name: String,
    /// Print results only.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what is missing, start what does not run, wait until all is ready.
    Up {
        /// Centres that have a cluster; all three by default. Every centre has a store.
        #[arg(long, value_delimiter = ',')]
        clusters: Option<Vec<String>>,
        /// Serve the stores over TLS.
        #[arg(long)]
        store_tls: bool,
    },
    /// Stop and remove everything of the lab, whatever state it is in.
    Down,
    /// Show which components run.
    Status,
    /// Print the path of a centre's kubeconfig.
    Kubeconfig { centre: String },
    /// Print what a shell needs to work with the lab: `eval "$(lab env)"`.
    Env {
        #[arg(default_value = "production")]
        centre: String,
    },
    /// Drop all packets between two centres.
    Cut { a: String, b: String },
    /// Mend all cuts.
    Heal,
    /// Bring an OCI archive into the clusters.
    LoadImage {
        archive: PathBuf,
        /// Only into this centre.
        #[arg(long)]
        centre: Option<String>,
    },
    /// Give a cluster nodes that are objects only, on which thousands of pods cost nothing; 0 takes them away.
    FakeNodes {
        count: usize,
        #[arg(long, default_value = "production")]
        centre: String,
        /// Value of their label `tripod.cloud/node-pool`.
        #[arg(long)]
        pool: Option<String>,
    },
    /// Give a cluster storage with snapshots: the classes `lab-csi`.
    Snapshots {
        #[arg(default_value = "production")]
        centre: String,
    },
    /// Build everything the lab is made of, and start nothing.
    Build {
        /// Also S3 servers of other makes, which only some tests start.
        #[arg(long)]
        stores: bool,
    },
    /// Print the path of a program that the lab is made of: `kubectl`, `helm`, …
    Program { program: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let name = &arguments.name;
    let progress = Progress::new(arguments.quiet);
    match &arguments.command {
        Command::Up { clusters, store_tls } => {
            let mut spec = LabSpec::whole(name);
            spec.store_tls = *store_tls;
            if let Some(clusters) = clusters {
                spec.clusters.clone_from(clusters);
            }
            Lab::up(&spec, &progress)?;
            progress.note(&format!("lab {name} is up; try: eval \"$(lab --name {name} env)\""));
        }
        Command::Down => Lab::down(name)?,
        Command::Status => status(&Lab::open(name)?)?,
        Command::Kubeconfig { centre } => {
            println!("{}", Lab::open(name)?.centre(centre)?.kubeconfig.display());
        }
        Command::Env { centre } => {
            let lab = Lab::open(name)?;
            println!("export KUBECONFIG={}", lab.centre(centre)?.kubeconfig.display());
            if let Some(folder) = lab.program("kubectl").parent() {
                println!("export PATH={}:$PATH", folder.display());
            }
        }
        Command::Cut { a, b } => Lab::open(name)?.cut(a, b)?,
        Command::Heal => Lab::open(name)?.heal()?,
        Command::LoadImage { archive, centre } => {
            let lab = Lab::open(name)?;
            let all = lab.spec.clusters.clone();
            let chosen = centre.as_ref().map_or(all, |centre| vec![centre.clone()]);
            chosen.iter().try_for_each(|centre| lab.load_image(centre, archive))?;
        }
        Command::FakeNodes { count: 0, centre, .. } => Lab::open(name)?.remove_fake_nodes(centre)?,
        Command::FakeNodes { count, centre, pool } => {
            let nodes = FakeNodes { count: *count, pool: pool.as_deref(), ..FakeNodes::default() };
            Lab::open(name)?.add_fake_nodes(centre, &nodes)?;
        }
        Command::Snapshots { centre } => Lab::open(name)?.start_snapshots(centre)?,
        Command::Program { program } => println!("{}", build::Binaries::locate()?.path(program).display()),
        Command::Build { stores } => {
            build::check_machine()?;
            build::ensure_packages(&progress)?;
            build::ensure_binaries(&progress)?;
            if *stores {
                build::ensure_stores(&progress)?;
            }
        }
    }
    Ok(())
}

fn status(lab: &Lab) -> Result<()> {
    for (centre, components) in lab.status()? {
        let down: Vec<&str> = components.iter().filter(|(_, up)| !up).map(|(name, _)| *name).collect();
        let state = if down.is_empty() { "up".to_owned() } else { format!("down: {}", down.join(", ")) };
        let here = lab.centre(&centre)?;
        let kind = if lab.has_cluster(&centre) { "cluster+store" } else { "store" };
        println!("{centre:<12} {kind:<14} {:<14} {:<28} {state}", here.address, here.store.endpoint);
    }
    Ok(())
}
