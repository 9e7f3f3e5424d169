//! Which crash points there are, at which time each is reached, and what reaches it.

use std::fmt;

use service::crash;

/// The CA's lists of revoked certificates on a line: one for each issuer.
const LISTS: u32 = 2;

/// A crash point, and at which time it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    pub(super) name: &'static str,
    pub(super) time: u32,
    /// What reaches it, where it is another act than usual.
    within: Option<Within>,
}

/// An act of a supervisor that passes points which others pass, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Scrap,
    Relabel,
    BoardSwap,
}

/// What is passed when a device is scrapped at its station: there, and at the CA, which is asked first.
const SCRAP: [&str; 8] = [
    "ca.scrapped.appended",
    "ca.scrapped.decided",
    "ca.scrapped.synced",
    "station.cancelled.appended",
    "station.cancelled.decided",
    "station.ruling.synced",
    "station.scrap.done",
    "station.scrap.intended",
];
/// What is passed when hardware is another device from now on, from the word to the end.
const NEW_HARDWARE: [&str; 16] = [
    "station.device-identified.appended",
    "station.find-key.done",
    "station.generate-key.done",
    "station.generate-key.intended",
    "station.generate-key.synced",
    "station.key-generated.appended",
    "station.key-generation-started.appended",
    "station.key-generation-started.decided",
    "station.remove-key.done",
    "station.remove-key.intended",
    "station.verify.done",
    "station.write-started.appended",
    "station.write.done",
    "station.write.intended",
    "station.write.synced",
    "station.written.appended",
];
/// What is passed when the word is given on what was set aside.
const RELABEL: [&str; 4] =
    ["station.released.appended", "station.released.decided", "station.resumed.appended", "station.ruling.synced"];
/// What is passed when it comes with a rework.
const BOARD_SWAP: [&str; 3] = ["station.requested.appended", "station.requested.decided", "station.rework.synced"];

impl Try {
    /// Every point; those that are passed more than once in one issuance, each time.
    #[must_use]
    pub fn all() -> Vec<Self> {
        crash::NAMES
            .iter()
            // Nobody is disabled here: of that record, a kill after it is tested at the CA.
            .filter(|name| !needs_a_forgetful_ca(name) && !name.starts_with("ca.caller."))
            .filter(|name| !is_of_a_supervisor(name))
            .flat_map(|name| times(name).into_iter().map(|time| Self { name, time, within: None }))
            .chain(Self::within(Within::Scrap, &SCRAP))
            .chain(Self::within(Within::Relabel, &[&RELABEL[..], &NEW_HARDWARE].concat()))
            .chain(Self::within(Within::BoardSwap, &[&BOARD_SWAP[..], &NEW_HARDWARE].concat()))
            .collect()
    }

