//! What `headwater.toml` says of what was built: `[source]`, `[stores]`, and which view is kept where.

use std::fmt::Write as _;

use headwater_model::file::{toml_key, toml_string};

use super::infrastructure::{Infrastructure, table_prefix};
use super::names;
use super::parts::Part;
use crate::plan::Plan;

pub(super) fn text(plan: &Plan, it: &Infrastructure) -> String {
    let mut out = String::from(
        "# What was chosen, for headwater.toml: [source] and [stores] go there in place of what it has, and each view gets the\n\
         # `store` that stands here. The machines set the variables; what they hold is in Secrets Manager.\n\n",
    );
    if let Some(db) = &it.database {
        let scheme = if db.postgres { "postgres" } else { "mysql" };
        let check = if db.postgres { "?sslmode=verify-full&sslrootcert=rds.pem" } else { "" };
        let url = format!(
            "{scheme}://headwater:${{PGPASSWORD}}@${{SOURCE_HOST}}:{}/{}{check}",
            db.port, db.database
        );
        let _ = writeln!(out, "[source]\nurl = {}\n\n[stores]", toml_string(&url));
    }
    let mut stores: Vec<(String, &[String])> = Vec::new();
    let mut caches = it.caches.iter();
    for engine in plan.engines.iter().filter(|engine| !engine.is_source) {
        match &*engine.scheme {
            "redis" => {
                let Some(cache) = caches.next() else { continue };
                let user = if cache.serverless { "headwater" } else { "" };
                let upper = cache.id().to_uppercase();
                let url = format!("rediss://{user}:${{{upper}_PASSWORD}}@${{{upper}_HOST}}:6379");
                let (url, prefix) = (toml_string(&url), toml_string(&format!("{}:", it.name)));
                let _ = writeln!(out, "{} = {{ url = {url}, prefix = {prefix} }}", toml_key(cache.id()));
                stores.push((cache.id().to_owned(), &engine.views));
            }
            "dynamodb" => {
                let id = if engine.name.ends_with("provisioned") { "tables_provisioned" } else { "tables" };
                let url = format!("dynamodb://{}/{}", it.region, table_prefix(engine, &it.name));
                let _ = writeln!(out, "{id} = {{ url = {} }}", toml_string(&url));
                stores.push((id.to_owned(), &engine.views));
            }
            "neptune" => {
                let _ = writeln!(
                    out,
                    "# {}: write `graph = {{ url = \"neptune://WRITER-ENDPOINT:8182\" }}` here, with the cluster's writer endpoint, give\n\
                     # Headwater's role neptune-db:ReadDataViaQuery, WriteDataViaQuery, DeleteDataViaQuery and GetEngineStatus on it, and\n\
                     # name the store in {}; until then the database answers for them",
                    names::prose(&engine.title),
                    names::prose(&engine.views.join(", "))
                );
            }
            _ => {
                let _ = writeln!(
                    out,
                    "# {}: Headwater keeps no store there yet; until it does, the database answers for {}",
                    names::prose(&engine.title),
                    names::prose(&engine.views.join(", "))
                );
            }
        }
    }
    let mut kept: Vec<(&str, Vec<&str>)> = Vec::new();
    for (store, views) in &stores {
        for view in *views {
            match kept.iter_mut().find(|(name, _)| name == view) {
                Some((_, stores)) => stores.push(store),
                None => kept.push((view, vec![store])),
            }
        }
    }
    for (view, stores) in kept {
        let store = match &stores[..] {
            [one] => toml_string(one),
            several => format!("[{}]", several.iter().map(|s| toml_string(s)).collect::<Vec<_>>().join(", ")),
        };
        let _ = writeln!(out, "\n# [views.{}]\n# store = {store}", toml_key(view));
    }
    out
}
