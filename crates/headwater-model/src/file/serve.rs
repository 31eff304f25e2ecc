//! `[serve]`: where applications read, who may, and what falling back to the source may cost it.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::access::rate;
use super::read::{Entry, Reader, Section, Value, join};
use super::reference;
use super::sections::{check_name, duration};
use super::{Role, ServeSection, TlsFiles, Token};
use crate::Secret;

pub(super) const OFF: &str = "off";
/// A token that can be guessed protects nothing.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_REMEDY: &str = "refer to it: token = \"${API_TOKEN}\", or use token_file";

pub(super) fn serve(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> ServeSection {
    let mut serve = ServeSection::default();
    let Some(mut section) = section else { return serve };
    let said_tokens = section.has("tokens");
    if let Some(tokens) = section.take_section(reader, "tokens") {
        serve.tokens = self::tokens(reader, tokens);
    }
    for (name, to) in [("listen", &mut serve.listen), ("resp", &mut serve.resp)] {
        let Some(value) = section.take(reader, name) else { continue };
        let Some(address) = listen(reader, value, name) else { continue };
        *to = address;
        // Tokens that could not be read have been reported.
        if let Some(address) = address.filter(|address| !address.ip().is_loopback() && !said_tokens) {
            reader.wrong(
                value.span(),
                format!("`{name}` is open to other machines, and nobody needs a token"),
                format!(
                    "add [serve.tokens] with NAME = {{ role = \"viewer\", token = \"${{API_TOKEN}}\" }}, \
                     or listen on \"127.0.0.1:{}\"",
                    address.port()
                ),
            );
        }
    }
    if let (Some(listen), Some(resp)) = (serve.listen, serve.resp)
        && listen == resp
        && listen.port() != 0
    {
        let at = reader.places.get("serve.resp").map_or(section.at.clone(), |place| place.value.clone());
        reader.wrong(at, "`listen` and `resp` are one address", "give each a port of its own");
    }
    serve.tls = tls(reader, &mut section);
    if let Some(value) = section.take(reader, "source_rate")
        && let Some(rate) = rate(reader, value, "source_rate")
    {
        serve.source_rate_per_second = rate;
    }
    if let Some(value) = section.take(reader, "source_parallel")
        && let Some(parallel) = reader.integer(value, "source_parallel", 1..=64)
    {
        serve.source_parallel = parallel as usize;
    }
    let (min, max) = (Duration::from_millis(10), Duration::from_secs(60));
    if let Some(timeout) = duration(reader, &mut section, "source_timeout", min, max) {
        serve.source_timeout = timeout;
    }
    section.finish(reader);
    serve
}

/// An address, or `"off"`.
fn listen(reader: &mut Reader<'_>, value: &Value<'_>, name: &str) -> Option<Option<SocketAddr>> {
    let text = reader.expanded(value, name)?.text;
    if text == OFF {
        return Some(None);
    }
    if let Ok(address) = text.parse() {
        return Some(Some(address));
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Some(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    }
    let port = text.strip_prefix(':').unwrap_or(&text);
    let remedy = match port.parse::<u16>() {
        Ok(port) => format!(
            "write \"127.0.0.1:{port}\" for this machine alone, \"0.0.0.0:{port}\" for every network it is in"
        ),
        Err(_) => {
            "write an address and a port, as in \"127.0.0.1:7070\" or \"[::1]:7070\", or \"off\"".to_owned()
        }
    };
    reader.wrong(value.span(), format!("`{name}` is no address to listen on"), remedy);
    None
}

fn tls(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<TlsFiles> {
    let mut file = |name| {
        let value = section.take(reader, name)?;
        let path = reader.expanded(value, name)?.text;
        if path.is_empty() {
            reader.wrong(value.span(), format!("`{name}` is empty"), "name a PEM file, or leave it out");
        }
        Some((PathBuf::from(path), value.span()))
    };
    match (file("tls_cert"), file("tls_key")) {
        (Some((cert, _)), Some((key, _))) => Some(TlsFiles { cert, key }),
        (Some((_, at)), None) if !section.has("tls_key") => {
            reader.missing(
                at,
                "`tls_cert` is there and `tls_key` is not",
                "add the certificate's key: tls_key = \"key.pem\"",
            );
            None
        }
        (None, Some((_, at))) if !section.has("tls_cert") => {
            reader.missing(
                at,
                "`tls_key` is there and `tls_cert` is not",
                "add the key's certificate: tls_cert = \"cert.pem\"",
            );
            None
        }
        _ => None,
    }
}

fn tokens(reader: &mut Reader<'_>, mut section: Section<'_>) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let entries = section.rest();
    if entries.is_empty() {
        reader.wrong(
            section.at,
            "[serve.tokens] has no token",
            "add NAME = { role = \"viewer\", token = \"${API_TOKEN}\" }, or remove the section",
        );
    }
    for Entry { name, key, value, .. } in entries {
        check_name(reader, key.span(), "token", name);
        let path = join(&section.path, name);
        let Some(inner) = Section::of(reader, path, key.span(), value) else { continue };
        let Some(token) = token(reader, inner, name) else { continue };
        if let Some(other) = tokens.iter().find(|other| other.secret == token.secret) {
            reader.wrong(
                key.span(),
                format!("`{}` and `{name}` have the same token", other.name),
                "give each a token of its own: they are told apart by nothing else",
            );
        }
        tokens.push(token);
    }
    tokens
}

fn token(reader: &mut Reader<'_>, mut section: Section<'_>, name: &str) -> Option<Token> {
    let role = role(reader, &mut section);
    let secret = secret(reader, &mut section);
    section.finish(reader);
    let (secret, at) = secret?;
    if secret.trim() != secret || secret.chars().any(|c| c.is_control()) {
        reader.wrong(
            at,
            "the token begins or ends with a space, or holds control characters",
            "use letters and digits",
        );
        return None;
    }
    if secret.chars().count() < TOKEN_CHARS_MIN {
        reader.wrong(
            at,
            format!("the token has fewer than {TOKEN_CHARS_MIN} characters"),
            "make one that nobody guesses: openssl rand -hex 32",
        );
        return None;
    }
    Some(Token { name: name.into(), role: role?, secret: Secret::new(secret) })
}

fn role(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Role> {
    const REMEDY: &str = "write \"viewer\" for reading, \"operator\" for reading and acting";
    let Some(value) = section.take(reader, "role") else {
        if !section.misspells("role") {
            reader.missing(section.at.clone(), format!("[{}] has no `role`", section.path), REMEDY);
        }
        return None;
    };
    let text = reader.plain(value, "role")?;
    let role = [Role::Viewer, Role::Operator].into_iter().find(|role| role.name() == text);
    if role.is_none() {
        reader.wrong(value.span(), format!("there is no role `{text}`"), REMEDY);
    }
    role
}

/// `token = "${NAME}"` or `token_file = "/path"`.
fn secret(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<(String, Range<usize>)> {
    let (token, file) = (section.take(reader, "token"), section.take(reader, "token_file"));
    match (token, file) {
        (Some(_), Some(file)) => {
            reader.wrong(file.span(), "`token` and `token_file` are both there", "keep one of them");
            None
        }
        (Some(value), None) => {
            let expanded = reader.expanded(value, "token")?;
            if !expanded.referred {
                reader.exposed(value.span(), "a token stands in the file", TOKEN_REMEDY);
                return None;
            }
            Some((expanded.text, value.span()))
        }
        (None, Some(value)) => {
            let path = reader.expanded(value, "token_file")?.text;
            let read = reference::read(&path, reader.references);
            match read {
                Ok(text) => {
                    reader.places.show_as(&join(&section.path, "token_file"), &path);
                    Some((text, value.span()))
                }
                Err(bad) => {
                    reader.wrong(value.span(), bad.message, bad.remedy);
                    None
                }
            }
        }
        (None, None) if section.misspells("token") || section.misspells("token_file") => None,
        (None, None) => {
            reader.missing(section.at.clone(), format!("[{}] has no `token`", section.path), TOKEN_REMEDY);
            None
        }
    }
}
