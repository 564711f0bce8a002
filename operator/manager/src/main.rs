//! The `tripod` binary: the operator, the mover, and a few commands for people.

mod cli;
mod context;
mod controllers;
mod events;
mod gateway;
mod gather;
mod leader;
mod mover;
mod operator;
mod reach;
mod replicate;
mod stores;
mod telemetry;
mod tenancy;
mod utilisation;
mod vault;
mod velero;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Tripod (鼎): departments, budgets and disaster recovery over two sites and three centres.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    /// How logs are written.
    #[arg(long, env = "TRIPOD_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    Operator(operator::OperatorArguments),
    /// Move the files of one volume (run by the operator as a Job).
    Mover(mover::MoverArgs),
    /// Print the custom resource definitions, or write one file each.
    Crds {
        /// Folder to write to.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Print where a system's repository lies in a vault, for use with plain restic.
    VaultRepository {
        /// File with the master key.
        #[arg(long)]
        key_file: PathBuf,
        /// The system's namespace.
        #[arg(long)]
        system: String,
    },
    /// Print the password of a system's repository, for use with plain restic.
    VaultPassword {
        /// File with the master key.
        #[arg(long)]
        key_file: PathBuf,
        /// The system's namespace.
        #[arg(long)]
        system: String,
    },
    #[command(flatten)]
    Replication(replicate::Replication),
    #[command(flatten)]
    People(cli::People),
}

#[tokio::main]
async fn main() -> ExitCode {
    if cli::is_plugin() {
        return cli::run(cli::Plugin::parse().command).await;
    }
    let arguments = Arguments::parse();
    telemetry::start_logs(matches!(arguments.log_format, LogFormat::Json));
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let result = match arguments.command {
        Command::Operator(arguments) => operator::run(arguments).await,
        Command::Mover(arguments) => return mover::run(arguments).await,
        Command::People(command) => return cli::run(cli::Said::People(command)).await,
        Command::Replication(command) => return replicate::run(command).await,
        Command::Crds { directory } => crds(directory.as_deref()),
        Command::VaultRepository { key_file, system } => vault_repository(&key_file, &system),
        Command::VaultPassword { key_file, system } => vault_password(&key_file, &system),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn crds(directory: Option<&Path>) -> anyhow::Result<()> {
    for definition in tripod_crds::all() {
        let text = tripod_crds::yaml(&definition)?;
        match directory {
            Some(directory) => {
                let name = definition.metadata.name.clone().unwrap_or_default();
                std::fs::write(directory.join(format!("{name}.yaml")), text)?;
            }
            None => print!("---\n{text}"),
        }
    }
    Ok(())
}

fn vault_repository(key_file: &Path, system: &str) -> anyhow::Result<()> {
    let key = vault::MasterKey::new(&std::fs::read(key_file)?)?;
    println!("{}", vault::layout::repository(system, &key.id()));
    Ok(())
}

fn vault_password(key_file: &Path, system: &str) -> anyhow::Result<()> {
    let key = vault::MasterKey::new(&std::fs::read(key_file)?)?;
    println!("{}", key.repository_password(system));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
