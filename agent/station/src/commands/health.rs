//! `health`: what may stop the running station later.

use std::path::Path;

use proto::station::v1::{GetHealthRequest, NeededCertificate};
use serde_json::json;

use super::client::{self, Failed};

pub(super) async fn run(path: &Path, json: bool) -> Result<(), Failed> {
    let health = client::connect(path)?.get_health(GetHealthRequest {}).await?.into_inner();
    let purpose = |needed: &NeededCertificate| needed.purpose().as_str_name().trim_start_matches("PURPOSE_");
    let expires = |needed: &NeededCertificate| needed.expire_time.map(|time| time.to_string()).unwrap_or_default();
    let time = health.time.map(|time| time.to_string()).unwrap_or_default();
    if json {
        let one = |needed: &NeededCertificate| json!({"purpose": purpose(needed), "common_name": needed.common_name, "expires": expires(needed)});
        return client::say(json!({
            "time": time, "disk_free": health.disk_free, "disk_size": health.disk_size,
            "certificates": health.certificates.iter().map(one).collect::<Vec<_>>(), "tls_problems": health.tls_problems,
            "webhook_trouble": health.webhook_trouble,
        }));
    }
    client::say(format!("clock    {time}"))?;
    client::say(format!("disk     {} MiB of {} are free", health.disk_free >> 20, health.disk_size >> 20))?;
    for problem in &health.tls_problems {
        client::say(format!("TLS      {problem}"))?;
    }
    if !health.webhook_trouble.is_empty() {
        client::say(format!("web hook {}", health.webhook_trouble))?;
    }
    for needed in &health.certificates {
        client::say(format!("expires  {} {} ({})", expires(needed), needed.common_name, purpose(needed)))?;
    }
    Ok(())
}
