//! One line with many profiles, so that each of its devices takes many issuances, and the account of them.

use std::{collections::BTreeSet, path::Path};

use line::{Device, Line, Options};
use proto::station::v1::{Issuance, ListIssuancesRequest, OpenLotRequest, StartIssuanceRequest, issuance::State};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Outcome, PATIENCE,
    administration::Answered,
    calls::{Client, Clients, answered, get, is_settled, told},
    devices::{self, Tools},
    register, witness,
    witness::Witness,
};
use crate::{Broken, said};

/// Devices of each kind.
pub(super) const OF_EACH: usize = 2;
/// All devices.
pub(super) const DEVICES: usize = 2 * OF_EACH;
/// Between two looks at a device that comes to rest.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);
/// A submission that could not be sent is tried again soon.
const QUEUE: &str = "[queue]\nretry_first = \"50ms\"\nretry_most = \"500ms\"\n";

/// Whether a profile is one that the CA knows as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    ToBoth,
    ToTheStationOnly,
}

/// How many profiles of each sort a line has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Profiles {
    pub(super) known: usize,
    /// The CA refuses them.
    pub(super) strange: usize,
    /// A TPM must prove where the key lives, and release the certificate.
    pub(super) attested: usize,
}

/// What the station is told of the CA's promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// The same request gets the same certificate.
    Same,
    /// None, although it keeps that one: what is in doubt is sent again by itself, and gets the same certificate.
    Nothing,
}

/// A line at work.
pub(super) struct Bench {
    pub(super) line: Line,
    clients: watch::Sender<Client>,
    supervisors: watch::Sender<Client>,
    /// What the CA answered.
    pub(super) answered: Answered,
    /// Every issuance that was acknowledged, as it ended, by device.
    made: Vec<Vec<Issuance>>,
    /// Those whose key and certificate made place, when their hardware became another device.
    replaced: BTreeSet<String>,
}

/// The profile with this number, from 0.
pub(super) fn profile(number: usize) -> String {
    format!("profile-{number}")
}

/// The profile with this number that the CA refuses.
pub(super) fn stranger(number: usize) -> String {
    format!("stranger-{number}")
}

/// The profile with this number that asks for a TPM's proof.
pub(super) fn attested(number: usize) -> String {
    format!("attested-{number}")
}

const PROOF: &str = "residency = \"tpm\"\nek = { roots = \"pki/tpm-makers\" }\nactivation = \"ca\"\n";

impl Profiles {
    fn names(self) -> impl Iterator<Item = String> {
        let all = (0..self.known).map(profile).chain((0..self.strange).map(stranger));
        all.chain((0..self.attested).map(attested))
    }

    fn of_the_station(self) -> String {
        let one = |(number, name): (usize, String)| {
            let besides = match name.starts_with("attested-") {
                true => PROOF.to_owned(),
                false => format!("pkcs11 = {{ label = \"{name}\" }}\n"),
            };
            format!(
                "\n[[profile]]\nname = \"{name}\"\npurpose = \"device-ca\"\npath_length = 0\n\
                 common_name = \"{{serial}}.{name}\"\nkey = \"P-256\"\nissuers = \"pki/product/device-ca.pem\"\n\
                 roots = \"pki/product/root.pem\"\ntpm = {{ handle = {:#010x}, nv_index = {:#010x} }}\n{besides}",
                0x8100_0030 + number,
                0x0180_0030 + number,
            )
        };
        self.names().enumerate().map(one).collect()
    }

    fn of_the_ca(self) -> String {
        let one = |name: String| {
            let besides = if name.starts_with("attested-") { PROOF } else { "" };
            format!(
                "\n[[profile]]\nname = \"{name}\"\npurpose = \"device-ca\"\npath_length = 0\nissuer = \"device-ca\"\n\
                 validity = \"365d\"\nkeys = [\"P-256\"]\n{besides}"
            )
        };
        self.names().filter(|name| !name.starts_with("stranger-")).map(one).collect()
    }
}

