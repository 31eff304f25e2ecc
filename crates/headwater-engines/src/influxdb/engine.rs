//! What InfluxDB says of itself.

use headwater_model::{Layout, Promise};

use crate::engine::{AsStore, Engine, Pattern};

pub const ENGINE: Engine = Engine {
    name: "InfluxDB",
    stands_for: "Timestream for InfluxDB",
    schemes: &["influx", "influxs"],
    feature: "influxdb",
    built_in: cfg!(feature = "influxdb"),
    page: "influxdb.md",
    source: None,
    store: Some(AsStore {
        promise: Promise::Key,
        except: None,
        layouts: &[Layout::Json],
        answers: &[Pattern::Get, Pattern::Window],
    }),
};
