//! Connections, memory, what is cleared away, access.

use headwater_model::Result;
use headwater_model::exam::Urgency;
use mongodb::bson::{Bson, Document, doc};

use super::{Asks, number};
use crate::checks::{Found, Limits, Symptom, evidence};

const MB: f64 = 1_048_576.0;

impl Asks<'_> {
    pub(super) async fn connections(&self, limits: &Limits<'_>) -> Result<Found> {
        let status = self.ask_admin(doc! { "serverStatus": 1 }).await?;
        let of = |field: &str| {
            status
                .get_document("connections")
                .ok()
                .and_then(|found| number(found.get(field)))
                .unwrap_or_default()
        };
        let (open, free) = (of("current"), of("available"));
        let most = open + free;
        if most <= 0.0 || open < limits.of("share") * most {
            return Ok(Found::new());
        }
        let symptom = Symptom::new(
            "connections",
            if free == 0.0 { Urgency::Critical } else { Urgency::High },
            format!("{open} of {most} are open: whoever comes when all are is sent away"),
            &[
                "// in the applications' URLs: maxPoolSize=20, or fewer",
                "// in the server's configuration: net.maxIncomingConnections, and the limit of open files with it",
            ],
        );
        let answered = [("current", open), ("available", free)];
        Ok(vec![(symptom, evidence(&answered))])
    }

    pub(super) async fn cache(&self, limits: &Limits<'_>) -> Result<Found> {
        let status = self.ask_admin(doc! { "serverStatus": 1 }).await?;
        let cache = status.get_document("wiredTiger").and_then(|tiger| tiger.get_document("cache"));
        // Amazon DocumentDB keeps its data otherwise.
        let Ok(cache) = cache else { return Ok(Found::new()) };
        let of = |field: &str| number(cache.get(field)).unwrap_or_default();
        let (max, used, dirty) = (
            of("maximum bytes configured"),
            of("bytes currently in the cache"),
            of("tracked dirty bytes in the cache"),
        );
        let is_over = |bytes: f64, limit: &str| max > 0.0 && bytes >= limits.of(limit) * max;
        let what = match (is_over(dirty, "dirty_share"), is_over(used, "used_share")) {
            (true, _) => format!("{:.0} % of it is not written yet", 100.0 * dirty / max),
            (_, true) => format!("{:.0} % of it is in use", 100.0 * used / max),
            _ => return Ok(Found::new()),
        };
        let resize = |bytes: f64| {
            format!(
                "db.adminCommand({{ setParameter: 1, wiredTigerEngineRuntimeConfig: \"cache_size={:.0}M\" }})",
                bytes / MB
            )
        };
        let symptom = Symptom::new(
            "cache",
            Urgency::Medium,
            format!("{what}: requests have to make room themselves before they are answered"),
            &[
                &format!("{}  // if the machine has the memory", resize(2.0 * max)),
                "// and in its configuration: storage.wiredTiger.engineConfig.cacheSizeGB",
            ],
        )
        .undo(resize(max));
        Ok(vec![(symptom, evidence(&[("maximum", max), ("used", used), ("dirty", dirty)]))])
    }

    pub(super) async fn keeping_deleted(&self) -> Result<Found> {
        let answer = self.ask_admin(doc! { "getParameter": 1, "ttlMonitorEnabled": 1 }).await?;
        if answer.get_bool("ttlMonitorEnabled").unwrap_or(true) {
            return Ok(Found::new());
        }
        let set = |on: bool| format!("db.adminCommand({{ setParameter: 1, ttlMonitorEnabled: {on} }})");
        let symptom = Symptom::new(
            "ttlMonitorEnabled",
            Urgency::Medium,
            "the server removes nothing that has expired: what deleted documents leave stays, and collections only grow",
            &[&set(true)],
        )
        .undo(set(false));
        Ok(vec![(symptom, evidence(&[("ttlMonitorEnabled", false)]))])
    }

    pub(super) async fn open(&self) -> Result<Found> {
        let status = self.ask(doc! { "connectionStatus": 1 }).await?;
        let users = status.get_document("authInfo").and_then(|info| info.get_array("authenticatedUsers"));
        if users.is_ok_and(|users| !users.is_empty()) {
            return Ok(Found::new());
        }
        // Who may ask this unnamed may do anything.
        let options = self.ask_admin(doc! { "getCmdLineOpts": 1 }).await?;
        let hosts = listens(&options);
        let is_local = hosts.split(',').all(|host| ["127.0.0.1", "localhost", "::1"].contains(&host.trim()));
        let symptom = Symptom::new(
            "the server",
            if is_local { Urgency::Medium } else { Urgency::Critical },
            format!(
                "asks nobody who they are: who reaches it ({hosts}) may read, change and drop everything"
            ),
            &[
                "db.getSiblingDB(\"admin\").createUser({ user: \"admin\", pwd: passwordPrompt(), roles: [\"root\"] })",
                "// and in the server's configuration: security.authorization: enabled",
            ],
        );
        Ok(vec![(symptom, evidence(&[("bindIp", hosts)]))])
    }
}

/// The addresses that the server was told to listen on; its own machine's, unless it was told.
fn listens(options: &Document) -> String {
    let net = options.get_document("parsed").and_then(|parsed| parsed.get_document("net")).ok();
    let of = |field: &str| net.and_then(|net| net.get(field));
    match (of("bindIpAll"), of("bindIp")) {
        (Some(Bson::Boolean(true)), _) => "0.0.0.0".to_owned(),
        (_, Some(Bson::String(hosts))) => hosts.clone(),
        _ => "127.0.0.1".to_owned(),
    }
}
