//! Certificates in NV indexes of the owner.

use issuance::{CertificateLocation, Fault, FaultKind};
use tss_esapi::{
    Context,
    attributes::{NvIndexAttributes, NvIndexAttributesBuilder},
    constants::{NvIndexType, PropertyTag},
    handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        resource_handles::{NvAuth, Provision},
    },
    structures::{MaxNvBuffer, NvPublic, NvPublicBuilder},
};

use super::{
    fault, identity,
    link::{Held, is_there},
    session::authorised,
};

/// NV indexes that an owner may define (TCG registry of reserved handles).
const INDEXES: std::ops::RangeInclusive<u32> = 0x0180_0000..=0x01BF_FFFF;
/// What every TPM can take at once, when it does not say (TPM 2.0 part 2, MAX_NV_BUFFER_SIZE of the PC client profile).
const SMALLEST_BUFFER: u32 = 512;
/// What an NV octet reads as before it is written.
const UNWRITTEN: u8 = 0xFF;

/// The NV index of a location, when it is one that a certificate of ours may have.
pub(super) fn index(location: &CertificateLocation) -> Result<u32, Fault> {
    match location {
        CertificateLocation::NvIndex(index) if INDEXES.contains(index) => Ok(*index),
        CertificateLocation::NvIndex(index) => Err(Fault::new(
            FaultKind::Misconfigured,
            format!("the NV index {index:#010x} is not an owner's: use one of 0x01800000 to 0x01bfffff"),
        )),
        CertificateLocation::Pkcs11 { .. } => Err(Fault::new(
            FaultKind::Misconfigured,
            "the certificate's location is a PKCS#11 one and this device is a TPM: give the profile an NV index",
        )),
    }
}

/// What stands in an index; `None` when it is not defined, or defined and never written.
pub(super) fn read(context: &mut Context, index: u32) -> Result<Option<Vec<u8>>, Fault> {
    if !is_there(context, index)? {
        return Ok(None);
    }
    let mut open = Open::existing(context, index)?;
    match open.public.attributes().written() {
        true => open.read().map(Some),
        false => Ok(None),
    }
}

/// Whether an index can still be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// It can, and can be locked.
    Open,
    /// It cannot; or others defined it so that it is not locked, and it is theirs to say.
    Closed,
}

/// Writes a certificate into an index of its own length.
pub(super) fn write(context: &mut Context, index: u32, certificate: &[u8]) -> Result<(), Fault> {
    if is_there(context, index)? && !Open::existing(context, index)?.takes_as_it_is(certificate)? {
        Open::existing(context, index)?.undefine()?;
    }
    if !is_there(context, index)? {
        define(context, index, certificate.len())?;
    }
    Open::existing(context, index)?.fill(certificate)
}

/// Whether an index that is defined can still be written.
pub(super) fn lock(context: &mut Context, index: u32) -> Result<Lock, Fault> {
    Ok(Open::existing(context, index)?.lock())
}

/// Removes an index of ours that holds this certificate, or as much of it as an interrupted write left.
pub(super) fn remove(context: &mut Context, index: u32, certificate: &[u8]) -> Result<(), Fault> {
    if !is_there(context, index)? {
        return Ok(());
    }
    let mut open = Open::existing(context, index)?;
    if open.public.data_size() != certificate.len() || !open.public.attributes().written() || !open.is_ours()? {
        return Ok(());
    }
    let found = open.read()?;
    let chunk = open.chunk;
    let is_it = found
        .chunks(chunk)
        .zip(certificate.chunks(chunk))
        .all(|(found, expected)| found == expected || found.iter().all(|octet| *octet == UNWRITTEN));
    // Nothing but unwritten octets is not known to be this one.
    if is_it && found.iter().any(|octet| *octet != UNWRITTEN) {
        open.undefine()?;
    }
    Ok(())
}

/// Read by owner and by anyone who knows the index (its authorisation is empty), written by the owner until somebody locks it
/// for as long as it is defined (TPMA_NV_WRITEDEFINE), outside dictionary-attack protection. The owner can still remove it.
fn attributes(written: bool, locked: bool) -> Result<NvIndexAttributes, tss_esapi::Error> {
    NvIndexAttributesBuilder::new()
        .with_written(written)
        .with_write_define(true)
        .with_write_locked(locked)
        .with_nv_index_type(NvIndexType::Ordinary)
        .with_owner_write(true)
        .with_owner_read(true)
        .with_auth_read(true)
        .with_no_da(true)
        .build()
}

fn define(context: &mut Context, index: u32, length: usize) -> Result<(), Fault> {
    let act = || format!("could not define the NV index {index:#010x} with {length} bytes");
    // TPMs say NV_SIZE, SIZE or VALUE to a length beyond this; only here is it clear what is meant.
    let most = identity::property(context, PropertyTag::NvIndexMax)?.unwrap_or(u32::MAX);
    if u32::try_from(length).is_ok_and(|length| length > most) || length > usize::from(u16::MAX) {
        return Err(Fault::new(
            FaultKind::StorageFull,
            format!("{}: this TPM's indexes have at most {most}; make the certificate smaller", act()),
        ));
    }
    let public = NvIndexTpmHandle::new(index).and_then(|index| {
        NvPublicBuilder::new()
            .with_nv_index(index)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes(false, false)?)
            .with_data_area_size(length)
            .build()
    });
    public
        .and_then(|public| {
            let defined = authorised(context, |context| context.nv_define_space(Provision::Owner, None, public))?;
            context.tr_close(&mut defined.into())
        })
        .map_err(|error| fault::during(act())(error))
}

