//! Answers cut down to the fields that a caller asked for (<https://google.aip.dev/157>).

use std::{collections::BTreeMap, fmt};

use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _};

/// As many as are told back: a client refuses what does not fit its headers.
const TOLD_MOST: usize = 5;
/// As much of each.
const TOLD_CHARACTERS_MOST: usize = 64;

/// The fields of one kind of message that are wanted.
#[derive(Debug, Clone)]
pub struct Mask {
    message: MessageDescriptor,
    wanted: Fields,
}

/// By number; `None`: all of what is in that field.
#[derive(Debug, Clone, Default)]
struct Fields(BTreeMap<u32, Option<Fields>>);

/// Paths that lead to no field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPaths {
    /// The message's name without its package.
    message: String,
    /// The first of them.
    paths: Vec<String>,
    /// What there is.
    fields: Vec<String>,
}

impl fmt::Display for UnknownPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, paths, fields } = self;
        let (paths, fields) = (paths.join(", "), fields.join(", "));
        write!(f, "no such field of {message}: {paths}. Its fields are {fields}")
    }
}

impl std::error::Error for UnknownPaths {}

impl Mask {
    /// A mask for messages of this name, such as `station.v1.Issuance`; `None` when it leaves nothing out. A path names a field,
    /// or a field of a field that is there once at most: `failure.reason`.
    ///
    /// # Errors
    /// Paths that lead to no field.
    pub fn parse(name: &str, paths: &[String]) -> Result<Option<Self>, UnknownPaths> {
        let unknown = |paths: Vec<String>, fields| {
            let message = name.rsplit('.').next().unwrap_or_default().to_owned();
            UnknownPaths { message, paths, fields }
        };
        let message = super::described(name).map_err(|words| unknown(vec![words], vec![]))?;
        let mut wanted = Fields::default();
        let mut wrong = Vec::new();
        for path in paths.iter().filter(|path| *path != "*") {
            if wanted.add(&message, path).is_none() && wrong.len() < TOLD_MOST {
                wrong.push(format!("{:?}", path.chars().take(TOLD_CHARACTERS_MOST).collect::<String>()));
            }
        }
        if !wrong.is_empty() {
            let fields = message.fields().map(|field| field.name().to_owned()).collect();
            return Err(unknown(wrong, fields));
        }
        let all = paths.is_empty() || paths.iter().any(|path| path == "*");
        Ok((!all).then_some(Self { message, wanted }))
    }

    /// The message with these fields only.
    #[must_use]
    pub fn of<M: Message + Default>(&self, message: &M) -> M {
        let mut dynamic = DynamicMessage::new(self.message.clone());
        // Both are made of the same descriptors; were they not, nothing would be told rather than too much.
        let cut = dynamic.transcode_from(message).and_then(|()| {
            self.wanted.keep(&mut dynamic);
            dynamic.transcode_to()
        });
        cut.unwrap_or_default()
    }
}

impl Fields {
    fn add(&mut self, message: &MessageDescriptor, path: &str) -> Option<()> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let field = message.get_field_by_name(name)?;
        let number = field.number();
        let Some(rest) = rest else {
            self.0.insert(number, None);
            return Some(());
        };
        let Kind::Message(inner) = field.kind() else { return None };
        if field.is_list() || field.is_map() {
            return None;
        }
        match self.0.get_mut(&number) {
            // All of it is wanted; the path must be one all the same.
            Some(None) => Self::default().add(&inner, rest),
            Some(Some(fields)) => fields.add(&inner, rest),
            None => {
                let mut fields = Self::default();
                fields.add(&inner, rest)?;
                self.0.insert(number, Some(fields));
                Some(())
            }
        }
    }

    fn keep(&self, message: &mut DynamicMessage) {
        for field in message.descriptor().fields() {
            match self.0.get(&field.number()) {
                None => message.clear_field(&field),
                Some(None) => {}
                Some(Some(fields)) if message.has_field(&field) => {
                    if let Some(inner) = message.get_field_mut(&field).as_message_mut() {
                        fields.keep(inner);
                    }
                }
                Some(Some(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::v1::{Failure, Issuance, SurplusCertificate};

    fn mask(paths: &[&str]) -> Result<Option<Mask>, UnknownPaths> {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        Mask::parse("station.v1.Issuance", &paths)
    }

    fn issuance() -> Issuance {
        Issuance {
            name: "issuances/1".into(),
            state: 13,
            failure: Some(Failure { reason: "R".into(), message: "m".into() }),
            certificate: vec![1; 900],
            chain: vec![vec![2; 900]],
            surplus: vec![SurplusCertificate::default()],
            ..Issuance::default()
        }
    }

    /// What is named stays, also inside of a field; everything else is as if it had never been set, and what is absent stays so.
    #[test]
    fn what_is_named_stays() {
        let cut = mask(&["name", "failure.reason", "state"]).unwrap().unwrap().of(&issuance());
        let reason = Failure { reason: "R".into(), message: String::new() };
        let due = Issuance { name: "issuances/1".into(), state: 13, failure: Some(reason), ..Issuance::default() };
        assert_eq!(cut, due);
        let whole = mask(&["failure.reason", "failure"]).unwrap().unwrap().of(&issuance());
        assert_eq!(whole.failure, issuance().failure);
        let absent = mask(&["residency.standing"]).unwrap().unwrap().of(&issuance());
        assert_eq!(absent, Issuance::default());
        let list = mask(&["surplus"]).unwrap().unwrap().of(&issuance());
        assert_eq!(list.surplus.len(), 1);
    }

    /// No path, and the path for all, leave everything in.
    #[test]
    fn without_a_path_all_of_it_is_there() {
        assert!(mask(&[]).unwrap().is_none());
        assert!(mask(&["name", "*"]).unwrap().is_none());
    }

    /// A path to nothing is told by its name, with what there is: however many and however long they are.
    #[test]
    fn a_path_to_nothing_is_told() {
        for wrong in
            ["certificat", "", ".", "name.", ".name", "failure.", "failure.why", "Name", " name", "surplus.certificate"]
                .into_iter()
                .chain(["name.length", "failure.reason.x", "certificateSerial", "**", "failure.*", "\0", "chain.0"])
        {
            for paths in [&[wrong][..], &["name", wrong], &["*", wrong], &["failure", wrong]] {
                let words = mask(paths).unwrap_err().to_string();
                assert!(words.contains(&format!("{wrong:?}")) && words.contains("certificate_serial"), "{words}");
            }
        }
        let long = "x".repeat(1 << 20);
        let words = mask(&[long.as_str(); 100]).unwrap_err().to_string();
        assert!(words.len() < 1500, "{}", words.len());
    }
}
