//! `mode = "production"`: what is for development, demonstrations and tests is refused, with what to do instead.

use std::path::Path;

use issuance::DeviceIdentity;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::profile::{CaProfile, CaSettings};

/// Parses `mode`; whether it is production.
pub(crate) fn parse_mode(text: &str) -> Result<bool, &'static str> {
    match text {
        "production" => Ok(true),
        "development" => Ok(false),
        _ => Err("must be \"production\" or \"development\""),
    }
}

/// What is wrong with a PKCS#11 module, by its file.
pub(crate) fn module(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    ["softhsm", "hsm_sim"].iter().any(|simulated| name.contains(simulated)).then(|| {
        format!("is {name}, which mode = \"production\" refuses: its keys are files; give the HSM's own module")
    })
}

/// What is wrong with a token, whichever module it is reached by.
pub(crate) fn token(identity: &DeviceIdentity) -> Option<String> {
    let DeviceIdentity::Token { label, manufacturer, model, .. } = identity else { return None };
    [manufacturer, model].iter().any(|text| text.to_ascii_lowercase().contains("softhsm")).then(|| {
        format!(
            "the token {label:?} is {model} ({manufacturer}), which mode = \"production\" refuses: its keys are files; \
             use an HSM"
        )
    })
}

/// What is wrong with a CA's name.
pub(crate) fn authority(ca: &CaSettings) -> Option<String> {
    let names = [Some(ca.common_name.as_str()), ca.organization.as_deref()];
    let mut words = names.into_iter().flatten().flat_map(|name| name.split(|letter: char| !letter.is_alphanumeric()));
    words.any(|word| word.eq_ignore_ascii_case("demo")).then(|| {
        "is a demonstration's, which mode = \"production\" refuses: such roots are trusted nowhere; give the product's"
            .to_owned()
    })
}

/// What is wrong with the TPM makers that a profile believes.
pub(crate) fn makers(profile: &CaProfile) -> Option<String> {
    let is_simulated = |der: &Vec<u8>| {
        X509Certificate::from_der(der)
            .is_ok_and(|(_, root)| root.subject().to_string().to_ascii_lowercase().contains("swtpm"))
    };
    let roots = profile.endorsement.iter().flat_map(|policy| &policy.roots);
    (roots.filter(|root| is_simulated(root)).count() > 0).then(|| {
        "has a root of swtpm's, which mode = \"production\" refuses: anybody makes such TPMs; take it out".to_owned()
    })
}