/// A defined index.
struct Open<'c> {
    held: Held<'c>,
    index: u32,
    public: NvPublic,
    /// How many octets one command carries, TPM_PT_NV_BUFFER_MAX.
    chunk: usize,
}

impl<'c> Open<'c> {
    fn existing(context: &'c mut Context, index: u32) -> Result<Self, Fault> {
        let act = || format!("could not open the NV index {index:#010x}");
        let buffer = identity::property(context, PropertyTag::NvBufferMax)?.unwrap_or(SMALLEST_BUFFER);
        let chunk = usize::try_from(buffer).unwrap_or(MaxNvBuffer::MAX_SIZE).clamp(1, MaxNvBuffer::MAX_SIZE);
        let handle = NvIndexTpmHandle::new(index).map_err(|error| fault::during(act())(error))?;
        let mut held =
            Held::standing(context, TpmHandle::NvIndex(handle)).map_err(|error| fault::during(act())(error))?;
        let nv = NvIndexHandle::from(held.handle());
        let (public, _) = held.context().nv_read_public(nv).map_err(|error| fault::during(act())(error))?;
        Ok(Self { held, index, public, chunk })
    }

    fn lock(&self) -> Lock {
        let attributes = self.public.attributes();
        if attributes.write_define() && !attributes.write_locked() { Lock::Open } else { Lock::Closed }
    }

    /// Whether it was defined as we define ours.
    fn is_ours(&self) -> Result<bool, Fault> {
        let found = self.public.attributes();
        let ours = attributes(found.written(), found.write_locked());
        Ok(found == ours.map_err(fault::during("could not describe an NV index"))?)
    }

    fn read(&mut self) -> Result<Vec<u8>, Fault> {
        let mut content = Vec::with_capacity(self.public.data_size());
        while content.len() < self.public.data_size() {
            let count = self.chunk.min(self.public.data_size() - content.len());
            content.extend(self.read_at(content.len(), count)?);
        }
        Ok(content)
    }

    fn read_at(&mut self, offset: usize, count: usize) -> Result<Vec<u8>, Fault> {
        let act = || format!("could not read the NV index {:#010x}", self.index);
        let handle = NvIndexHandle::from(self.held.handle());
        let authorisation = match (self.public.attributes().owner_read(), self.public.attributes().auth_read()) {
            (true, _) => NvAuth::Owner,
            (false, true) => NvAuth::NvIndex(handle),
            (false, false) => {
                return Err(Fault::new(FaultKind::LocationOccupied, format!("{}: its owner may not read it", act())));
            }
        };
        // Both fit: an index has at most 65,535 octets.
        let (count, offset) = (count as u16, offset as u16);
        authorised(self.held.context(), |context| context.nv_read(authorisation, handle, count, offset))
            .map(|read| read.value().to_vec())
            .map_err(fault::during(act()))
    }

    /// Whether this index takes this certificate as it is: it is of its length, and each chunk holds the certificate's
    /// octets or was never written. `false`: it is our own, of another length, and nothing was ever written to it.
    fn takes_as_it_is(&mut self, certificate: &[u8]) -> Result<bool, Fault> {
        let index = self.index;
        let occupied = |why: &str| {
            let act = format!("the NV index {index:#010x} is not free for our certificate");
            Fault::caused(FaultKind::LocationOccupied, act, why)
        };
        let (size, written) = (self.public.data_size(), self.public.attributes().written());
        let same_attributes = self.is_ours()?;
        if !written && same_attributes {
            return Ok(size == certificate.len());
        }
        if size != certificate.len() {
            return Err(occupied("it has another length"));
        }
        if !written {
            return Err(occupied("it was defined by others"));
        }
        let mut complete = true;
        let chunk = self.chunk;
        for (number, expected) in certificate.chunks(chunk).enumerate() {
            let found = self.read_at(number * chunk, expected.len())?;
            if found != expected {
                complete = false;
                if found.iter().any(|octet| *octet != UNWRITTEN) {
                    return Err(occupied("it holds something else"));
                }
            }
        }
        match complete || same_attributes {
            true => Ok(true),
            false => Err(occupied("it was defined by others")),
        }
    }

    /// Writes what is not there yet.
    fn fill(mut self, certificate: &[u8]) -> Result<(), Fault> {
        let chunk = self.chunk;
        let handle = NvIndexHandle::from(self.held.handle());
        let written = self.public.attributes().written();
        for (number, octets) in certificate.chunks(chunk).enumerate() {
            let offset = number * chunk;
            if written && self.read_at(offset, octets.len())? == octets {
                continue;
            }
            let act = format!("could not write the NV index {:#010x}", self.index);
            MaxNvBuffer::try_from(octets)
                .and_then(|octets| {
                    authorised(self.held.context(), |context| {
                        context.nv_write(NvAuth::Owner, handle, octets, offset as u16)
                    })
                })
                .map_err(fault::during(act))?;
        }
        Ok(())
    }

    fn undefine(mut self) -> Result<(), Fault> {
        let handle = NvIndexHandle::from(self.held.handle());
        let act = format!("could not remove the NV index {:#010x}", self.index);
        authorised(self.held.context(), |context| context.nv_undefine_space(Provision::Owner, handle))
            .map_err(fault::during(act))?;
        self.held.forget();
        Ok(())
    }
}
