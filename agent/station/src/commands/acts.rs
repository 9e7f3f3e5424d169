//! What can be done at the page can be done by a command: the table for people is made here, from the API, from the commands and
//! from what the page calls.

use std::{fs, path::Path};

use clap::CommandFactory as _;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::Arguments;

/// Each RPC with the command that calls it.
const COMMANDS: &[(&str, &str)] = &[
    ("StartIssuance", "issue"),
    // For whoever starts many: the MES.
    ("BatchStartIssuances", ""),
    ("ReleaseIssuance", "issuance release"),
    ("CancelIssuance", "issuance cancel"),
    ("ReworkIssuance", "rework"),
    ("ScrapDevice", "scrap"),
    ("GetIssuance", "issue"),
    ("ListIssuances", "issuance list"),
    ("Watch", "watch"),
    ("VerifyDevice", "device verify"),
    ("OpenLot", "lot open"),
    ("AuthoriseLot", "lot authorise"),
    ("CloseLot", "lot close"),
    ("GetLot", "lot show"),
    ("ListLots", "lot list"),
    ("ReportLot", "lot report"),
    ("GetStation", "status"),
    ("GetHealth", "health"),
    ("GetIssuanceStory", "issuance show"),
    ("GetIssuanceProof", "issuance proof"),
];

/// What an operator calls it, where the page does it.
const PAGE: &[(&str, &str)] = &[
    ("StartIssuance", "scan a device; go on with one that stopped"),
    ("ReleaseIssuance", "let one go on that was set aside; the label was swapped"),
    ("CancelIssuance", "cancel"),
    ("ReworkIssuance", "certify again; the board was swapped"),
    ("ScrapDevice", "scrap"),
    ("ListIssuances", "search; what is stuck in a lot"),
    ("Watch", "the tiles"),
    ("VerifyDevice", "begin a shift with the golden device"),
    ("ListLots", "the lots"),
    ("GetStation", "the tiles, the CA's banner, the golden device's last check"),
    ("GetHealth", "the station's health"),
    ("GetIssuanceStory", "one device's story"),
    ("GetIssuanceProof", "the proof to download"),
];

fn rpcs() -> Vec<String> {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
    let services = files.iter().filter(|file| file.package() == "station.v1").flat_map(|file| &file.service);
    services.flat_map(|service| service.method.iter().map(|method| method.name().to_owned())).collect()
}

fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => sources(&path, text),
            path => text.push_str(&fs::read_to_string(path).unwrap_or_default()),
        }
    }
}

/// As the generated client has it: `GetLot` is `get_lot`.
fn snake(rpc: &str) -> String {
    let mut name = String::new();
    for letter in rpc.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

fn of<'a>(table: &[(&str, &'a str)], rpc: &str) -> Option<&'a str> {
    table.iter().find(|(name, _)| *name == rpc).map(|(_, words)| *words)
}

/// Each RPC has one line, each command in it is one, and what the page calls has a command: `deploy/acts.md` says which.
/// `STATION_WRITE=1` writes it.
#[test]
fn what_the_page_does_a_command_does() {
    let rpcs = rpcs();
    let named: Vec<&str> = COMMANDS.iter().map(|(rpc, _)| *rpc).collect();
    assert_eq!(named, rpcs);
    let mut page = String::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../station-ui/src")), &mut page);
    let mut table = "| RPC | `station-agent` | on the page |\n|---|---|---|\n".to_owned();
    for rpc in &rpcs {
        let command = of(COMMANDS, rpc).unwrap_or_default();
        let mut found = Arguments::command();
        for word in command.split_whitespace() {
            found = found.find_subcommand(word).unwrap_or_else(|| panic!("there is no command {command}")).clone();
        }
        let is_called = page.contains(&format!(".{}(", snake(rpc)));
        let at_the_page = of(PAGE, rpc);
        assert_eq!(
            is_called,
            at_the_page.is_some(),
            "{rpc}: what the page does with it is named exactly if it calls it"
        );
        assert!(!is_called || !command.is_empty(), "{rpc}: the page calls it, and no command does");
        let command = if command.is_empty() { String::new() } else { format!("`{command}`") };
        table += &format!("| `{rpc}` | {command} | {} |\n", at_the_page.unwrap_or_default());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/acts.md");
    let written = fs::read_to_string(path).unwrap();
    let (head, _) = written.split_once("\n| RPC").unwrap();
    let due = format!("{head}\n{table}");
    if std::env::var_os("STATION_WRITE").is_some() {
        fs::write(path, &due).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == due, "run this test with STATION_WRITE=1 to write deploy/acts.md");
}
