//! Processes killed where they stand, without taking SoftHSM's tokens with them.

use std::{fs, path::PathBuf};

use line::{Device, Line};

use crate::looking::{family, files_under, still_running};

/// SoftHSM empties a token's own file at each login and writes it anew: a process killed in between takes the whole token
/// with it, which no real token allows. What the file held is kept here, and put back when the killed are dead.
pub(crate) struct TokenFiles(Vec<(PathBuf, Vec<u8>)>);

impl TokenFiles {
    pub(crate) fn of(line: &Line) -> Self {
        let devices = line.hardware().devices().filter_map(|(_, device)| match device {
            Device::Token(token) => Some(token),
            Device::Tpm(_) => None,
        });
        let directories = devices.chain([line.hardware().ca()]).map(|token| token.directory().to_owned());
        let files = directories.flat_map(|directory| files_under(&directory));
        let own = files.filter(|file| file.ends_with("token.object"));
        let kept: Vec<_> = own.map(|file| (file.clone(), fs::read(&file).unwrap())).collect();
        assert!(!kept.is_empty() && kept.iter().all(|(_, content)| !content.is_empty()));
        Self(kept)
    }

    pub(crate) fn kill_station(&self, line: &mut Line) {
        let members = family(line.station().process_id().expect("a running station"));
        line.kill_station().unwrap();
        assert_eq!(still_running(&members), [""; 0], "a killed station's workers");
        self.put_back();
    }

    pub(crate) fn kill_ca(&self, line: &mut Line) {
        let members = family(line.ca().process_id().expect("a running CA"));
        line.kill_ca().unwrap();
        assert_eq!(still_running(&members), [""; 0], "a killed CA's workers");
        self.put_back();
    }

    fn put_back(&self) {
        for (file, content) in &self.0 {
            // Whole ones may be in use.
            if fs::metadata(file).is_ok_and(|found| found.len() < content.len() as u64) {
                fs::write(file, content).unwrap();
            }
        }
    }
}
