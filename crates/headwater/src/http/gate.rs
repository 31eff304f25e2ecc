//! Who passes: the host that is asked for, the token, and how many requests are worked on at once.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use headwater_model::file::{Role, Token};
use subtle::ConstantTimeEq;

use super::Options;
use super::problem::{Kind, Problem};

/// Who asks. Handlers find it in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Without a token, where one is needed for more than the open paths.
    Nobody,
    Role(Role),
}

/// Whose token was shown, for the incident log. Handlers find it in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

/// What probes and people in trouble need before they have a token.
fn is_open(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/problems") || path.starts_with("/problems/")
}

pub struct Gate {
    tokens: Vec<Token>,
    /// Only this machine's own names are answered.
    local_only: bool,
    at_once: AtomicUsize,
    at_once_max: usize,
}

/// A request that is worked on, until dropped.
pub struct Pass {
    gate: Arc<Gate>,
    pub who: Who,
    pub holder: Holder,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub fn new(options: &Options) -> Gate {
        Gate {
            tokens: options.tokens.clone(),
            local_only: options.tokens.is_empty() && options.listen.ip().is_loopback(),
            at_once: AtomicUsize::new(0),
            at_once_max: options.bounds.requests,
        }
    }

    pub fn pass<B>(self: &Arc<Gate>, request: &Request<B>) -> Result<Pass, Problem> {
        // Counted first: a pass that is dropped by a refusal below counts down again.
        let before = self.at_once.fetch_add(1, Ordering::Relaxed);
        let nobody = Holder("nobody".to_owned());
        let mut pass = Pass { gate: Arc::clone(self), who: Who::Nobody, holder: nobody };
        let path = request.uri().path();
        if before >= self.at_once_max && path != "/livez" {
            let detail = format!("{} requests are worked on at once", self.at_once_max);
            return Err(Problem::new(Kind::Overloaded, detail)
                .remedy("try again in a moment")
                .again_after(1));
        }
        if self.local_only {
            local(host(request))?;
        }
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if writes {
            same_site(request)?;
        }
        (pass.who, pass.holder) =
            self.who(request.headers()).map_err(|problem| ask_browsers(problem, path))?;
        let needs = if writes { Role::Operator } else { Role::Viewer };
        match pass.who {
            Who::Role(role) if role >= needs => Ok(pass),
            _ if is_open(path) => Ok(pass),
            Who::Role(_) => {
                Err(Problem::new(Kind::Forbidden, "a viewer's token reads and does nothing else")
                    .remedy("use a token whose role is `operator`"))
            }
            Who::Nobody => Err(ask_browsers(unauthenticated("no token was sent"), path)),
        }
    }

    /// Every token is compared, and each in constant time: how long it takes tells nothing of them.
    fn who(&self, headers: &HeaderMap) -> Result<(Who, Holder), Problem> {
        if self.tokens.is_empty() {
            return Ok((Who::Role(Role::Operator), Holder("somebody on this machine".to_owned())));
        }
        let Some(sent) = headers.get(AUTHORIZATION) else {
            return Ok((Who::Nobody, Holder("nobody".to_owned())));
        };
        let sent = token_in(sent.as_bytes())
            .ok_or_else(|| unauthenticated("`Authorization` is not of the form `Bearer TOKEN`"))?;
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.secret.reveal().as_bytes().ct_eq(&sent)) {
                found = Some((Who::Role(token.role), Holder(token.name.to_string())));
            }
        }
        found.ok_or_else(|| unauthenticated("the token is none of this instance's"))
    }
}

/// The token of an `Authorization`: as programs send it, or as a browser does, as the password of whatever name.
fn token_in(sent: &[u8]) -> Option<Cow<'_, [u8]>> {
    let blank = sent.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&sent[..blank], sent[blank..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.into());
    }
    let decoded = scheme.eq_ignore_ascii_case(b"basic").then(|| BASE64.decode(rest).ok())??;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec().into())
}

/// A browser that opens the page asks its user for the token. Elsewhere it must not: programs handle a 401 themselves.
fn ask_browsers(problem: Problem, path: &str) -> Problem {
    if path != "/" && !path.starts_with("/dashboard/") {
        return problem;
    }
    let basic = HeaderValue::from_static("Basic realm=\"headwater\", charset=\"UTF-8\"");
    problem.headers(HeaderMap::from_iter([(WWW_AUTHENTICATE, basic)]))
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail).remedy("send `Authorization: Bearer TOKEN`")
}

/// The host that the client means: of the target if it has one, else of the header.
fn host<B>(request: &Request<B>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST)?.to_str().ok(),
    }
}

