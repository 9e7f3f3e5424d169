//! `crl`: the revocation lists that stand, or new ones.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use proto::ca::v1::GetCrlsRequest;
use serde_json::json;

use super::client::{self, Failed};

/// Prints the CRLs that stand, or one of them as PEM.
#[derive(Debug, Args)]
pub struct CrlArguments {
    /// The configuration file; its `[client]` says how the CA is called.
    #[arg(long, value_name = "FILE", default_value = "ca.toml")]
    config: PathBuf,
    /// Has every list made anew first.
    #[arg(long)]
    renew: bool,
    /// Prints this list alone, as PEM.
    #[arg(long, value_name = "LIST", conflicts_with = "json")]
    pem: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl CrlArguments {
    /// Exit code 0: printed; 1: refused, or no answer; 2: wrong arguments or configuration.
    #[must_use]
    pub fn run(self) -> ExitCode {
        client::block_on(self.print())
    }

    async fn print(self) -> Result<(), Failed> {
        let answer = client::connect(&self.config)?.get_crls(GetCrlsRequest { renew: self.renew }).await?.into_inner();
        if let Some(wanted) = self.pem {
            let Some(crl) = answer.crls.iter().find(|crl| crl.list == wanted) else {
                let lists: Vec<&str> = answer.crls.iter().map(|crl| crl.list.as_str()).collect();
                let words = format!("there is no list {wanted:?}: give one of {}", lists.join(", "));
                return Err(Failed::Usage(words));
            };
            let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
            let text = pem::encode_config(&pem::Pem::new("X509 CRL", crl.der.as_slice()), config);
            return client::say(text.trim_end());
        }
        if self.json {
            return client::say(json!({ "crls": answer.crls.iter().map(client::crl_json).collect::<Vec<_>>() }));
        }
        answer.crls.iter().try_for_each(|crl| client::say(client::crl_line(crl)))
    }
}
