//! Who may do what.

use std::path::Path;

use tonic::Code;

use super::{Callers, Role};
use crate::{configuration::File, status, tls::Peer};

fn read(text: &str) -> (Callers, Vec<String>) {
    let file = File::parse(Path::new("s.toml"), text.to_owned()).unwrap();
    let callers = Callers::from_table(&file.root());
    let mistakes = file.finish().map_or_else(|m| m.to_string().lines().map(str::to_owned).collect(), |()| Vec::new());
    (callers, mistakes)
}

fn peer(common_name: &str, uris: &[&str], fingerprint: u8) -> Peer {
    Peer {
        common_name: common_name.to_owned(),
        uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        fingerprint_sha256: [fingerprint; 32],
        address: ([127, 0, 0, 1], 1).into(),
    }
}

/// Every role is written and read with the same word, and others are refused.
#[test]
fn roles_are_words() {
    for role in Role::ALL {
        assert_eq!(Role::parse(&role.to_string()), Ok(role));
    }
    for word in ["", "Supervisor", "supervisor ", "root"] {
        Role::parse(word).unwrap_err();
    }
}

/// Each mark finds its caller; whatever is not in the configuration has no role.
#[test]
fn only_known_certificates_have_a_role() {
    let fingerprint = "AB:".repeat(31) + "ab";
    let (callers, mistakes) = read(&format!(
        "[[caller]]\ncommon_name = \"mes-1\"\nrole = \"mes\"\n\
         [[caller]]\nuri = \"urn:line:page\"\nrole = \"kiosk\"\n\
         [[caller]]\nfingerprint = \"{fingerprint}\"\nrole = \"auditor\"\n"
    ));
    assert_eq!(mistakes, [""; 0]);
    assert_eq!(callers.role_of(&peer("mes-1", &[], 0)), Some(Role::Mes));
    assert_eq!(callers.role_of(&peer("", &["urn:other", "urn:line:page"], 0)), Some(Role::Kiosk));
    assert_eq!(callers.role_of(&peer("", &[], 0xab)), Some(Role::Auditor));
    assert_eq!(callers.caller(&peer("", &[], 0xab)).unwrap().name, "ab".repeat(32));
    for stranger in [peer("", &[], 0), peer("MES-1", &[], 0), peer("mes-1 ", &[], 0), peer("urn:line:page", &[], 0)] {
        assert_eq!(callers.role_of(&stranger), None, "{stranger:?}");
    }
}

/// A certificate that two tables give different roles has none; with the same role it has that.
#[test]
fn contradicting_roles_are_none() {
    let (callers, _) = read(
        "[[caller]]\ncommon_name = \"a\"\nrole = \"operator\"\n\
         [[caller]]\nuri = \"urn:a\"\nrole = \"supervisor\"\n\
         [[caller]]\nuri = \"urn:b\"\nrole = \"operator\"\n",
    );
    assert_eq!(callers.role_of(&peer("a", &["urn:a"], 0)), None);
    assert_eq!(callers.role_of(&peer("a", &["urn:b"], 0)), Some(Role::Operator));
}

/// Every slip in a [[caller]] is a mistake at its place, and gives nobody a role.
#[test]
fn slips_are_mistakes() {
    let (callers, mistakes) = read(
        "[[caller]]\nrole = \"mes\"\n\
         [[caller]]\ncommon_name = \"a\"\nuri = \"urn:a\"\nrole = \"mes\"\n\
         [[caller]]\ncommon_name = \"b\"\nrole = \"root\"\n\
         [[caller]]\nfingerprint = \"abc\"\nrole = \"mes\"\n\
         [[caller]]\nuri = \"no uri\"\nrole = \"mes\"\n\
         [[caller]]\ncommon_name = \"c\"\nrole = \"mes\"\n\
         [[caller]]\ncommon_name = \"c\"\nrole = \"supervisor\"\n\
         [[caller]]\ncommon_name = \"\"\nrole = \"mes\"\n",
    );
    let places: Vec<_> = mistakes.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "s.toml:1:1 caller[1].common_name",
            "s.toml:5:7 caller[2].uri",
            "s.toml:9:8 caller[3].role",
            "s.toml:11:15 caller[4].fingerprint",
            "s.toml:14:7 caller[5].uri",
            "s.toml:20:15 caller[7].common_name",
            "s.toml:23:15 caller[8].common_name",
        ],
        "{mistakes:#?}"
    );
    assert_eq!(callers.role_of(&peer("c", &[], 0)), Some(Role::Mes));
    for name in ["a", "b", ""] {
        assert_eq!(callers.role_of(&peer(name, &[], 0)), None, "{name:?}");
    }
}

/// A configuration in which nobody may call is a mistake.
#[test]
fn no_caller_is_a_mistake() {
    let (_, mistakes) = read("");
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].contains("caller: is missing"), "{mistakes:?}");
}

/// The three refusals differ in code and reason, and the allowed role gets through under its name.
#[test]
fn calls_are_authorised_by_role() {
    let (callers, _) = read("[[caller]]\ncommon_name = \"page\"\nrole = \"kiosk\"\n");
    let page = peer("page", &[], 0);
    let caller = callers.authorise(Some(&page), &[Role::Operator, Role::Kiosk]).unwrap();
    assert_eq!((caller.name.as_str(), caller.role), ("page", Role::Kiosk));

    let refusal = |peer: Option<&Peer>, allowed: &[Role]| {
        let status = callers.authorise(peer, allowed).unwrap_err();
        (status.code(), status::reason(&status).unwrap(), status.message().to_owned())
    };
    let (code, reason, _) = refusal(None, &Role::ALL);
    assert_eq!((code, reason.as_str()), (Code::Unauthenticated, "NO_CERTIFICATE"));
    let (code, reason, message) = refusal(Some(&peer("stranger", &[], 0)), &Role::ALL);
    assert_eq!((code, reason.as_str()), (Code::Unauthenticated, "UNKNOWN_CALLER"));
    assert!(message.contains("stranger"), "{message}");
    let (code, reason, message) = refusal(Some(&page), &[Role::Supervisor]);
    assert_eq!((code, reason.as_str()), (Code::PermissionDenied, "ROLE_NOT_ALLOWED"));
    assert!(message.contains("kiosk") && message.contains("supervisor"), "{message}");
    refusal(Some(&page), &[]);
}
