//! What the file and the environment say together. A standard variable (`OTEL_…`) wins over the file: it belongs to the
//! place where this instance runs, the file to every place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::file::TelemetrySection;
use headwater_model::{Error, Result};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector as _};
use opentelemetry_sdk::trace::SpanExporter as _;

use super::client::Client;
use super::queue::Bounds;
use super::sample::Sampler;

/// The usual collector of this machine.
const USUAL: &str = "http://localhost:4318";
const PATH: &str = "/v1/traces";

pub struct Settings {
    pub sampler: Sampler,
    pub bounds: Bounds,
    pub exporter: SpanExporter,
    /// What the exporter sends with: it knows why a delivery failed.
    pub client: Arc<Client>,
    /// For people.
    pub endpoint: String,
}

/// The environment, without what is empty.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// `None` if the environment turns traces off.
    pub fn new(section: &TelemetrySection, variable: Variables<'_>) -> Result<Option<Settings>> {
        if is_off(variable)? {
            return Ok(None);
        }
        let endpoint = endpoint(section, variable);
        let client = Arc::new(Client::new(
            timeout(variable)?,
            either(variable, "CERTIFICATE").map(|(_, path)| path.into()),
        )?);
        let headers: HashMap<String, String> = section
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.reveal().to_owned()))
            .collect();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::clone(&client) as _)
            .with_endpoint(&endpoint)
            .with_headers(headers)
            // The queue tries again itself: it knows what waits meanwhile.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| {
                Error::misconfigured(format!("traces cannot be sent to {endpoint}")).with_cause(error).with_remedy(
                    "mend `otlp` in [telemetry], or the OTEL_EXPORTER_OTLP_ variable that the message names",
                )
            })?;
        exporter.set_resource(&resource(section, variable));
        let bounds = Bounds {
            spans: number(variable, "OTEL_BSP_MAX_QUEUE_SIZE", 2_048)?.max(1),
            batch: number(variable, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.max(1),
            every: Duration::from_millis(number(variable, "OTEL_BSP_SCHEDULE_DELAY", 5_000)? as u64),
        };
        let sampler = sampler(section, variable)?;
        Ok(Some(Settings { sampler, bounds, exporter, client, endpoint }))
    }
}

fn is_off(variable: Variables<'_>) -> Result<bool> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(true);
    }
    if let Some((name, protocol)) = either(variable, "PROTOCOL").filter(|(_, value)| value != "http/protobuf")
    {
        return Err(refused(
            &name,
            &protocol,
            "traces are sent by http/protobuf: set that, and the port for it (4318)",
        ));
    }
    if let Some((name, compression)) = either(variable, "COMPRESSION").filter(|(_, value)| value != "none") {
        return Err(refused(&name, &compression, "traces are sent as they are: set `none`"));
    }
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => Ok(false),
        Some("none") => Ok(true),
        Some(other) => Err(refused("OTEL_TRACES_EXPORTER", other, "set `otlp` or `none`")),
    }
}

/// The variable for traces, else the one for everything that goes by OTLP, with its name.
fn either(variable: Variables<'_>, what: &str) -> Option<(String, String)> {
    let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
    names.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
}

fn refused(name: &str, value: &str, remedy: &str) -> Error {
    Error::misconfigured(format!("{name} is `{value}`")).with_remedy(remedy.to_owned())
}

/// The variable for traces is taken as it is; to all others the path is put behind.
fn endpoint(section: &TelemetrySection, variable: Variables<'_>) -> String {
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").unwrap_or_else(|| {
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT")
            .or_else(|| section.otlp.as_deref().map(str::to_owned))
            .unwrap_or_else(|| USUAL.to_owned());
        format!("{}{PATH}", base.trim_end_matches('/'))
    })
}

fn timeout(variable: Variables<'_>) -> Result<Duration> {
    let millis = match either(variable, "TIMEOUT") {
        Some((name, _)) => number(variable, &name, 0)?,
        None => 10_000,
    };
    Ok(Duration::from_millis(millis as u64))
}

fn number(variable: Variables<'_>, name: &str, default: usize) -> Result<usize> {
    let Some(text) = variable(name) else { return Ok(default) };
    text.trim().parse().map_err(|_| refused(name, &text, "set a whole number"))
}

