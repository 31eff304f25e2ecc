//! The page as a whole, and the part of it that lives.

use headwater_flow::status::PartState;
use maud::{DOCTYPE, Markup, html};

use super::parts::state;
use super::{Scene, at, findings, flow, tables};
use crate::figures::counted;

/// The whole page.
pub fn page(scene: &Scene) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Headwater" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/dashboard/style.css";
                script src="/dashboard/script.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                a.skip href="#live" { "Skip to the flow" }
                header {
                    h1 { "Headwater" }
                    nav aria-label="Sections" {
                        a href="#flow" { "Flow" } a href="#patterns" { "Access patterns" }
                        a href="#backfill" { "Backfill" } a href="#verification" { "Verification" }
                        a href="#quarantine" { "Quarantine" }
                        a href="#incidents" { "Incidents" } a href="#drills" { "Drills" } a href="#findings" { "Findings" }
                    }
                }
                p #lost role="alert" hidden { "This page has lost its instance: what it shows is old. It tries again." }
                main #live tabindex="-1" { (inside(scene)) }
                footer {
                    a href="/openapi.json" { "OpenAPI" } a href="/metrics" { "Metrics" }
                    a href="/status.json" { "Status as JSON" } a href="/readyz" { "Readiness" }
                }
            }
        }
    }
    .into_string()
}

/// What the script puts in place of what `main` holds.
pub fn live(scene: &Scene) -> String {
    inside(scene).into_string()
}

fn inside(scene: &Scene) -> Markup {
    if let Some(why) = &scene.starting {
        return html! {
            (sources(scene))
            p #summary role="status" { (state(PartState::Starting)) " Nothing to show yet: " (why) "." }
        };
    }
    html! {
        (sources(scene))
        p #summary role="status" aria-live="polite" { (summary(scene)) }
        section #flow aria-labelledby="flow-heading" {
            h2 #flow-heading { "Flow" }
            (tables::errors(scene))
            (flow::pictures(scene))
            details { summary { "The same as a table" } (tables::parts(scene)) }
        }
        section #patterns aria-labelledby="patterns-heading" {
            h2 #patterns-heading { "Access patterns" }
            (tables::patterns(scene))
        }
        section #backfill aria-labelledby="backfill-heading" {
            h2 #backfill-heading { "Backfill" }
            (tables::backfills(scene))
        }
        section #verification aria-labelledby="verification-heading" {
            h2 #verification-heading { "Verification" }
            (tables::verification(scene))
        }
        section #quarantine aria-labelledby="quarantine-heading" {
            h2 #quarantine-heading { "Quarantine" }
            (tables::quarantine(scene))
        }
        section #incidents aria-labelledby="incidents-heading" {
            h2 #incidents-heading { "Incidents" }
            (tables::healing(scene))
            (tables::incidents(scene))
        }
        section #drills aria-labelledby="drills-heading" {
            h2 #drills-heading { "Drills" }
            (tables::drills(scene))
        }
        section #findings aria-labelledby="findings-heading" {
            h2 #findings-heading { "Findings" }
            (findings::findings(scene))
        }
    }
}

/// The pages of the sources, where there are several.
fn sources(scene: &Scene) -> Markup {
    html! {
        @if !scene.sources.is_empty() {
            nav #sources aria-label="Sources" {
                @for (name, is) in &scene.sources {
                    a href=(at("/", Some(name))) aria-current=[(scene.source.as_ref() == Some(name)).then_some("page")] {
                        (name) " " (state(*is))
                    }
                    " "
                }
            }
        }
    }
}

/// How everything is, without a figure that moves: it is read out whenever it changes.
fn summary(scene: &Scene) -> Markup {
    let status = &scene.status;
    if !scene.leading {
        let why = status.source.error.as_deref().unwrap_or("it has not begun to lead");
        return html! { (state(PartState::Standby)) " This instance stands by: " (why) "." };
    }
    let parts = status.stores.iter().map(|store| (format!("Store {}", store.name), store.state));
    let unwell: Vec<_> = [("The source".to_owned(), status.source.state)]
        .into_iter()
        .chain(parts)
        .filter(|(_, state)| *state != PartState::Healthy)
        .collect();
    html! {
        @if unwell.is_empty() {
            (state(PartState::Healthy)) " The source and " (counted(status.stores.len(), "store")) " are in step."
        } @else {
            @for (part, is) in &unwell {
                " " (part) " is " (state(*is)) "."
            }
        }
        @if status.heal.held.iter().any(|held| held.missing() > 0) { " Healing waits for approval." }
        @if status.source.quarantined_rows > 0 || status.stores.iter().any(|store| store.quarantined_rows > 0) {
            " Rows are in quarantine."
        }
        " This instance leads, epoch " (status.epoch) "."
    }
}

#[cfg(test)]
mod tests {
    use headwater_flow::status::{Incident, IncidentKind, QuarantinedRow, Status, StoreStatus};

    use super::*;
    use crate::dashboard::PatternScene;

    fn scene() -> Scene {
        let hostile = "<script>alert(1)</script>\" onload=x '";
        let store = StoreStatus {
            name: "near".into(),
            state: PartState::Failed,
            error: Some(hostile.into()),
            quarantined_rows: 1,
            ..StoreStatus::default()
        };
        let row = QuarantinedRow {
            id: 7,
            store: Some("near".into()),
            view: "book".into(),
            key: hostile.into(),
            reason: hostile.into(),
            offset: 3,
        };
        let incident = Incident {
            times: 2,
            evidence: Some(hostile.into()),
            step: Some(hostile.into()),
            approved_by: Some(hostile.into()),
            result: Some(hostile.into()),
            ..Incident::new(0, "store near", IncidentKind::Failed, hostile)
        };
        Scene {
            leading: true,
            status: Status { stores: vec![store], ..Status::default() },
            patterns: vec![PatternScene { name: "book_page".into(), ..PatternScene::default() }],
            quarantine: vec![row],
            incidents: vec![incident],
            operator: true,
            ..Scene::default()
        }
    }

    #[test]
    fn texts_of_others_stay_texts() {
        let page = page(&scene());
        assert_eq!(page.matches("<script").count(), 1, "only our own");
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(!page.contains("\" onload=x"));
        assert!(!page.contains("style=\""), "the policy forbids it");
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
    }

    #[test]
    fn each_of_several_sources_has_its_page_and_its_actions() {
        let named = |name: &str, state| (name.to_owned(), state);
        let sources = vec![named("shop", PartState::Healthy), named("ledger", PartState::Failed)];
        let page = page(&Scene { source: Some("shop".into()), sources, ..scene() });
        assert!(page.contains("href=\"/?source=shop\" aria-current=\"page\""));
        assert!(page.contains("href=\"/?source=ledger\""));
        assert!(page.contains("action=\"/dashboard/quarantine/7/discard?source=shop\""));
    }

    #[test]
    fn states_are_said_in_words_and_actions_are_for_operators() {
        let mut scene = scene();
        let page = page(&scene);
        assert!(page.contains("Store near is <span class=\"state bad\">"));
        assert!(page.contains("action=\"/dashboard/quarantine/7/discard\""));
        scene.operator = false;
        assert!(!live(&scene).contains("<form"));
        scene.leading = false;
        scene.status.source.error = Some("another instance uses the data folder".into());
        assert!(live(&scene).contains("This instance stands by: another instance uses the data folder."));
    }
}
