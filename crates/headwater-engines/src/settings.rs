//! Reads an engine's own settings from its section of the file. An unknown setting is refused by name, with the
//! nearest known one; nothing here prints a value, because any of them may be a secret.

use std::time::Duration;

use headwater_model::file::{Setting, Settings};
use headwater_model::{Error, Result};

/// How long a source works on one access pattern unless the file says otherwise.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// The settings of one section, taken one by one; [`Reader::finish`] refuses what is left.
pub(crate) struct Reader<'a> {
    settings: &'a Settings,
    /// What the section is, for messages: `the store "near"`.
    section: String,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(section: impl Into<String>, settings: &'a Settings) -> Reader<'a> {
        Reader { settings, section: section.into(), known: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Setting> {
        self.known.push(name);
        self.settings.get(name)
    }

    /// A setting that somebody else reads.
    pub(crate) fn elsewhere(&mut self, name: &'static str) {
        self.known.push(name);
    }

    /// A size: a number of bytes, or text with a unit (`"64MiB"`, `"2GB"`).
    pub(crate) fn bytes(&mut self, name: &'static str) -> Result<Option<u64>> {
        let size = match self.take(name) {
            None => return Ok(None),
            Some(Setting::Int(n)) => u64::try_from(*n).ok(),
            Some(Setting::Text(text)) => bytes_of(text.reveal()),
            Some(Setting::Bool(_) | Setting::Table(_)) => None,
        };
        size.map(Some).ok_or_else(|| self.wrong(name, "a size such as \"256MiB\""))
    }

    /// A word out of `words`, given as text.
    pub(crate) fn word(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>> {
        let word = match self.take(name) {
            None => return Ok(None),
            Some(Setting::Text(text)) => words.iter().find(|w| **w == text.reveal()),
            Some(_) => None,
        };
        match word {
            Some(word) => Ok(Some(word)),
            None => Err(self.wrong(name, &format!("one of {}", words.join(", ")))),
        }
    }

    /// Any text.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>> {
        match self.take(name) {
            None => Ok(None),
            Some(Setting::Text(text)) => Ok(Some(text.reveal())),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Setting::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// Settings of things by their own names, two deep: of each, texts by name.
    pub(crate) fn texts_by_name(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<std::collections::BTreeMap<&'a str, std::collections::BTreeMap<&'a str, &'a str>>> {
        let texts = |of: &'a Settings| -> Option<std::collections::BTreeMap<&'a str, &'a str>> {
            of.iter()
                .map(|(name, setting)| match setting {
                    Setting::Text(text) => Some((&**name, text.reveal())),
                    _ => None,
                })
                .collect()
        };
        let all = match self.take(name) {
            None => return Ok(Default::default()),
            Some(Setting::Table(all)) => all
                .iter()
                .map(|(name, setting)| match setting {
                    Setting::Table(of) => Some((&**name, texts(of)?)),
                    _ => None,
                })
                .collect(),
            Some(_) => None,
        };
        all.ok_or_else(|| self.wrong(name, expected))
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        allowed: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>> {
        match self.take(name) {
            None => Ok(None),
            Some(Setting::Int(number)) if allowed.contains(number) => Ok(Some(*number)),
            Some(_) => {
                Err(self.wrong(name, &format!("a number from {} to {}", allowed.start(), allowed.end())))
            }
        }
    }

    /// How long a source works on one access pattern: 1 ms to 10 minutes, with a unit (`"500ms"`, `"2s"`).
    pub(crate) fn answer_timeout(&mut self) -> Result<Option<Duration>> {
        const NAME: &str = "answer_timeout";
        let timeout = match self.take(NAME) {
            None => return Ok(None),
            Some(Setting::Text(text)) => duration_of(text.reveal()),
            Some(_) => None,
        };
        let allowed = Duration::from_millis(1)..=Duration::from_secs(600);
        let timeout = timeout.filter(|timeout| allowed.contains(timeout));
        timeout.map(Some).ok_or_else(|| self.wrong(NAME, "a time from \"1ms\" to \"600s\""))
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        Error::misconfigured(format!("setting \"{name}\" of {} is not {expected}", self.section))
            .with_remedy(format!("give \"{name}\" as {expected}"))
    }

    pub(crate) fn finish(self) -> Result<()> {
        let Some(unknown) = self.settings.keys().find(|name| !self.known.contains(&&***name)) else {
            return Ok(());
        };
        let nearest = (self.known.iter())
            .max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)))
            .filter(|name| strsim::jaro_winkler(name, unknown) > 0.7);
        Err(Error::misconfigured(format!("{} has no setting \"{unknown}\"", self.section)).with_remedy(
            match nearest {
                Some(name) => format!("did you mean \"{name}\"?"),
                None if self.known.is_empty() => "remove it: there are no settings here".to_owned(),
                None => format!("known settings: {}", self.known.join(", ")),
            },
        ))
    }
}

fn duration_of(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (digits, of): (&str, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(digits) => (digits, Duration::from_millis),
        None => (text.strip_suffix('s')?, Duration::from_secs),
    };
    digits.trim().parse().ok().map(of)
}

fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use headwater_model::Secret;

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
        let settings: Settings = [("byte_max".into(), Setting::Int(1))].into();
        let mut reader = Reader::new("the store \"near\"", &settings);
        assert_eq!(reader.bytes("bytes_max").unwrap(), None);
        let error = reader.finish().unwrap_err();
        assert_eq!(error.to_string(), "the store \"near\" has no setting \"byte_max\"");
        assert_eq!(error.remedy(), Some("did you mean \"bytes_max\"?"));
    }

    #[test]
    fn a_timeout_has_a_unit_and_bounds() {
        let read = |text: &str| {
            let settings: Settings = [("answer_timeout".into(), Setting::Text(Secret::new(text)))].into();
            Reader::new("the source", &settings).answer_timeout().ok().flatten()
        };
        assert_eq!(read("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read("2s"), Some(Duration::from_secs(2)));
        for wrong in ["0ms", "601s", "5", "soon", "-1s"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let settings: Settings = [
            ("a".into(), Setting::Text(Secret::new("64MiB"))),
            ("b".into(), Setting::Int(5)),
            ("c".into(), Setting::Text(Secret::new("many"))),
        ]
        .into();
        let mut reader = Reader::new("the store", &settings);
        assert_eq!(reader.bytes("a").unwrap(), Some(64 << 20));
        assert_eq!(reader.bytes("b").unwrap(), Some(5));
        assert!(reader.bytes("c").is_err());
    }
}