    fn within(act: Within, names: &[&'static str]) -> Vec<Self> {
        names.iter().map(|name| Self { name, time: 1, within: Some(act) }).collect()
    }

    /// A point at the first time that it is reached, whatever reaches it.
    pub(super) fn first(name: &'static str) -> Self {
        Self { name, time: 1, within: None }
    }

    /// A few that stand for all: before and after each act that cannot be undone.
    #[must_use]
    pub fn few() -> Vec<Self> {
        let acts = [(Within::Scrap, "station.scrap.done"), (Within::BoardSwap, "station.remove-key.done")];
        let acts = acts.into_iter().flat_map(|(act, name)| Self::within(act, &[name]));
        const FEW: [&str; 8] = [
            "ca.planned.synced",
            "ca.revoked.synced",
            "ca.scrapped.synced",
            "ca.signed.synced",
            "station.generate-key.done",
            "station.scan.synced",
            "station.submission.done",
            "station.write.done",
        ];
        crash::NAMES.iter().filter(|name| FEW.contains(name)).map(|name| Self::first(name)).chain(acts).collect()
    }

    /// Whether a command passes it that runs while the CA does not, in a place of its own.
    pub(super) fn is_apart(&self) -> bool {
        self.name.starts_with("ca.init.") || self.is_ceremony() || self.is_rollover()
    }

    /// Whether it takes a root whose key is elsewhere: at the beginning, or at a rollover.
    pub(super) fn is_ceremony(&self) -> bool {
        self.name.starts_with("ca.ceremony.")
    }

    pub(super) fn is_rollover(&self) -> bool {
        self.name.starts_with("ca.rollover")
    }

    /// Whether it takes a profile that the CA does not know.
    pub(super) fn is_strange(&self) -> bool {
        matches!(self.scenario(), Scenario::Refusing(_) | Scenario::Releasing | Scenario::Cancelling)
    }

    /// Whether it takes a TPM's proof.
    pub(super) fn is_attested(&self) -> bool {
        matches!(self.scenario(), Scenario::Attesting)
    }

    /// Whether it takes a TPM: in a token each issuance has an id of its own, and no key makes place for another.
    pub(super) fn takes_a_tpm(&self) -> bool {
        self.is_attested() || matches!(self.scenario(), Scenario::Relabelling | Scenario::SwappingTheBoard)
    }

    /// As the process is told that is to die there.
    pub(super) fn variable(&self) -> String {
        format!("{}@{}", self.name, self.time)
    }

    pub(super) fn scenario(&self) -> Scenario {
        let (who, what) = self.name.split_once('.').unwrap_or_default();
        let part = if who == "ca" { Part::Ca } else { Part::Station };
        match self.within {
            Some(Within::Scrap) => return Scenario::ScrappingAtTheStation(part),
            Some(Within::Relabel) => return Scenario::Relabelling,
            Some(Within::BoardSwap) => return Scenario::SwappingTheBoard,
            None => {}
        }
        match what.split_once('.').unwrap_or_default() {
            ("start", at) if at.starts_with("sign.") => Scenario::Finishing,
            ("start", _) => Scenario::Starting(part),
            ("stop", _) => Scenario::Stopping(part),
            // The first thing that a CA does once it serves is to make its lists.
            ("crl" | "crl-planned" | "crl-signed", _) if self.time == 1 => Scenario::Starting(part),
            ("crl" | "crl-planned" | "crl-signed", _) => Scenario::Listing,
            ("lot-set", _) if self.time == 1 => Scenario::OpeningAtTheCa,
            ("lot-set", _) => Scenario::Amending,
            ("lot-ended", _) => Scenario::ClosingAtTheCa,
            ("lot-report" | "lot-reported", _) => Scenario::Reporting,
            ("scrapped", _) => Scenario::Scrapping,
            ("revoked", _) => Scenario::Revoking,
            // The CA is told of what supersedes something.
            ("rework" | "confirmation" | "confirmed", _) => Scenario::Reworking(Part::Station),
            ("verified", _) if part == Part::Ca => Scenario::Reworking(Part::Ca),
            ("attest" | "sealed" | "activate", _) => Scenario::Attesting,
            ("device-checked", _) => Scenario::Checking,
            ("golden-check-failed", _) => Scenario::CheckingAStranger,
            ("refused", _) => Scenario::Refusing(part),
            ("lot-opened" | "lot", _) => Scenario::OpeningALot,
            ("lot-closed", _) => Scenario::ClosingALot,
            ("resumed", _) => Scenario::Resuming,
            ("request-repeated", _) => Scenario::Repeating,
            ("failed", _) => Scenario::Failing,
            ("quarantined", _) => Scenario::SettingAside,
            ("in-doubt", _) => Scenario::Doubting,
            ("released" | "ruling", _) => Scenario::Releasing,
            ("cancelled", _) => Scenario::Cancelling,
            _ => Scenario::Issuing(part),
        }
    }
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = match self.within {
            None => "",
            Some(Within::Scrap) => " of a scrap",
            Some(Within::Relabel) => " of a relabel",
            Some(Within::BoardSwap) => " of a board swap",
        };
        write!(f, "{}@{}{within}", self.name, self.time)
    }
}

/// At which times a point is tried.
fn times(name: &str) -> Vec<u32> {
    match name {
        "station.files.synced" | "station.files.done" => vec![1, 2, 3],
        // Before the key, and again with the answer.
        "station.identify.intended" | "station.identify.done" => vec![1, 2],
        // Root and two issuers.
        init if init.starts_with("ca.init.") => vec![1, 2, 3],
        // Two issuers ask, and are certified.
        ceremony if ceremony.starts_with("ca.ceremony.") => vec![1, 2],
        // A lot is opened, and then amended.
        set if set.starts_with("ca.lot-set.") => vec![1, 2],
        // Each list at the start, as DER and as PEM; then what a revocation asks for.
        "ca.crl.write.synced" => vec![1, 2 * LISTS + 1],
        list if list.starts_with("ca.crl") => vec![1, LISTS + 1],
        _ => vec![1],
    }
}

