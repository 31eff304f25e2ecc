//! `memory:` and its one setting, `bytes_max`.

use headwater_model::file::StoreSection;
use headwater_model::{Error, Result};

use crate::settings;

const BYTES_MAX_DEFAULT: u64 = 256 << 20;

/// Below this not even the bookkeeping of a few views fits.
const BYTES_MAX_LEAST: u64 = 64 << 10;

#[derive(Clone, Debug)]
pub struct Options {
    /// Keys, documents and what their place in the map costs, together.
    pub bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { bytes_max: BYTES_MAX_DEFAULT }
    }
}

impl Options {
    pub(super) fn parse(section: &StoreSection) -> Result<Options> {
        if section.url.reveal() != "memory:" {
            return Err(Error::misconfigured(format!(
                "the URL of the store \"{}\" says more than \"memory:\"",
                section.name
            ))
            .with_remedy("write url = \"memory:\""));
        }
        let mut settings =
            settings::Reader::new(format!("the store \"{}\"", section.name), &section.settings);
        let bytes_max = settings.bytes("bytes_max")?.unwrap_or(BYTES_MAX_DEFAULT);
        settings.finish()?;
        if bytes_max < BYTES_MAX_LEAST {
            return Err(Error::misconfigured(format!(
                "bytes_max of the store \"{}\" is {bytes_max} bytes, too little for anything",
                section.name
            ))
            .with_remedy("give at least \"64KiB\""));
        }
        Ok(Options { bytes_max })
    }
}