impl Bench {
    /// Starts a line with a lot open for each profile; the name of a lot is that of its profile.
    pub(super) async fn start(binaries: &Path, profiles: Profiles, promise: Promise) -> Result<Self, Broken> {
        let repeats = match promise {
            Promise::Same => "repeats = \"same\"\n",
            Promise::Nothing => "repeats = \"new\"\nin_doubt = \"resubmit\"\n",
        };
        let options = Options {
            binaries: Some(binaries.to_owned()),
            tpms: OF_EACH,
            tokens: OF_EACH,
            page: false,
            ca_extra: profiles.of_the_ca(),
            repeats: repeats.into(),
            station_extra: profiles.of_the_station() + QUEUE,
            ..Options::default()
        };
        let line = Line::start(options).await.map_err(|error| service::in_full(&error))?;
        let client = line.mes().map_err(|error| service::in_full(&error))?;
        let supervisor = line.client("supervisor-1").map_err(|error| service::in_full(&error))?;
        let (clients, supervisors) = (watch::Sender::new(client), watch::Sender::new(supervisor));
        let answered = Answered::default();
        let bench =
            Self { line, clients, supervisors, answered, made: vec![Vec::new(); DEVICES], replaced: BTreeSet::new() };
        for name in profiles.names() {
            open_lot(&bench.clients(), &name, &name).await?;
        }
        Ok(bench)
    }

    /// Who calls the station.
    pub(super) fn clients(&self) -> Clients {
        self.clients.subscribe()
    }

    /// The same as a supervisor.
    pub(super) fn supervisors(&self) -> Clients {
        self.supervisors.subscribe()
    }

    /// Starts the station, unless it runs, and has everybody call it where it is now.
    pub(super) async fn start_station(&mut self) -> Result<(), Broken> {
        self.line.start_station().await.map_err(|error| service::in_full(&error))?;
        self.clients.send_replace(self.line.mes().map_err(|error| service::in_full(&error))?);
        let supervisor = self.line.client("supervisor-1").map_err(|error| service::in_full(&error))?;
        self.supervisors.send_replace(supervisor);
        Ok(())
    }

    /// Starts the CA, unless it runs.
    pub(super) async fn start_ca(&mut self) -> Result<(), Broken> {
        self.line.start_ca().await.map_err(|error| service::in_full(&error))
    }

    /// Puts an issuance that ended to the account of its device.
    pub(super) fn account(&mut self, device: usize, issuance: Issuance) {
        self.made[device - 1].push(issuance);
    }

    /// Its key and its certificate stand on no device any more.
    pub(super) fn made_place(&mut self, issuance: &Issuance) {
        self.replaced.insert(issuance.name.clone());
    }

