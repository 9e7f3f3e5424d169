//! `caller`: who may call the running CA.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use proto::ca::v1::{self as wire, DisableCallerRequest, EnableCallerRequest, ListCallersRequest};
use serde_json::json;

use super::client::{self, Failed};

/// Disables, enables and lists callers of the running CA.
#[derive(Debug, Args)]
pub struct CallerArguments {
    /// The configuration file; its `[client]` says how the CA is called.
    #[arg(long, value_name = "FILE", default_value = "ca.toml", global = true)]
    config: PathBuf,
    /// Prints JSON, one caller a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CallerCommand,
}

#[derive(Debug, Subcommand)]
enum CallerCommand {
    /// Has the CA refuse everything that this caller asks for, at once and until it is enabled again.
    Disable {
        /// As `caller list` writes it; of an EST client with `est/` before it.
        #[arg(value_name = "NAME")]
        name: String,
        /// Why, for the record.
        #[arg(long, value_name = "WORDS")]
        reason: String,
    },
    /// Gives a caller its role back.
    Enable {
        /// As `caller list` writes it.
        #[arg(value_name = "NAME")]
        name: String,
        /// Why, for the record.
        #[arg(long, value_name = "WORDS")]
        reason: String,
    },
    /// Everybody who may call, and who is disabled.
    List,
}

impl CallerArguments {
    /// Exit code 0: done; 1: refused, or no answer; 2: wrong arguments or configuration.
    #[must_use]
    pub fn run(self) -> ExitCode {
        client::block_on(self.call())
    }

    async fn call(self) -> Result<(), Failed> {
        let mut ca = client::connect(&self.config)?;
        let callers = match self.command {
            CallerCommand::Disable { name, reason } => {
                vec![ca.disable_caller(DisableCallerRequest { name, reason }).await?.into_inner()]
            }
            CallerCommand::Enable { name, reason } => {
                vec![ca.enable_caller(EnableCallerRequest { name, reason }).await?.into_inner()]
            }
            CallerCommand::List => ca.list_callers(ListCallersRequest {}).await?.into_inner().callers,
        };
        callers.iter().try_for_each(|caller| match self.json {
            true => client::say(as_json(caller)),
            false => client::say(line(caller)),
        })
    }
}

fn line(caller: &wire::Caller) -> String {
    let head = format!("{:<32} {:<14}", caller.name, caller.role);
    match caller.disabled {
        false => format!("{head} enabled"),
        true => format!(
            "{head} disabled since {} by {}: {}",
            client::time(caller.disabled_at.as_ref()),
            caller.disabled_by,
            caller.reason
        ),
    }
}

fn as_json(caller: &wire::Caller) -> serde_json::Value {
    json!({
        "name": caller.name,
        "role": caller.role,
        "disabled": caller.disabled,
        "disabled_at": caller.disabled_at.as_ref().map(|at| client::time(Some(at))),
        "disabled_by": caller.disabled_by,
        "reason": caller.reason,
    })
}
