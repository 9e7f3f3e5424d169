//! Another client of a swtpm: raw commands over its socket, so that what a keystore left there is seen from outside, and
//! what other owners leave can be put there.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use hsm_sim::Swtpm;

pub(crate) const OWNER: u32 = 0x4000_0001;
const LOCKOUT: u32 = 0x4000_000A;
const PASSWORD: u32 = 0x4000_0009;

const SESSIONS: u16 = 0x8002;
const NO_SESSIONS: u16 = 0x8001;

/// swtpm's data socket.
pub(crate) struct Wire(PathBuf);

impl Wire {
    pub(crate) fn of(tpm: &Swtpm) -> Self {
        Self(tpm.tcti().strip_prefix("swtpm:path=").unwrap().into())
    }

    /// The handles of every transient object and session that is loaded.
    pub(crate) fn loaded(&self) -> Vec<u32> {
        [0x8000_0000, 0x0200_0000].into_iter().flat_map(|first| self.handles(first)).collect()
    }

    /// The handles in use from `first` on, of its kind (TPM2_GetCapability).
    pub(crate) fn handles(&self, first: u32) -> Vec<u32> {
        let parameters = [1, first, 254].map(u32::to_be_bytes).concat();
        let answer = self.must(NO_SESSIONS, 0x17A, &parameters);
        // moreData, capability, count, then the handles.
        answer[9..].chunks_exact(4).map(|handle| u32::from_be_bytes(handle.try_into().unwrap())).collect()
    }

    /// The persistent handles that an owner's keys may have: EKs stand at 0x8101xxxx.
    pub(crate) fn keys(&self) -> Vec<u32> {
        self.handles(0x8100_0002).into_iter().filter(|handle| *handle < 0x8101_0000).collect()
    }

    /// Leaves an ECC storage key loaded, and says where (TPM2_CreatePrimary).
    pub(crate) fn leave_an_object(&self) -> Result<u32, u32> {
        let public = [
            &[0x00, 0x23, 0x00, 0x0B][..],
            // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt
            &0x0003_0472_u32.to_be_bytes(),
            &[0, 0],
            // AES-128-CFB, no scheme, P-256, no KDF, an empty point
            &[0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10, 0, 0, 0, 0],
        ]
        .concat();
        let parameters =
            [&[0, 4, 0, 0, 0, 0][..], &(public.len() as u16).to_be_bytes(), &public, &[0, 0], &[0, 0, 0, 0]].concat();
        let answer = self.authorised(0x131, &[OWNER], 1, &parameters)?;
        Ok(u32::from_be_bytes(answer[..4].try_into().unwrap()))
    }

    /// Leaves an HMAC session loaded (TPM2_StartAuthSession).
    pub(crate) fn leave_a_session(&self, kind: u8) {
        const NONE: u32 = 0x4000_0007;
        let handles = [NONE, NONE].map(u32::to_be_bytes).concat();
        let parameters = [&handles[..], &[0, 16], &[7; 16], &[0, 0], &[kind], &[0, 0x10], &[0, 0x0B]].concat();
        self.must(NO_SESSIONS, 0x176, &parameters);
    }

    /// Persists a loaded object (TPM2_EvictControl).
    pub(crate) fn persist(&self, object: u32, handle: u32) {
        self.authorised(0x120, &[OWNER, object], 1, &handle.to_be_bytes()).unwrap();
    }

    /// Flushes a loaded object (TPM2_FlushContext).
    pub(crate) fn flush(&self, handle: u32) {
        self.must(NO_SESSIONS, 0x165, &handle.to_be_bytes());
    }

    /// Defines an NV index (TPM2_NV_DefineSpace).
    pub(crate) fn define(&self, index: u32, attributes: u32, size: u16) -> Result<(), u32> {
        let public =
            [&index.to_be_bytes()[..], &[0, 0x0B], &attributes.to_be_bytes(), &[0, 0], &size.to_be_bytes()].concat();
        let parameters = [&[0, 0][..], &(public.len() as u16).to_be_bytes(), &public].concat();
        self.authorised(0x12A, &[OWNER], 1, &parameters).map(drop)
    }

    /// The attributes of an NV index (TPM2_NV_ReadPublic; TPM 2.0 part 2, 13.4).
    pub(crate) fn attributes(&self, index: u32) -> u32 {
        let answer = self.must(NO_SESSIONS, 0x169, &index.to_be_bytes());
        // Size, index, name algorithm, then the attributes.
        u32::from_be_bytes(answer[8..12].try_into().unwrap())
    }