    /// Waits until nothing is under way on a device, and puts to its account what is not there yet.
    pub(super) async fn take_stock(&mut self, device: usize) -> Result<(), Broken> {
        let (clients, fixture) = (self.clients(), format!("fixture-{device}"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut of_it = list(&clients).await?;
            of_it.retain(|issuance| issuance.fixture == fixture);
            let at_rest = |one: &Issuance| is_settled(one) || one.state() == State::Cancelled;
            if of_it.iter().all(at_rest) || Instant::now() > deadline {
                let made = &mut self.made[device - 1];
                of_it.retain(|issuance| !made.iter().any(|known| known.name == issuance.name));
                // They are listed newest first.
                made.extend(of_it.into_iter().rev());
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// Holds a device against the account, its newest certificates looked at.
    pub(super) fn look_at(&self, device: usize, newest: usize, outcome: &mut Outcome) -> Result<(), Broken> {
        let Some((name, standing)) = self.line.hardware().devices().nth(device - 1) else {
            return Err(format!("there is no device {device}"));
        };
        let stands = |issuance: &&Issuance| !self.replaced.contains(&issuance.name);
        let made: Vec<Issuance> = self.made[device - 1].iter().filter(stands).cloned().collect();
        let tools = Tools::of(standing);
        let findings = tokio::task::block_in_place(|| tools.holds(&made, &made[made.len().saturating_sub(newest)..]))?;
        take(outcome, findings, name);
        Ok(())
    }

    /// Takes a device out of its fixture.
    pub(super) fn take_out(&mut self, device: usize) -> Result<(), Broken> {
        match self.device(device)? {
            Device::Tpm(tpm) => tpm.stop(line::Stop::Orderly).map_err(said("a TPM's power")),
            Device::Token(token) => {
                let (tokens, aside) = devices::aside(token.directory());
                std::fs::rename(&tokens, aside)
                    .and_then(|()| std::fs::create_dir(&tokens))
                    .map_err(said("a token's files"))
            }
        }
    }

    /// Puts it back.
    pub(super) fn put_back(&mut self, device: usize) -> Result<(), Broken> {
        match self.device(device)? {
            Device::Tpm(tpm) => tpm.restart().map_err(said("a TPM's power")),
            Device::Token(token) => {
                let (tokens, aside) = devices::aside(token.directory());
                std::fs::remove_dir_all(&tokens)
                    .and_then(|()| std::fs::rename(aside, &tokens))
                    .map_err(said("a token's files"))
            }
        }
    }

    fn device(&mut self, device: usize) -> Result<&mut Device, Broken> {
        self.line.hardware_mut().device(device).ok_or_else(|| format!("there is no device {device}"))
    }

    /// Somebody who watches from now on.
    pub(super) fn witness(&self) -> Witness {
        Witness::of(self.clients())
    }

    /// Stops the line, and holds journals, devices and what the witness saw against the account.
    pub(super) async fn close(mut self, witness: Witness, outcome: &mut Outcome) -> Result<(), Broken> {
        let clients = self.clients();
        let told_before = witness.end().await?;
        let replay = witness::replay(&clients).await?;
        let lost = witness::lost(&told_before, &replay);
        outcome.lost += lost.len() as u64;
        outcome.broken.extend(lost);
        for device in 1..=DEVICES {
            for before in &self.made[device - 1] {
                match get(&clients, &before.name).await {
                    Ok(now) if stands(before, &now) => {}
                    Ok(now) => outcome.broken.push(format!("{} is now {}", told(before), told(&now))),
                    Err(broken) => {
                        outcome.lost += 1;
                        outcome.broken.push(broken);
                    }
                }
            }
        }
        // From here on everything that the station knows counts, also what broke half way.
        let all = list(&clients).await?;
        for issuance in &all {
            let device = issuance.fixture.trim_start_matches("fixture-").parse::<usize>().map_err(said("a fixture"))?;
            let made = &mut self.made[device - 1];
            if !made.iter().any(|known| known.name == issuance.name) {
                made.push(issuance.clone());
            }
        }
        for device in 1..=DEVICES {
            self.look_at(device, usize::MAX, outcome)?;
        }
        if let Err(broken) = self.answered.hold(&self.line).await {
            outcome.lost += 1;
            outcome.broken.push(broken);
        }
        self.line.stop().map_err(|error| service::in_full(&error))?;
        if let Err(broken) = self.answered.hold_published(self.line.directory()) {
            outcome.lost += 1;
            outcome.broken.push(broken);
        }
        let findings = register::holds(&self.line.directory().join("journal/ca"), &all)?;
        take(outcome, findings, "the CA's journal");
        outcome.issuances += all.len() as u64;
        outcome.completed += all.iter().filter(|issuance| ended_as_due(issuance)).count() as u64;
        Ok(())
    }
}

/// Whether all that was told of an issuance still is so. The CA's word that it knows of a rework may come after the end.
fn stands(before: &Issuance, now: &Issuance) -> bool {
    let Issuance { sequence, update_time, .. } = before.clone();
    now.sequence >= sequence && *before == Issuance { sequence, update_time, ..now.clone() }
}

/// What the CA cannot know and what was scanned with another device's barcode is set aside, all else is completed.
fn ended_as_due(issuance: &Issuance) -> bool {
    let scrapped = issuance.failure.as_ref().is_some_and(|failure| failure.reason == "SCRAPPED");
    let aside = issuance.lot.starts_with("stranger-") || issuance.device_serial.starts_with("OTHER-");
    match issuance.state() {
        State::Completed => !aside,
        State::Cancelled if scrapped => true,
        State::Quarantined | State::Cancelled => aside && issuance.certificate.is_empty(),
        _ => false,
    }
}

fn take(outcome: &mut Outcome, findings: devices::Findings, whose: &str) {
    outcome.lost += findings.missing.len() as u64;
    outcome.duplicated += findings.double.len() as u64;
    let words = |finding: String| format!("{whose}: {finding}");
    outcome.broken.extend(findings.missing.into_iter().chain(findings.double).map(words));
}

/// Every issuance that the station knows: all fit on one page.
async fn list(clients: &Clients) -> Result<Vec<Issuance>, Broken> {
    let page = answered(clients, "the list of issuances", |mut client| async move {
        client.list_issuances(ListIssuancesRequest { page_size: 1000, ..Default::default() }).await
    });
    Ok(page.await?.issuances)
}

pub(super) async fn open_lot(clients: &Clients, lot: &str, profile: &str) -> Result<(), Broken> {
    let request = OpenLotRequest { lot: lot.into(), profile: profile.into(), quantity: 100 };
    answered(clients, &format!("the opening of the lot {lot}"), |mut client| {
        let request = request.clone();
        async move { client.open_lot(request).await }
    })
    .await
    .map(drop)
}

/// What a scanner at the device's fixture sends. Devices count from 1.
pub(super) fn request(device: usize, lot: &str) -> StartIssuanceRequest {
    StartIssuanceRequest {
        request_id: format!("{lot}-{device}"),
        lot: lot.into(),
        device_serial: format!("SN-{device}"),
        fixture: format!("fixture-{device}"),
        ..Default::default()
    }
}
