//! `[checkpoints.hardware_key]`: the key of the station's own TPM or token that signs its journal's checkpoints beside the one
//! in the file. Made there at the first start.

use intermediate_ca::HardwareKeySettings;
use service::configuration::Table;

/// `None`: there is none; `Some(None)`: it was given wrong, which was reported.
pub(super) fn hardware_key(root: &Table<'_>) -> Option<Option<HardwareKeySettings>> {
    let table = root.optional_table("checkpoints")?.optional_table("hardware_key")?;
    Some(HardwareKeySettings::from_table(&table))
}
