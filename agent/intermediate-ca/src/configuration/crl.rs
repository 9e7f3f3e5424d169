//! `[crl]` and its partitions.

use std::time::Duration;

use issuance::{ProfileName, Purpose};
use service::configuration::Table;

use crate::{
    crl::{self, CrlPartition, CrlSettings, PartitionScope},
    profile::{CaName, CaProfile, CaSettings},
};

/// What a broker that reads its file once a day still has a week for.
const VALID_FOR: Duration = Duration::from_secs(7 * 86_400);
const EVERY: Duration = Duration::from_secs(3_600);
/// A weekend without the HSM.
const EARLY: Duration = Duration::from_secs(3 * 86_400);

pub(super) fn parse(table: &Table<'_>, issuers: &[CaSettings], profiles: &[CaProfile]) -> Option<CrlSettings> {
    let directory = table.path("directory");
    let address = table.optional_parsed("address", |text| {
        text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8080")
    });
    let mut partitions: Vec<CrlPartition> = Vec::new();
    for part in table.tables("partition") {
        if let Some(read) = parse_partition(&part, issuers, profiles) {
            let is_taken = |name: &CaName| {
                issuers.iter().any(|issuer| issuer.name == *name) || partitions.iter().any(|other| other.name == *name)
            };
            if is_taken(&read.name) {
                part.mistake(
                    "name",
                    format!("{} names an issuer or another partition already; give another", read.name),
                );
            } else {
                partitions.push(read);
            }
        }
    }
    let settings = CrlSettings {
        every: table.duration_or("every", EVERY),
        valid_for: table.duration_or("valid_for", VALID_FOR),
        early: table.duration_or("early", EARLY),
        directory: directory?,
        address,
        partitions,
    };
    if let Some((key, problem)) = crl::contradiction(&settings) {
        table.mistake(key, problem);
    }
    Some(settings)
}

fn parse_partition(table: &Table<'_>, issuers: &[CaSettings], profiles: &[CaProfile]) -> Option<CrlPartition> {
    let name = table.parsed("name", CaName::parse);
    let issuer = table.parsed("issuer", |text| match issuers.iter().find(|issuer| issuer.name.as_str() == text) {
        Some(issuer) => Ok(issuer.name.clone()),
        None => Err(format!("no [[issuer]] is named {text}; give one that is")),
    });
    if !table.has("profiles") {
        table.mistake("profiles", "is missing; list the profiles whose certificates name this list");
    }
    let own = |text: &str| match profiles.iter().find(|profile| profile.name.as_str() == text) {
        Some(profile) if issuer.as_ref().is_none_or(|issuer| profile.issuer == *issuer) => Ok(profile),
        Some(profile) => Err(format!("the profile {text} is issued by {}: a list has one issuer", profile.issuer)),
        None => Err(format!("no [[profile]] is named {text}; give one that is")),
    };
    let covered: Vec<&CaProfile> = table.parsed_list("profiles", own);
    let url = table.parsed("url", |text| match text.strip_prefix("http://") {
        // RFC 5280 §8: fetching a list over https could need that very list.
        Some(rest) if !rest.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err("must be an http:// URL, the same as in the certificates"),
    });
    let authorities = covered.iter().filter(|profile| matches!(profile.purpose, Purpose::DeviceCa { .. })).count();
    let scope = match authorities {
        0 => Some(PartitionScope::EndEntities),
        all if all == covered.len() => Some(PartitionScope::Authorities),
        _ => None,
    };
    let profiles: Vec<ProfileName> = covered.into_iter().map(|profile| profile.name.clone()).collect();
    Some(CrlPartition { name: name?, issuer: issuer?, profiles, url: url?, scope })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::configuration::File;

    use super::super::{
        Configuration,
        tests::{GOOD, mistakes},
    };

    /// `[crl]` with a partition gives what it says, with defaults; a list that would expire before its successor, a name
    /// that is taken, a strange issuer or profile and a URL that is not plain HTTP are mistakes.
    #[test]
    fn lists_are_read_and_checked() {
        let good = format!(
            "{GOOD}[crl]\ndirectory = \"crl\"\nearly = \"24h\"\n[[crl.partition]]\nname = \"part\"\n\
             issuer = \"device-ca\"\nprofiles = [\"device-ca\"]\nurl = \"http://ca/crl/part.crl\"\n"
        );
        let file = File::parse(Path::new("/etc/ca/ca.toml"), good.clone()).unwrap();
        let crl = Configuration::parse(file).unwrap().authority.crl.unwrap();
        assert_eq!((crl.every.as_secs(), crl.valid_for.as_secs()), (3_600, 7 * 86_400));
        assert_eq!((crl.directory.as_path(), crl.address), (Path::new("/etc/ca/crl"), None));
        assert_eq!(crl.partitions[0].scope, Some(crate::PartitionScope::Authorities));
        for (from, to, expected) in [
            ("\"24h\"", "\"168h\"", "would expire before its successor"),
            ("name = \"part\"", "name = \"device-ca\"", "names an issuer"),
            ("url = \"http:", "url = \"https:", "must be an http:// URL"),
            ("issuer = \"device-ca\"\nprofiles", "issuer = \"other\"\nprofiles", "no [[issuer]] is named other"),
            ("profiles = [\"device-ca\"]", "profiles = [\"other\"]", "no [[profile]] is named other"),
            ("profiles = [\"device-ca\"]\n", "", "list the profiles"),
            ("directory = \"crl\"\n", "", "directory"),
        ] {
            assert!(good.contains(from), "{from}");
            let found = mistakes(&good.replace(from, to));
            assert!(found.iter().any(|mistake| mistake.contains(expected)), "{to}: {found:?}");
        }
    }
}
