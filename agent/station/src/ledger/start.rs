//! Requests for issuances: the same as before, new, or refused.

use issuance::{
    CommonName, DeviceSerial, FixtureName, Issuance, IssuanceId, LotName, ProfileName, Record, State,
    record::{Provenance, Requested},
};
use journal::Appended;
use uuid::Uuid;

use super::{Ledger, LedgerRefused, Memory, unknown_lot};
use crate::{
    records::What,
    rows::{self, Place},
};

/// What decides whether a request is the same as one before.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The caller's id of its request; may be empty.
    pub request_id: String,
    /// The lot.
    pub lot: LotName,
    /// The device.
    pub device_serial: DeviceSerial,
    /// The profile; `None`: the lot's.
    pub profile: Option<ProfileName>,
}

/// A request for an issuance, with where and by whom it was made.
#[derive(Debug, Clone)]
pub struct Asked {
    /// For what.
    pub subject: Subject,
    /// Where the device sits.
    pub fixture: FixtureName,
    /// Who scanned it.
    pub claimed_by: String,
    /// Who asked.
    pub authenticated_by: String,
    /// What fixtures are working on at this moment.
    pub at_work: Vec<IssuanceId>,
    /// Whether the fixture is free for it.
    pub fixture_is_free: bool,
}

impl Asked {
    pub(super) fn fixture_free(&self) -> Result<(), LedgerRefused> {
        if self.fixture_is_free {
            return Ok(());
        }
        let message = format!("the fixture {} is at work: wait until it is done, or use another one", self.fixture);
        Err(LedgerRefused::precondition("FIXTURE_BUSY", message).about("fixture", &self.fixture))
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct Started {
    /// The issuance: new, resumed, or as it was.
    pub issuance: Issuance,
    /// Whether a fixture has something to do for it.
    pub begin: bool,
    /// To be awaited before anybody is told; `None` when nothing was recorded.
    pub appended: Option<Appended>,
}

/// What a request is, held against everything before it.
enum Judged {
    /// The same as one before; and whether its request_id is known to belong there.
    Before(Box<Issuance>, IdKnown),
    /// A new one.
    New(New),
}

/// Whether it is recorded whom a request_id belongs to, or there is none.
struct IdKnown(bool);

/// What a new issuance gets besides what was asked.
struct New {
    profile: ProfileName,
    common_name: CommonName,
    /// The cancelled issuance for the same device and profile, if there was one.
    instead_of: Option<Box<Issuance>>,
    profile_sha256: [u8; 32],
}

/// A scrapped device is told so before its name is.
pub(super) fn scrapped(lot: &LotName, device_serial: &DeviceSerial) -> LedgerRefused {
    let message = format!("the device {device_serial} was scrapped out of the lot {lot}: it gets no certificate there");
    LedgerRefused::precondition("DEVICE_SCRAPPED", message).about("device_serial", device_serial).about("lot", lot)
}

impl Ledger {
    /// Starts an issuance, resumes the stopped one, or returns the one that the same request started.
    pub fn start(&self, asked: &Asked, provenance: &Provenance) -> Result<Started, LedgerRefused> {
        let mut memory = self.lock();
        let new = match self.judge(&mut memory, &asked.subject)? {
            Judged::Before(before, id_known) => return self.go_on(&mut memory, *before, id_known, asked),
            Judged::New(new) => new,
        };
        self.room(&memory, asked)?;
        asked.fixture_free()?;
        let subject = asked.subject.clone();
        let id = IssuanceId::from_uuid(Uuid::now_v7());
        let request = Requested {
            request_id: subject.request_id,
            lot: subject.lot,
            device_serial: subject.device_serial,
            profile: new.profile,
            common_name: new.common_name,
            fixture: asked.fixture.clone(),
            claimed_by: asked.claimed_by.clone(),
            authenticated_by: asked.authenticated_by.clone(),
            supersedes: new.instead_of.as_ref().map(|before| before.id),
            reason: String::new(),
            new_hardware: false,
            lineage: new.instead_of.as_ref().map_or(id, |before| before.request.lineage),
            provenance: Provenance { profile_sha256: new.profile_sha256, ..provenance.clone() },
        };
        let appended = self.append(&mut memory, id, vec![Record::Requested(Box::new(request))])?;
        let issuance = self.issuance(&mut memory, id)?;
        Ok(Started { issuance, begin: true, appended: Some(appended) })
    }

    /// What [`start`](Self::start) would say before it looks at a fixture: the issuance that the same request started, or
    /// why a new one is refused.
    pub fn started_before(&self, subject: &Subject) -> Result<Option<Issuance>, LedgerRefused> {
        Ok(match self.judge(&mut self.lock(), subject)? {
            Judged::Before(before, _) => Some(*before),
            Judged::New(_) => None,
        })
    }

    /// Holds a request against lot, profile and names.
    fn judge(&self, memory: &mut Memory, subject: &Subject) -> Result<Judged, LedgerRefused> {
        let lot = self.lot(&subject.lot)?.ok_or_else(|| unknown_lot(&subject.lot))?;
        let profile = subject.profile.clone().unwrap_or_else(|| lot.profile.clone());
        if let Some((before, id_known)) = self.same_request(memory, subject, &profile)? {
            return Ok(Judged::Before(Box::new(before), id_known));
        }
        let named = self.profiles.get(&profile).ok_or_else(|| LedgerRefused::Invalid {
            field: "profile",
            message: format!("there is no profile {profile}: this station has {}", self.profiles.names()),
        })?;
        if profile != lot.profile {
            let message =
                format!("the lot {} is for the profile {}, and {profile} was asked for", subject.lot, lot.profile);
            return Err(LedgerRefused::precondition("WRONG_PROFILE", message)
                .about("lot", &subject.lot)
                .about("profile", &lot.profile)
                .about("asked", &profile));
        }
        if !lot.open {
            let message = format!("the lot {} is closed: open another lot", subject.lot);
            return Err(LedgerRefused::precondition("LOT_CLOSED", message).about("lot", &subject.lot));
        }
        let common_name =
            named.profile.common_name_for(&subject.device_serial, &named.issuer_names).map_err(|refused| {
                LedgerRefused::Invalid { field: "device_serial", message: service::in_full(&refused) }
            })?;
        if self.place(&subject.lot, &subject.device_serial)? == Some(Place::Scrapped) {
            return Err(scrapped(&subject.lot, &subject.device_serial));
        }
        let mut instead_of = None;
        if let Some(taken) = self.rows.get(rows::NAMES, &rows::key(&[profile.as_str(), &common_name.folded()]))? {
            let taken = self.load(memory, &taken)?;
            // A CN belongs to one device for ever, and comes back only there. Once a certificate was issued, starting anew
            // would be rework, which must revoke it.
            let never_issued = matches!(taken.state, State::Cancelled(..)) && !self.was_ever_issued(memory, &taken)?;
            if never_issued && taken.request.device_serial == subject.device_serial {
                instead_of = Some(Box::new(taken));
            } else {
                let message = format!(
                    "the CN {common_name} belongs to the device {} since its issuance {} in lot {}: a CN is given once; a \
                     supervisor may have that device reworked",
                    taken.request.device_serial, taken.id, taken.request.lot
                );
                return Err(LedgerRefused::exists("COMMON_NAME_TAKEN", message)
                    .about("common_name", &common_name)
                    .about("device_serial", &taken.request.device_serial)
                    .about("issuance", taken.id)
                    .about("lot", &taken.request.lot));
            }
        }
        let has_place = self.place(&subject.lot, &subject.device_serial)?.is_some();
        if lot.started >= lot.quantity && !has_place {
            let message =
                format!("the lot {} is used up: {} of {} devices were started", subject.lot, lot.started, lot.quantity);
            return Err(LedgerRefused::precondition("LOT_USED_UP", message)
                .about("lot", &subject.lot)
                .about("started", lot.started)
                .about("quantity", lot.quantity));
        }
        Ok(Judged::New(New { profile, common_name, instead_of, profile_sha256: named.sha256 }))
    }

    /// What became of a device's place in a lot; `None` when it never had one.
    pub(super) fn place(&self, lot: &LotName, device_serial: &DeviceSerial) -> Result<Option<Place>, LedgerRefused> {
        let key = rows::key(&[lot.as_str(), device_serial.as_str()]);
        Ok(self.rows.get(rows::PLACES, &key)?.map(|value| Place::of(&value)))
    }

    /// Whether the queue has room for one more, with those that are on their way to it.
    pub(super) fn room(&self, memory: &Memory, asked: &Asked) -> Result<(), LedgerRefused> {
        let coming = memory.queue.len() + asked.at_work.len();
        if coming < self.queue_bound {
            return Ok(());
        }
        Err(LedgerRefused::Full(format!(
            "{} submissions wait for the CA, and the bound is {}: wait until the CA answers again",
            memory.queue.len(),
            self.queue_bound
        )))
    }

    /// The issuance that the same request started, if any. Same key with other content is refused.
    fn same_request(
        &self,
        memory: &mut Memory,
        subject: &Subject,
        profile: &ProfileName,
    ) -> Result<Option<(Issuance, IdKnown)>, LedgerRefused> {
        if !subject.request_id.is_empty()
            && let Some(id) = self.rows.get(rows::REQUESTS, subject.request_id.as_bytes())?
        {
            let before = self.load(memory, &id)?;
            let request = &before.request;
            if (&request.lot, &request.device_serial, &request.profile)
                != (&subject.lot, &subject.device_serial, profile)
            {
                let message = format!(
                    "the request_id {} was used for device {} in lot {} with profile {}: use a new one",
                    subject.request_id, request.device_serial, request.lot, request.profile
                );
                return Err(LedgerRefused::exists("REQUEST_ID_REUSED", message));
            }
            return Ok(Some((before, IdKnown(true))));
        }
        let id_known = IdKnown(subject.request_id.is_empty());
        let key = rows::key(&[subject.lot.as_str(), subject.device_serial.as_str(), profile.as_str()]);
        match self.rows.get(rows::SUBJECTS, &key)? {
            Some(id) => Ok(Some((self.load(memory, &id)?, id_known))),
            None => Ok(None),
        }
    }

    /// The same request again: a stopped issuance goes on, one whose device was met again too, a finished one is returned.
    fn go_on(
        &self,
        memory: &mut Memory,
        before: Issuance,
        IdKnown(id_known): IdKnown,
        asked: &Asked,
    ) -> Result<Started, LedgerRefused> {
        let resumes = match &before.state {
            State::Completed(..) | State::Quarantined(..) | State::Cancelled(..) => false,
            State::Failed(..) => {
                if !before.state.was_issued() && before.state.awaits_answer().is_none() {
                    self.room(memory, asked)?;
                }
                asked.fixture_free()?;
                true
            }
            // Being worked on right now: nothing to add. Else the device was put back, perhaps elsewhere.
            _ => asked.fixture_is_free && !asked.at_work.contains(&before.id),
        };
        // Who repeats it after a supervisor cancelled the issuance is to get this answer again, and not a new issuance.
        let mut whats = Vec::new();
        if !id_known {
            whats.push(What::RequestRepeated {
                issuance: before.id,
                request_id: asked.subject.request_id.clone(),
                claimed_by: asked.claimed_by.clone(),
                authenticated_by: asked.authenticated_by.clone(),
            });
        }
        if !resumes {
            let appended = if whats.is_empty() { None } else { Some(self.append_entries(memory, whats, true)?) };
            return Ok(Started { issuance: before, begin: false, appended });
        }
        if self.profiles.get(&before.request.profile).is_none() {
            let message = format!("the profile {} is no longer configured: put it back", before.request.profile);
            return Err(LedgerRefused::Invalid { field: "profile", message });
        }
        let record = Record::Resumed {
            fixture: asked.fixture.clone(),
            claimed_by: asked.claimed_by.clone(),
            authenticated_by: asked.authenticated_by.clone(),
        };
        whats.push(What::Issuance(before.id, record));
        let appended = self.append_entries(memory, whats, true)?;
        let issuance = self.issuance(memory, before.id)?;
        Ok(Started { issuance, begin: true, appended: Some(appended) })
    }
}