/// What nothing but a supervisor's act comes to.
fn is_of_a_supervisor(name: &str) -> bool {
    ["station.scrap.", "station.remove-key."].iter().any(|act| name.starts_with(act))
}

/// The bench's CA answers the same request with the same certificate, and takes what reaches it: these records come of a CA
/// that does not.
fn needs_a_forgetful_ca(name: &str) -> bool {
    ["station.not-taken.", "station.resubmitted.", "station.surplus."].iter().any(|record| name.starts_with(record))
}

/// A process that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Ca,
    Station,
}

/// What reaches a point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scenario {
    /// An issuance from scan to end.
    Issuing(Part),
    /// The same on a TPM that must prove where the key lives.
    Attesting,
    /// A device that was certified is held against the journal.
    Checking,
    /// A start, with an issuance under way.
    Starting(Part),
    /// A start of the CA with a plan that was not signed.
    Finishing,
    /// A start of the station after it died with an answer under way.
    Doubting,
    /// An orderly end, with an issuance under way.
    Stopping(Part),
    /// A request that the CA refuses.
    Refusing(Part),
    /// A supervisor revokes what was issued.
    Revoking,
    /// The lists that a revocation asks for.
    Listing,
    /// A supervisor has a device certified again.
    Reworking(Part),
    /// A supervisor opens a lot at the CA.
    OpeningAtTheCa,
    /// A supervisor widens it.
    Amending,
    ClosingAtTheCa,
    /// The CA signs what became of a lot.
    Reporting,
    /// A supervisor gives a device's place in a lot back.
    Scrapping,
    /// The same at the station, which asks the CA first.
    ScrappingAtTheStation(Part),
    /// A label was swapped: the hardware, which is known as another device, is this one from now on.
    Relabelling,
    /// A board was swapped: the device is certified again, on hardware that is known as another one.
    SwappingTheBoard,
    /// The golden device is another one than was scanned.
    CheckingAStranger,
    OpeningALot,
    ClosingALot,
    /// A second scan after the device was away.
    Resuming,
    /// What stands already is asked for with another request_id.
    Repeating,
    /// The device is away.
    Failing,
    /// Another device was scanned.
    SettingAside,
    Releasing,
    Cancelling,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every point is tried, but for those that are named here: nobody leaves one out by a slip.
    #[test]
    fn every_point_is_tried_or_left_out_by_name() {
        let tried = Try::all();
        let left_out: Vec<_> =
            crash::NAMES.iter().filter(|name| !tried.iter().any(|point| point.name == **name)).copied().collect();
        let due = [
            "ca.caller.appended",
            "ca.caller.decided",
            "ca.caller.synced",
            "station.not-taken.appended",
            "station.not-taken.decided",
            "station.resubmitted.appended",
            "station.resubmitted.decided",
            "station.surplus.appended",
            "station.surplus.decided",
        ];
        assert_eq!(left_out, due);
        assert_eq!(Try::few().len(), 10);
    }

    /// What station and CA call their records and acts, each in a function of their own, is named as points: an armed
    /// process would end itself at any other.
    #[test]
    fn every_record_and_act_is_named() {
        let station = include_str!("../../../../agent/station/src/words.rs");
        let ca = include_str!("../../../../agent/intermediate-ca/src/records.rs");
        // Acts of the queue or of nobody; `completed` is never the first record of its group.
        let others = ["submit", "await-answer", "retry", "rest", "halt", "completed"];
        let named = |source: &str, function: &str, who: &str, end: &str| {
            let (_, body) = source.split_once(&format!("fn {function}(")).unwrap_or_default();
            let (body, _) = body.split_once("\n}\n").unwrap_or_default();
            let words: Vec<_> = body.lines().filter(|line| line.contains("=> ")).collect();
            let words = words.iter().filter_map(|line| line.split('"').nth(1));
            let words: Vec<_> = words.filter(|word| !others.contains(word)).collect();
            assert!(words.len() > 5, "{function}");
            for word in words {
                let point = format!("{who}.{word}.{end}");
                assert!(crash::NAMES.contains(&point.as_str()), "{point} is not in service::crash::NAMES");
            }
        };
        named(station, "of_record", "station", "decided");
        named(station, "of_record", "station", "appended");
        named(station, "of_act", "station", "intended");
        named(station, "of_act", "station", "done");
        for end in ["decided", "appended", "synced"] {
            named(ca, "word", "ca", end);
        }
    }
}