fn sampler(section: &TelemetrySection, variable: Variables<'_>) -> Result<Sampler> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(sampler) = variable(NAME) else {
        return Ok(Sampler::new(f64::from(section.sample) / 1e6, true));
    };
    let (follows_caller, kind) = match sampler.strip_prefix("parentbased_") {
        Some(kind) => (true, kind),
        None => (false, &*sampler),
    };
    let share = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => {
            let text = variable(ARG).unwrap_or_else(|| "1".to_owned());
            let share = text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| refused(ARG, &text, "set a number from 0 to 1"))?
        }
        _ => {
            return Err(refused(
                NAME,
                &sampler,
                "set always_on, always_off or traceidratio, or one of them behind `parentbased_`",
            ));
        }
    };
    Ok(Sampler::new(share, follows_caller))
}

/// What this instance says of itself. Later ones win.
fn resource(section: &TelemetrySection, variable: Variables<'_>) -> Resource {
    let own = [
        KeyValue::new("service.name", "headwater"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", format!("{:032x}", rand::random::<u128>())),
    ];
    let of_file =
        section.resource.iter().map(|(name, value)| KeyValue::new(name.to_string(), value.to_string()));
    let of_environment = EnvResourceDetector::new().detect();
    let of_environment = of_environment.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let service = variable("OTEL_SERVICE_NAME").map(|name| KeyValue::new("service.name", name));
    let all = own.into_iter().chain(of_file).chain(of_environment).chain(service);
    let all: HashMap<_, _> = all.map(|KeyValue { key, value, .. }| (key, value)).collect();
    Resource::builder_empty()
        .with_attributes(all.into_iter().map(|(key, value)| KeyValue::new(key, value)))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(otlp: Option<&str>, sample: u32) -> TelemetrySection {
        TelemetrySection { otlp: otlp.map(Into::into), headers: Vec::new(), sample, resource: Vec::new() }
    }

    fn with(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let variables: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        move |name| variables.get(name).cloned()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = section(Some("https://collector:4318/otlp"), 500_000);
        let to = |variables: &[(&str, &str)], section: &TelemetrySection| endpoint(section, &with(variables));
        assert_eq!(to(&[], &section(None, 1)), "http://localhost:4318/v1/traces");
        assert_eq!(to(&[], &file), "https://collector:4318/otlp/v1/traces");
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:1/");
        assert_eq!(to(&[all], &file), "http://other:1/v1/traces");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://exact:2/mine");
        assert_eq!(to(&[all, traces], &file), "http://exact:2/mine");

        let sampled =
            |variables: &[(&str, &str)]| sampler(&file, &with(variables)).map_err(|e| e.to_string());
        assert_eq!(sampled(&[]), Ok(Sampler::new(0.5, true)));
        let ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        assert_eq!(sampled(&[ratio, ("OTEL_TRACES_SAMPLER_ARG", "0.25")]), Ok(Sampler::new(0.25, true)));
        assert_eq!(sampled(&[("OTEL_TRACES_SAMPLER", "always_on")]), Ok(Sampler::new(1.0, false)));
        assert!(sampled(&[ratio, ("OTEL_TRACES_SAMPLER_ARG", "2")]).is_err());
        assert!(sampled(&[("OTEL_TRACES_SAMPLER", "xray")]).is_err());
    }

    #[test]
    fn the_environment_turns_it_off_and_what_cannot_be_done_is_refused() {
        let off =
            |name: &str, value: &str| is_off(&with(&[(name, value)])).map_err(|error| error.to_string());
        assert_eq!(is_off(&with(&[])).ok(), Some(false));
        assert_eq!(off("OTEL_SDK_DISABLED", "TRUE"), Ok(true));
        assert_eq!(off("OTEL_TRACES_EXPORTER", "none"), Ok(true));
        assert_eq!(off("OTEL_TRACES_EXPORTER", "otlp"), Ok(false));
        assert_eq!(off("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), Ok(false));
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ] {
            assert_eq!(off(name, value), Err(format!("{name} is `{value}`")));
        }
    }
}
