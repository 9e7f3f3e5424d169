//! `[est]`: the EST listener, its labels and its clients.

use issuance::{LotName, ProfileName, Purpose, public_key::sha256};
use secrecy::ExposeSecret as _;
use service::{
    configuration::Table,
    roles::{Callers, Mark},
    secrets,
};

use crate::{
    callers::EST,
    est::{EstClient, EstLabel, EstMark, EstOffer, EstSettings},
    hardware_key::parse_tls,
    profile::CaProfile,
};

/// A password is a machine's: nobody types it, and nobody should be able to guess it.
const PASSWORD_MIN: usize = 16;

/// Stands for the label without a name.
const NO_LABEL: char = '/';

/// The operations, which therefore no label can be called.
const OPERATIONS: [&str; 6] = ["cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs"];

pub(super) fn parse(table: &Table<'_>, profiles: &[CaProfile], callers: &Callers) -> Option<EstSettings> {
    let address = table
        .parsed("address", |text| text.parse().map_err(|_| "must be an IP address and a port, such as 0.0.0.0:8443"));
    let files = parse_tls(table);
    for caller in callers.iter().filter(|caller| caller.name.starts_with(EST)) {
        table.mistake(
            "client",
            format!("the [[caller]] {} has a name as EST's clients do: give it another", caller.name),
        );
    }
    if !table.has("label") {
        table.mistake("label", "is missing; add an [[est.label]] with its profiles");
    }
    let mut labels: Vec<EstLabel> = Vec::new();
    for table in table.tables("label") {
        let Some(label) = label(&table, profiles) else { continue };
        if labels.iter().any(|other| other.name == label.name) {
            table.mistake("name", "names another [[est.label]] already; give another");
        } else {
            labels.push(label);
        }
    }
    let mut clients: Vec<EstClient> = Vec::new();
    for table in table.tables("client") {
        let Some((key, client)) = client(&table, &labels) else { continue };
        if clients.iter().any(|other| other.name() == client.name()) {
            table.mistake(key, "names another [[est.client]] already; give another");
        } else {
            clients.push(client);
        }
    }
    Some(EstSettings { address: address?, files: files?, labels, clients })
}

fn label(table: &Table<'_>, profiles: &[CaProfile]) -> Option<EstLabel> {
    let name = if table.has("name") { table.parsed("name", parse_label) } else { Some(String::new()) };
    if !table.has("profiles") {
        table.mistake("profiles", "is missing; list the profiles that are enrolled here");
    }
    let lots = lots(table);
    let mut offers: Vec<EstOffer> = Vec::new();
    let offered: Vec<&CaProfile> = table.parsed_list("profiles", |text| offered(text, profiles));
    for profile in offered {
        let same = |other: &&EstOffer| match (other.purpose, profile.purpose) {
            (Purpose::DeviceCa { .. }, Purpose::DeviceCa { .. }) => true,
            (one, other) => one == other,
        };
        if let Some(other) = offers.iter().find(same) {
            let message = format!(
                "{} and {} are for the same purpose, and a request says no more than that: give them a label each",
                other.profile, profile.name
            );
            table.mistake("profiles", message);
            continue;
        }
        offers.push(EstOffer {
            profile: profile.name.clone(),
            purpose: profile.purpose,
            common_name: profile.subject.common_name.clone(),
            keys: profile.keys.clone(),
            lot: lots.iter().find(|(name, _)| name == profile.name.as_str()).map(|(_, lot)| lot.clone()),
        });
    }
    check_lots(table, &lots, |profile| offers.iter().any(|offer| offer.profile.as_str() == profile));
    Some(EstLabel { name: name?, offers })
}

fn offered<'a>(text: &str, profiles: &'a [CaProfile]) -> Result<&'a CaProfile, String> {
    match profiles.iter().find(|profile| profile.name.as_str() == text) {
        None => Err(format!("no [[profile]] is named {text}; give one that is")),
        Some(profile) if profile.callers.is_some() => Err(format!(
            "the profile {text} is for its callers alone, and EST's clients are none of them: leave callers out of it, or \
             give a [[profile]] of another name without them"
        )),
        Some(profile) if profile.endorsement.is_some() => Err(format!(
            "the profile {text} wants the key's residency proven, and EST has no place for the proof: have its \
                 devices issued by a station, or give a [[profile]] of another name without residency"
        )),
        Some(profile) => Ok(profile),
    }
}

fn client(table: &Table<'_>, labels: &[EstLabel]) -> Option<(&'static str, EstClient)> {
    let mark = if table.has("user") || table.has("password_file") {
        for key in ["common_name", "uri", "fingerprint"].into_iter().filter(|key| table.has(key)) {
            table.mistake(key, "does not go with user: a client is known by its password or by its certificate");
        }
        let user = table.parsed("user", parse_user);
        let password = table.path("password_file").and_then(|path| match secrets::read(&path) {
            Ok(password) if password.expose_secret().chars().count() < PASSWORD_MIN => {
                let message = format!("the password has fewer than {PASSWORD_MIN} characters; make a longer one");
                table.mistake("password_file", message);
                None
            }
            Ok(password) => Some(sha256(password.expose_secret().as_bytes())),
            Err(error) => {
                table.mistake("password_file", service::in_full(&error));
                None
            }
        });
        user.zip(password).map(|(user, sha256)| ("user", EstMark::Password { user, sha256 }))
    } else {
        Mark::from_table(table).map(|(key, mark)| (key, EstMark::Certificate(mark)))
    };
    if !table.has("labels") {
        table.mistake("labels", "is missing; list the labels that it may use, \"/\" for the one without a name");
    }
    let labels_used: Vec<String> = table.parsed_list("labels", |text| {
        match labels.iter().find(|label| label.name == text.trim_start_matches(NO_LABEL)) {
            Some(label) => Ok(label.name.clone()),
            None => Err(format!("no [[est.label]] is named {text:?}; give one that is")),
        }
    });
    let lots = lots(table);
    let own = |profile: &str| {
        let offers = labels.iter().filter(|label| labels_used.contains(&label.name)).flat_map(|label| &label.offers);
        offers.into_iter().any(|offer| offer.profile.as_str() == profile)
    };
    check_lots(table, &lots, own);
    let (key, mark) = mark?;
    Some((key, EstClient { mark, labels: labels_used, lots }))
}

