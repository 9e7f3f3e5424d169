//! `status`: how the running CA is.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use proto::ca::v1::{AuthorityStatus, CaValidity, GetStatusRequest, Problem};
use serde_json::json;

use super::client::{self, Failed};

/// Says how the running CA is: what is wrong, and what ends when.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The configuration file; its `[client]` says how the CA is called.
    #[arg(long, value_name = "FILE", default_value = "ca.toml")]
    config: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl StatusArguments {
    /// Exit code 0: it serves; 1: it does not, or no answer; 2: wrong arguments or configuration.
    #[must_use]
    pub fn run(self) -> ExitCode {
        client::block_on(self.print())
    }

    async fn print(self) -> Result<(), Failed> {
        let status = client::connect(&self.config)?.get_status(GetStatusRequest {}).await?.into_inner();
        if self.json {
            client::say(as_json(&status))?;
        } else {
            let word = if status.serving { "serving" } else { "NOT SERVING" };
            client::say(format!("{} {} {word}", status.name, status.version))?;
            status.problems.iter().try_for_each(|problem| client::say(line(problem)))?;
            status.authorities.iter().try_for_each(|authority| client::say(validity_line(authority)))?;
            status.crls.iter().try_for_each(|crl| client::say(client::crl_line(crl)))?;
        }
        if status.serving {
            return Ok(());
        }
        let red = status.problems.iter().filter(|problem| problem.red).count();
        Err(Failed::Not(Some(format!("{} does not serve: {red} of its problems are red", status.name))))
    }
}

fn line(problem: &Problem) -> String {
    let colour = if problem.red { "red" } else { "warning" };
    format!("{colour:<8} {:<8} {}", problem.reason, problem.message)
}

fn validity_line(authority: &CaValidity) -> String {
    let (from, until) = (client::time(authority.not_before.as_ref()), client::time(authority.not_after.as_ref()));
    format!("{:<24} certificate from {from} until {until}", authority.name)
}

fn as_json(status: &AuthorityStatus) -> serde_json::Value {
    let problem =
        |problem: &Problem| json!({ "reason": problem.reason, "message": problem.message, "red": problem.red });
    let validity = |authority: &CaValidity| {
        let time = |time: &Option<prost_types::Timestamp>| client::time(time.as_ref());
        json!({
            "name": authority.name,
            "not_before": time(&authority.not_before),
            "not_after": time(&authority.not_after),
        })
    };
    json!({
        "name": status.name,
        "version": status.version,
        "serving": status.serving,
        "problems": status.problems.iter().map(problem).collect::<Vec<_>>(),
        "authorities": status.authorities.iter().map(validity).collect::<Vec<_>>(),
        "crls": status.crls.iter().map(client::crl_json).collect::<Vec<_>>(),
    })
}