/// A name that a foreign site made to point to this machine (DNS rebinding) is still that site's name.
fn local(host: Option<&str>) -> Result<(), Problem> {
    let name = host.map(without_port).unwrap_or_default();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_local {
        return Ok(());
    }
    let detail = match host {
        Some(host) => format!("the request is for `{host}`, and only this machine is answered"),
        None => "the request names no host".to_owned(),
    };
    Err(Problem::new(Kind::ForeignHost, detail)
        .remedy("ask for `localhost` or `127.0.0.1`, or set [serve.tokens]"))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// A browser says where a page that acts comes from; other clients do not, and need not.
fn same_site<B>(request: &Request<B>) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let from = origin.split_once("://").map(|(_, host)| host);
    if from.is_some() && from == host(request) {
        return Ok(());
    }
    Err(Problem::new(Kind::Forbidden, format!("a page of `{origin}` asks for this"))
        .remedy("act from Headwater's own page, or without a browser"))
}

#[cfg(test)]
mod tests {
    use headwater_model::Secret;

    use super::*;
    use crate::http::Bounds;

    fn gate(tokens: &[(Role, &str)]) -> Arc<Gate> {
        let token = |(role, secret): &(Role, &str)| Token {
            name: role.name().into(),
            role: *role,
            secret: Secret::new(*secret),
        };
        Arc::new(Gate::new(&Options {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            tokens: tokens.iter().map(token).collect(),
            bounds: Bounds { requests: 2, ..Bounds::default() },
        }))
    }

    fn ask(gate: &Arc<Gate>, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match gate.pass(&request.body(()).unwrap_or_default()) {
            Ok(_) => 200,
            Err(problem) => problem.status(),
        }
    }

    #[test]
    fn without_tokens_only_this_machine_is_answered_under_its_own_names() {
        let gate = gate(&[]);
        for host in ["localhost", "localhost:7070", "127.0.0.1:1", "127.8.9.1", "[::1]:80", "a.localhost"] {
            assert_eq!(ask(&gate, "GET", "/v1/x", &[("Host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "evil.example:7070", "localhost.evil.example", "10.0.0.1", "", ":80"] {
            assert_eq!(ask(&gate, "GET", "/livez", &[("Host", host)]), 421, "{host}");
        }
        assert_eq!(ask(&gate, "GET", "/v1/x", &[]), 421);
        assert_eq!(ask(&gate, "GET", "http://localhost/v1/x", &[("Host", "evil.example")]), 200);
        assert_eq!(ask(&gate, "GET", "http://evil.example/v1/x", &[("Host", "localhost")]), 421);
    }

    #[test]
    fn roles_do_what_they_may() {
        let gate = gate(&[(Role::Viewer, "viewer-viewer-viewer"), (Role::Operator, "operator-operator")]);
        let with = |method, token: &str| {
            ask(&gate, method, "/v1/x", &[("Authorization", &format!("Bearer {token}"))])
        };
        assert_eq!(with("GET", "viewer-viewer-viewer"), 200);
        assert_eq!(with("POST", "viewer-viewer-viewer"), 403);
        assert_eq!(with("POST", "operator-operator"), 200);
        assert_eq!(with("GET", "operator-operator"), 200);
        for wrong in ["", "viewer-viewer-viewe", "viewer-viewer-viewer1", "operator"] {
            assert_eq!(with("GET", wrong), 401, "{wrong}");
        }
        assert_eq!(ask(&gate, "GET", "/v1/x", &[]), 401);
        assert_eq!(ask(&gate, "GET", "/v1/x", &[("Authorization", "Basic dmlld2Vy")]), 401);
        // As a browser sends it: "me:viewer-viewer-viewer", and without a colon, and not in base 64.
        assert_eq!(
            ask(&gate, "GET", "/", &[("Authorization", "Basic bWU6dmlld2VyLXZpZXdlci12aWV3ZXI=")]),
            200
        );
        for wrong in
            ["Basic dmlld2VyLXZpZXdlci12aWV3ZXI=", "Basic me:viewer-viewer-viewer", "Basic", "Basic "]
        {
            assert_eq!(ask(&gate, "GET", "/", &[("Authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(ask(&gate, "GET", "/v1/x", &[("Authorization", "bearer viewer-viewer-viewer")]), 200);
        assert_eq!(ask(&gate, "GET", "/readyz", &[("Host", "any.example")]), 200, "probes have no token");
    }

    #[test]
    fn pages_of_other_sites_do_not_act() {
        let gate = gate(&[]);
        let from = |origin| ask(&gate, "POST", "/x", &[("Host", "localhost:7070"), ("Origin", origin)]);
        assert_eq!(from("http://localhost:7070"), 200);
        for origin in ["http://evil.example", "null", "http://localhost:8080"] {
            assert_eq!(from(origin), 403, "{origin}");
        }
        assert_eq!(ask(&gate, "POST", "/x", &[("Host", "localhost")]), 200);
    }

    #[test]
    fn no_more_at_once_than_the_bound() {
        let gate = gate(&[]);
        let request = || Request::builder().uri("http://localhost/v1/x").body(()).unwrap_or_default();
        let held: Vec<_> = (0..2).map(|_| gate.pass(&request())).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(gate.pass(&request()).err().map(|problem| problem.status()), Some(503));
        assert_eq!(ask(&gate, "GET", "http://localhost/livez", &[]), 200, "a busy process is alive");
        drop(held);
        assert!(gate.pass(&request()).is_ok());
    }
}