    /// Removes a persistent object (TPM2_EvictControl).
    pub(crate) fn evict(&self, handle: u32) {
        self.persist(handle, handle);
    }

    /// Removes an NV index of the owner (TPM2_NV_UndefineSpace).
    pub(crate) fn undefine(&self, index: u32) {
        self.authorised(0x122, &[OWNER, index], 1, &[]).unwrap();
    }

    /// Makes it a TPM that keeps no EK certificate, as its platform may (TPM2_NV_UndefineSpace).
    pub(crate) fn remove_ek_certificates(&self) {
        for index in self.handles(0x01C0_0000).into_iter().filter(|index| *index < 0x01C0_0100) {
            self.undefine_as_platform(index);
        }
    }

    /// Removes an NV index of the platform (TPM2_NV_UndefineSpace).
    pub(crate) fn undefine_as_platform(&self, index: u32) {
        const PLATFORM: u32 = 0x4000_000C;
        self.authorised(0x122, &[PLATFORM, index], 1, &[]).unwrap();
    }

    /// Writes into an NV index as its owner (TPM2_NV_Write).
    pub(crate) fn write(&self, index: u32, offset: u16, octets: &[u8]) {
        self.try_write(index, offset, octets).unwrap();
    }

    /// The same, which the TPM may refuse.
    pub(crate) fn try_write(&self, index: u32, offset: u16, octets: &[u8]) -> Result<(), u32> {
        let parameters = [&(octets.len() as u16).to_be_bytes()[..], octets, &offset.to_be_bytes()].concat();
        self.authorised(0x137, &[OWNER, index], 1, &parameters).map(drop)
    }

    /// Locks the TPM as so many wrong authorisations would: none at all are allowed (TPM2_DictionaryAttackParameters).
    pub(crate) fn lock_out(&self) {
        let parameters = [0, 10, 10].map(u32::to_be_bytes).concat();
        self.authorised(0x13A, &[LOCKOUT], 1, &parameters).unwrap();
    }

    /// A property as it is now (TPM2_GetCapability).
    pub(crate) fn property(&self, tag: u32) -> u32 {
        let answer = self.must(NO_SESSIONS, 0x17A, &[6, tag, 1].map(u32::to_be_bytes).concat());
        u32::from_be_bytes(answer[13..17].try_into().unwrap())
    }

    /// Cuts the TPM's power and gives it back, without TPM2_Startup (swtpm's control channel, CMD_INIT).
    pub(crate) fn reset(&self) {
        let mut control = self.0.clone().into_os_string();
        control.push(".ctrl");
        let mut stream = UnixStream::connect(control).unwrap();
        stream.write_all(&[0, 0, 0, 2, 0, 0, 0, 0]).unwrap();
        let mut result = [0; 4];
        stream.read_exact(&mut result).unwrap();
        assert_eq!(result, [0; 4], "CMD_INIT");
    }

    fn must(&self, tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
        self.command(tag, code, body).unwrap_or_else(|response| panic!("command {code:#x} said {response:#x}"))
    }

    /// A command whose first `authorised` handles have empty authorisations.
    fn authorised(&self, code: u32, handles: &[u32], authorised: usize, parameters: &[u8]) -> Result<Vec<u8>, u32> {
        let area = [&PASSWORD.to_be_bytes()[..], &[0, 0, 0, 0, 0]].concat().repeat(authorised);
        let handles: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        let body = [&handles[..], &(area.len() as u32).to_be_bytes(), &area, parameters].concat();
        self.command(SESSIONS, code, &body)
    }

    /// The response without its header, or its code.
    fn command(&self, tag: u16, code: u32, body: &[u8]) -> Result<Vec<u8>, u32> {
        let mut stream = UnixStream::connect(&self.0).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let size = (10 + body.len()) as u32;
        stream.write_all(&[&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat()).unwrap();
        let mut header = [0; 10];
        stream.read_exact(&mut header).unwrap();
        let [size, response] = [2, 6].map(|at| u32::from_be_bytes(header[at..at + 4].try_into().unwrap()));
        let mut rest = vec![0; size as usize - header.len()];
        stream.read_exact(&mut rest).unwrap();
        if response == 0 { Ok(rest) } else { Err(response) }
    }
}
