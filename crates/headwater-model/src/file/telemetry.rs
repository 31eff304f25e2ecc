//! `[telemetry]`: traces by OTLP. What the environment says beside it (`OTEL_…`) is read by the program.

use super::read::{Entry, Reader, Section, Value, join};
use super::sections::amount;
use super::unit;
use super::{TelemetrySection, default};
use crate::Secret;

const OTLP_REMEDY: &str = "name a collector that takes OTLP over HTTP, as in \"http://127.0.0.1:4318\"";
const SAMPLE_REMEDY: &str = "write a share, as in \"1%\" or \"100%\"; without [telemetry] nothing is traced";

/// Headers whose names hold one of these carry secrets.
const SECRET_WORDS: [&str; 6] = ["auth", "key", "token", "secret", "password", "cookie"];

pub(super) fn telemetry(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> Option<TelemetrySection> {
    let mut section = section?;
    let mut telemetry =
        TelemetrySection { otlp: None, headers: Vec::new(), sample: default::SAMPLE, resource: Vec::new() };
    if let Some(value) = section.take(reader, "otlp") {
        telemetry.otlp = otlp(reader, value);
    }
    if let Some(value) = section.take(reader, "sample")
        && let Some(share) = amount(reader, value, "sample", unit::parse_share, SAMPLE_REMEDY)
    {
        telemetry.sample = share;
    }
    if let Some(mut inner) = section.take_section(reader, "headers") {
        for Entry { name, key, value, .. } in inner.rest() {
            let path = join(&inner.path, name);
            reader.places.put(&path, key.span(), value.span());
            if !is_header(name) {
                reader.wrong(
                    key.span(),
                    format!("`{name}` is no name of a header"),
                    "use letters, digits and -",
                );
                continue;
            }
            if let Some(value) = header(reader, name, value, &path) {
                telemetry.headers.push((name.into(), value));
            }
        }
    }
    if let Some(mut inner) = section.take_section(reader, "resource") {
        for Entry { name, key, value, .. } in inner.rest() {
            reader.places.put(&join(&inner.path, name), key.span(), value.span());
            if let Some(expanded) = reader.expanded(value, name) {
                telemetry.resource.push((name.into(), expanded.text.into()));
            }
        }
    }
    section.finish(reader);
    Some(telemetry)
}

fn otlp(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Box<str>> {
    let text = reader.expanded(value, "otlp")?.text;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let (message, remedy) = match host {
        None | Some("") => ("`otlp` is no address over HTTP", OTLP_REMEDY),
        Some(host) if host.contains('@') => (
            "`otlp` takes no user and password",
            "send what the collector asks for in headers: headers = { authorization = \"${OTLP_AUTHORIZATION}\" }",
        ),
        Some(_) if text.contains(['?', '#']) => ("`otlp` takes no parameters", OTLP_REMEDY),
        Some(_) if text.trim_end_matches('/').ends_with("/v1/traces") => {
            ("`otlp` names one kind of telemetry", "leave `/v1/traces` out: it is put behind the address")
        }
        Some(_) => return Some(text.trim_end_matches('/').into()),
    };
    reader.wrong(value.span(), message, remedy);
    None
}

/// A token of HTTP (RFC 9110).
fn is_header(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn header(reader: &mut Reader<'_>, name: &str, value: &Value<'_>, path: &str) -> Option<Secret> {
    let expanded = reader.expanded(value, name)?;
    let lower = name.to_ascii_lowercase();
    if !expanded.referred && SECRET_WORDS.iter().any(|word| lower.contains(word)) {
        let variable = lower.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        reader.exposed(
            value.span(),
            format!("the secret of header `{name}` stands in the file"),
            format!("refer to it: {name} = \"${{{variable}}}\", or \"file:/path\""),
        );
        return None;
    }
    if expanded.text.chars().any(|c| !(' '..='~').contains(&c)) {
        reader.wrong(
            value.span(),
            format!("header `{name}` holds what headers cannot"),
            "use printable ASCII, without line breaks",
        );
        return None;
    }
    reader.places.show_as(path, &expanded.shown);
    Some(Secret::new(expanded.text))
}
