//! `revoke`: certificates, for good.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use proto::ca::v1::{RevokeRequest, revoke_request::Target};
use serde_json::json;

use super::client::{self, Failed};

/// Revokes for good, and has the CRLs made anew. Run again it changes nothing.
#[derive(Debug, Args)]
pub struct RevokeArguments {
    /// The configuration file; its `[client]` says how the CA is called.
    #[arg(long, value_name = "FILE", default_value = "ca.toml")]
    config: PathBuf,
    #[command(flatten)]
    target: TargetArguments,
    /// With --device-serial: only what was issued under this profile.
    #[arg(long, value_name = "PROFILE", requires = "device_serial", default_value = "")]
    profile: String,
    /// unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, cessationOfOperation or
    /// privilegeWithdrawn (RFC 5280 §5.3.1).
    #[arg(long, value_name = "REASON")]
    reason: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArguments {
    /// One certificate, as `openssl x509 -noout -serial` prints it.
    #[arg(long, value_name = "HEX")]
    certificate_serial: Option<String>,
    /// Every certificate of a device.
    #[arg(long, value_name = "SERIAL")]
    device_serial: Option<String>,
    /// The certificate of one issuance.
    #[arg(long, value_name = "UUID")]
    issuance: Option<String>,
}

impl RevokeArguments {
    /// Exit code 0: revoked, and in the CRLs; 1: refused, or not in the CRLs yet; 2: wrong arguments or configuration.
    #[must_use]
    pub fn run(self) -> ExitCode {
        client::block_on(self.revoke())
    }

    async fn revoke(self) -> Result<(), Failed> {
        let TargetArguments { certificate_serial, device_serial, issuance } = self.target;
        let target = certificate_serial
            .map(Target::CertificateSerial)
            .or(device_serial.map(Target::DeviceSerial))
            .or(issuance.map(Target::Issuance));
        let request = RevokeRequest { target, profile: self.profile, reason: self.reason };
        let answer = client::connect(&self.config)?.revoke(request).await?.into_inner();
        if self.json {
            let revoked = answer.revoked.iter().map(|one| {
                json!({
                    "issuer": one.issuer,
                    "certificate_serial": one.certificate_serial,
                    "issuance": one.issuance,
                    "device_serial": one.device_serial,
                    "profile": one.profile,
                    "reason": one.reason,
                    "revoked_at": client::time(one.revoked_at.as_ref()),
                    "revoked_by": one.revoked_by,
                    "before": one.before,
                })
            });
            let crls = answer.crls.iter().map(client::crl_json);
            client::say(json!({
                "revoked": revoked.collect::<Vec<_>>(),
                "crls": crls.collect::<Vec<_>>(),
                "pending": answer.pending,
            }))?;
        } else {
            for one in &answer.revoked {
                client::say(format!(
                    "{} {} of {} under {}: {} since {} by {}",
                    if one.before { "stands  " } else { "revoked " },
                    one.certificate_serial,
                    one.device_serial,
                    one.profile,
                    one.reason,
                    client::time(one.revoked_at.as_ref()),
                    one.revoked_by,
                ))?;
            }
            answer.crls.iter().try_for_each(|crl| client::say(client::crl_line(crl)))?;
        }
        match answer.pending.as_str() {
            "" => Ok(()),
            why => Err(Failed::Not(Some(format!("it is revoked, and not yet in the CRLs: {why}")))),
        }
    }
}
