//! The page's words in the operator's language: catalogues in Fluent (<https://projectfluent.org>), `words/*.ftl`. Nothing
//! else in this crate holds text for people.
//!
//! What the station says comes as codes with parameters, and is worded here; its own English follows where a code is not
//! known.

use std::{collections::HashMap, sync::LazyLock};

use fluent_bundle::{FluentArgs, FluentError, FluentResource, FluentValue, concurrent::FluentBundle};
use proto::station::v1::issuance::State;
use tonic::Code;
use unic_langid::LanguageIdentifier;

use crate::tile::Kind;

/// A language that the page speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// English, and where another one has no words.
    #[default]
    English,
    /// German.
    German,
    /// Spanish.
    Spanish,
    /// Chinese, in simplified characters.
    Chinese,
    /// Vietnamese.
    Vietnamese,
}

static CATALOGUES: LazyLock<HashMap<Language, FluentBundle<FluentResource>>> =
    LazyLock::new(|| Language::ALL.into_iter().map(|language| (language, language.catalogue())).collect());

impl Language {
    /// Every one, in the order in which they are offered.
    pub const ALL: [Self; 5] = [Self::English, Self::German, Self::Spanish, Self::Chinese, Self::Vietnamese];

    /// As BCP 47 writes it, for `<html lang>`, cookie and configuration.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::Spanish => "es",
            Self::Chinese => "zh",
            Self::Vietnamese => "vi",
        }
    }

    /// The language of a tag; regions and scripts are left aside: `de-AT` is German.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// The first that a browser asks for and the page speaks (RFC 9110 §12.5.4). Browsers list them in order of weight.
    #[must_use]
    pub fn accepted(header: &str) -> Option<Self> {
        header.split(',').find_map(|range| Self::parse(range.split(';').next().unwrap_or_default()))
    }

    fn source(self) -> &'static str {
        match self {
            Self::English => include_str!("../words/en.ftl"),
            Self::German => include_str!("../words/de.ftl"),
            Self::Spanish => include_str!("../words/es.ftl"),
            Self::Chinese => include_str!("../words/zh.ftl"),
            Self::Vietnamese => include_str!("../words/vi.ftl"),
        }
    }

    fn catalogue(self) -> FluentBundle<FluentResource> {
        let identifier = self.tag().parse::<LanguageIdentifier>().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![identifier]);
        // The page's parts are all one direction; the marks would only stand in what is copied.
        bundle.set_use_isolating(false);
        // A test holds that every catalogue is whole.
        let resource = FluentResource::try_new(self.source().to_owned()).unwrap_or_else(|(parsed, _)| parsed);
        bundle.add_resource_overriding(resource);
        bundle
    }

    /// The words for a key: `started`, or `ready.next` for what belongs to it.
    #[must_use]
    pub fn say(self, key: &str) -> String {
        self.with(key, &[])
    }

    /// The same, with what it speaks of.
    #[must_use]
    pub fn with(self, key: &str, about: &[(&str, FluentValue<'_>)]) -> String {
        // What no catalogue has is told by its key: a test holds that this does not happen.
        self.find(key, about).unwrap_or_else(|| key.to_owned())
    }

    /// The words for a key that comes from outside; `None` when they are not known, or need what was not given.
    #[must_use]
    pub fn find(self, key: &str, about: &[(&str, FluentValue<'_>)]) -> Option<String> {
        self.written(key, about).or_else(|| Self::English.written(key, about))
    }

    fn written(self, key: &str, about: &[(&str, FluentValue<'_>)]) -> Option<String> {
        let bundle = CATALOGUES.get(&self)?;
        let (name, attribute) = key.split_once('.').map_or((key, None), |(name, attribute)| (name, Some(attribute)));
        let message = bundle.get_message(name)?;
        let pattern = match attribute {
            None => message.value()?,
            Some(attribute) => message.get_attribute(attribute)?.value(),
        };
        let mut named = FluentArgs::with_capacity(about.len());
        for (name, value) in about {
            named.set(*name, value.clone());
        }
        let mut errors: Vec<FluentError> = Vec::new();
        let text = bundle.format_pattern(pattern, Some(&named), &mut errors).into_owned();
        errors.is_empty().then_some(text)
    }

    /// The headline of a tile.
    #[must_use]
    pub fn headline(self, kind: Kind) -> String {
        self.say(kind.class())
    }

    /// What to do next.
    #[must_use]
    pub fn next_action(self, kind: Kind) -> String {
        self.say(&format!("{}.next", kind.class()))
    }

    /// What is being done to the device, when it is a step at all.
    #[must_use]
    pub fn step(self, state: State) -> String {
        self.say(step(state))
    }

    /// How long a device took, once it is done.
    #[must_use]
    pub fn took(self, milliseconds: i64) -> String {
        if milliseconds < 60_000 {
            let tenths = milliseconds.max(0) / 100;
            let seconds = format!("{}.{}", tenths / 10, tenths % 10);
            self.with("took-seconds", &[("seconds", seconds.into())])
        } else {
            elapsed(milliseconds)
        }
    }

    /// How long a drain takes; milliseconds.
    #[must_use]
    pub fn drain(self, milliseconds: i64) -> String {
        // Rounded up: a promise to a person is better kept.
        let seconds = milliseconds.max(0).div_euclid(1000) + 1;
        if seconds < 90 {
            self.with("drain-seconds", &[("seconds", seconds.into())])
        } else {
            self.with("drain-minutes", &[("minutes", ((seconds + 59) / 60).into())])
        }
    }
}

fn step(state: State) -> &'static str {
    match state {
        State::Requested => "step-requested",
        State::DeviceIdentified => "step-device-identified",
        State::KeyGenerationStarted => "step-key-generation-started",
        State::KeyGenerated => "step-key-generated",
        State::ResidencyProven => "step-residency-proven",
        State::RequestSigned => "step-request-signed",
        State::Submitted => "step-submitted",
        State::Issued => "step-issued",
        State::WriteStarted => "step-write-started",
        State::Written => "step-written",
        State::Verified => "step-verified",
        State::Completed => "ship-it",
        State::Failed | State::Cancelled => "stopped",
        State::Quarantined | State::InDoubt => "set-aside",
        State::Unspecified => "unknown",
    }
}

/// The key for why the station did not start a device, by the kind of its answer.
#[must_use]
pub fn refused(code: Code) -> &'static str {
    match code {
        Code::Ok => "started",
        Code::InvalidArgument | Code::OutOfRange => "code-invalid",
        Code::NotFound => "code-not-found",
        Code::AlreadyExists => "code-exists",
        Code::FailedPrecondition => "code-precondition",
        Code::Aborted => "code-aborted",
        Code::ResourceExhausted => "code-exhausted",
        Code::PermissionDenied | Code::Unauthenticated => "code-denied",
        Code::Unimplemented => "code-unimplemented",
        Code::Internal | Code::DataLoss | Code::Unknown => "code-internal",
        // Both may have reached the station. A second scan is answered with the same issuance, so it does no harm.
        Code::Unavailable => "code-unavailable",
        Code::DeadlineExceeded | Code::Cancelled => "code-late",
    }
}

/// A duration in digits: `0:07`, `12:30`, `1:02:03`. The script counts on in the same form.
#[must_use]
pub fn elapsed(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests;
