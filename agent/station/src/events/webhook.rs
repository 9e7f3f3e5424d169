//! Events to a web hook: each a POST of JSON, signed as Standard Webhooks 1.0 has it, so that receivers find a library for it.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use proto::station::v1::Event;
use secrecy::ExposeSecret as _;
use serde_json::json;
use service::{
    configuration::Table,
    secrets,
    tls::{HttpsClient, TlsError, TlsFiles, check_url},
};

use super::{NotTaken, Receiver};

/// What its cursor's file is called after.
pub const KIND: &str = "webhook";

/// Leads a secret (Standard Webhooks 1.0, "Signature scheme"); base64 of the key follows.
const SECRET: &str = "whsec_";

/// Octets of the key: what Standard Webhooks asks for.
const KEY: std::ops::RangeInclusive<usize> = 24..=64;

/// `[webhook]`.
#[derive(Clone)]
pub struct Settings {
    url: String,
    files: TlsFiles,
    key: hmac::Key,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads `[webhook]`; without the table there is none. What is wrong is collected there.
    pub fn from_table(root: &Table<'_>) -> Option<Self> {
        let table = root.optional_table("webhook")?;
        let url = table.parsed("endpoint", |text| match check_url(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(TlsError::Endpoint { problem, .. }) => Err(format!("{problem}; write https://host:port/path")),
            Err(error) => Err(error.to_string()),
        });
        let files = TlsFiles::from_table(&table);
        let key = table.path("secret_file").and_then(|file| {
            let parsed = secrets::read(&file).map_err(|error| service::in_full(&error));
            parsed
                .and_then(|secret| parse_secret(secret.expose_secret()))
                .map_err(|words| table.mistake("secret_file", words))
                .ok()
        });
        Some(Self { url: url?, files: files?, key: key? })
    }

    /// What TLS to the receiver needs.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Where events are posted.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Never says what stands there.
fn parse_secret(text: &str) -> Result<hmac::Key, String> {
    let wrong = || format!("must hold {SECRET} and the base64 of {} to {} random octets", KEY.start(), KEY.end());
    let octets = text.strip_prefix(SECRET).and_then(|encoded| STANDARD.decode(encoded).ok());
    let octets = octets.filter(|octets| KEY.contains(&octets.len())).ok_or_else(wrong)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &octets))
}

/// A receiver behind HTTPS.
pub struct Webhook {
    station: String,
    client: HttpsClient,
    key: hmac::Key,
}

impl Webhook {
    /// Reads the files; connects at the first event.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn new(station: &str, settings: &Settings) -> Result<Self, TlsError> {
        let client = HttpsClient::new(&settings.url, &settings.files)?;
        Ok(Self { station: station.to_owned(), client, key: settings.key.clone() })
    }

    /// `v1,` and the HMAC-SHA256 of id, time and body.
    fn sign(&self, id: &str, time: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{time}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl Receiver for Webhook {
    async fn tell(&mut self, event: &Event) -> Result<(), NotTaken> {
        let not_taken = |message| NotTaken { message, retry_after: None };
        let data = proto::as_json("station.v1.Event", &event.encode_to_vec()).map_err(not_taken)?;
        let body = json!({"type": "station.v1.Event", "station": self.station, "data": data}).to_string();
        // The same at each try: whoever has seen it has the event.
        let id = format!("{}-{}", self.station, event.sequence);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-signature", self.sign(&id, time, body.as_bytes())),
            ("webhook-timestamp", time.to_string()),
            ("webhook-id", id),
        ];
        let said = self.client.post(&headers, body.as_bytes()).await.map_err(not_taken)?;
        match said.status {
            200..=299 => Ok(()),
            status => Err(NotTaken { message: format!("it answers {status}"), retry_after: said.retry_after }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A secret is what Standard Webhooks calls one, and what is none is not quoted.
    #[test]
    fn a_secret_is_of_the_standards_form() {
        let long = |octets: usize| format!("{SECRET}{}", STANDARD.encode(vec![7; octets]));
        assert!(parse_secret(&long(24)).is_ok() && parse_secret(&long(64)).is_ok());
        for wrong in [long(23), long(65), STANDARD.encode([7; 32]), format!("{SECRET}geheim!"), String::new()] {
            let told = parse_secret(&wrong).unwrap_err();
            assert!(told.contains("24 to 64") && !told.contains("geheim"), "{told}");
        }
    }
}