/// `lots`: a profile's name and its lot's.
fn lots(table: &Table<'_>) -> Vec<(String, String)> {
    let lots = table.string_map("lots");
    for (profile, lot) in &lots {
        if let Err(error) = ProfileName::parse(profile).map(drop).and(LotName::parse(lot).map(drop)) {
            table.mistake("lots", service::in_full(&error));
        }
    }
    lots
}

fn check_lots(table: &Table<'_>, lots: &[(String, String)], is_offered: impl Fn(&str) -> bool) {
    for (profile, _) in lots.iter().filter(|(profile, _)| !is_offered(profile)) {
        table.mistake("lots", format!("names the profile {profile}, which is not enrolled here; leave it out"));
    }
}

fn parse_label(text: &str) -> Result<String, &'static str> {
    let accepted = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !(1..=64).contains(&text.len()) || !text.chars().all(accepted) || text.starts_with('.') {
        return Err("must be 1 to 64 of [A-Za-z0-9._-], not beginning with a dot");
    }
    if OPERATIONS.contains(&text) {
        return Err("is an operation of EST's; give another");
    }
    Ok(text.to_owned())
}

/// RFC 7617: a user has no colon.
fn parse_user(text: &str) -> Result<String, &'static str> {
    let accepted = |character: char| character.is_ascii_graphic() && character != ':';
    if (1..=64).contains(&text.len()) && text.chars().all(accepted) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 64 printable ASCII characters without blanks and colons")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use service::configuration::File;

    use super::super::{
        Configuration,
        tests::{GOOD, mistakes},
    };

    /// `[est]` gives what it says; each wrong word is told at its key, and the file with all of them tells all.
    #[test]
    fn labels_and_clients_are_read_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let secret = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let (long, short) = (secret("long", "0123456789abcdef\n"), secret("short", "0123456789abcde\n"));
        let good = format!(
            "{GOOD}[est]\naddress = \"127.0.0.1:0\"\ncertificate = \"e.pem\"\nkey = \"e.key\"\ntrust = \"t.pem\"\n\
             [[est.label]]\nprofiles = [\"device-ca\"]\nlots = {{ device-ca = \"lot-1\" }}\n\
             [[est.label]]\nname = \"line-1\"\nprofiles = [\"device-ca\"]\n\
             [[est.client]]\nuser = \"one\"\npassword_file = {long:?}\nlabels = [\"/\", \"line-1\"]\n\
             [[est.client]]\ncommon_name = \"two\"\nlabels = [\"line-1\"]\nlots = {{ device-ca = \"lot-2\" }}\n"
        );
        let file = File::parse(Path::new("/etc/ca/ca.toml"), good.clone()).unwrap();
        let est = Configuration::parse(file).unwrap().est.unwrap();
        let names: Vec<_> = est.clients.iter().map(|client| (client.name(), client.labels.join(" "))).collect();
        assert_eq!(names, [("est/one".to_owned(), " line-1".to_owned()), ("est/two".to_owned(), "line-1".to_owned())]);
        assert_eq!((est.labels[0].name.as_str(), est.labels[0].offers[0].lot.as_deref()), ("", Some("lot-1")));
        assert_eq!(est.clients[1].lots, [("device-ca".to_owned(), "lot-2".to_owned())]);
        assert!(!format!("{:?}", est.clients).contains("sha256"), "a password's hash is not told");
        let changes = [
            ("name = \"line-1\"", "name = \"cacerts\"", "is an operation of EST's"),
            ("name = \"line-1\"", "name = \"a/b\"", "must be 1 to 64"),
            (
                "name = \"line-1\"\nprofiles = [\"device-ca\"]",
                "name = \"line-1\"\nprofiles = [\"x\"]",
                "no [[profile]]",
            ),
            (&long, &short, "fewer than 16 characters"),
            ("user = \"one\"", "user = \"o:ne\"", "without blanks and colons"),
            ("user = \"one\"", "user = \"one\"\nuri = \"urn:x\"", "does not go with user"),
            ("labels = [\"line-1\"]", "labels = [\"line-2\"]", "no [[est.label]]"),
            ("lots = { device-ca = \"lot-2\" }", "lots = { server = \"lot-2\" }", "is not enrolled here"),
            ("common_name = \"two\"", "", "exactly one of"),
            ("common_name = \"station-1\"", "common_name = \"est/x\"", "has a name as EST's clients do"),
        ];
        let mut all = good.clone();
        for (from, to, words) in changes {
            assert!(good.contains(from), "{from}");
            let found = mistakes(&good.replacen(from, to, 1));
            assert!(found.iter().any(|mistake| mistake.contains(words)), "{to}: {found:?}");
            all = all.replacen(from, to, 1);
        }
        assert!(mistakes(&all).len() >= 6, "{:#?}", mistakes(&all));
    }
}
