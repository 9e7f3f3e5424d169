//! Drawings. Their words always stand beside them, so a screen reader skips them.

use maud::{Markup, PreEscaped};

use crate::tile::Kind;

/// The kind of a tile.
pub(super) fn icon(kind: Kind) -> Markup {
    drawn(match kind {
        Kind::Ready => include_str!("../../assets/icons/ready.svg"),
        Kind::NotReady => include_str!("../../assets/icons/not-ready.svg"),
        Kind::Working => include_str!("../../assets/icons/working.svg"),
        Kind::ShipIt => include_str!("../../assets/icons/ship-it.svg"),
        Kind::WaitsForAuthority => include_str!("../../assets/icons/waits.svg"),
        Kind::ScanAgain => include_str!("../../assets/icons/scan-again.svg"),
        Kind::Stopped => include_str!("../../assets/icons/stopped.svg"),
        Kind::SetAside => include_str!("../../assets/icons/set-aside.svg"),
        Kind::Unknown => include_str!("../../assets/icons/unknown.svg"),
    })
}

/// The sound's switch; the style shows its waves or its cross.
pub(super) fn sound() -> Markup {
    drawn(include_str!("../../assets/icons/sound.svg"))
}

/// A person's badge.
pub(super) fn badge() -> Markup {
    drawn(include_str!("../../assets/icons/badge.svg"))
}

fn drawn(svg: &str) -> Markup {
    PreEscaped(svg.to_owned())
}
