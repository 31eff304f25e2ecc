//! A commit that waits for a synchronous standby is in the log, and stores show it, while every reader of the source still
//! sees the row as it was. Whoever has seen it is never shown the older row, also when the source has to answer.

use std::sync::Arc;
use std::time::Duration;

use headwater_flow::serve::{Ask, Content, Options, Refused, Reply, Serving};
use headwater_model::{
    Access, AccessPlan, ColumnType, Field, FieldShape, Param, ParamRole, Pattern, PlannedRead, Source, Store,
    View,
};
use headwater_testkit::faults::FaultyStore;
use headwater_testkit::{Folder, eventually};

use crate::hazard::Server;
use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough for the source to be asked several times.
const A_WHILE: Duration = Duration::from_secs(2);

/// `plain` in one store, with the source behind it.
struct Site {
    folder: Folder,
    source: Arc<dyn Source>,
    store: FaultyStore,
    view: View,
}

impl Site {
    fn begin(&self) -> (Life, Serving) {
        let stores = vec![support::named("scratch", Arc::new(self.store.clone()) as Arc<dyn Store>)];
        let options = support::options(&self.folder.join("data"));
        let view = std::slice::from_ref(&self.view);
        let mut life = Life::begin(options, Arc::clone(&self.source), stores.clone(), view);
        life.wait_settled(PATIENCE);
        let value = |name: &str| Field {
            name: name.into(),
            nullable: true,
            shape: FieldShape::Value { kind: ColumnType::Int, type_name: "bigint".into() },
        };
        let plan = AccessPlan {
            access: Access {
                name: "plain".into(),
                pattern: Pattern::Get { view: "plain".into() },
                stores: Vec::new(),
                source: true,
                stale: None,
                rate_per_second: None,
                p99: None,
            },
            read: PlannedRead::Get { view: Arc::new(self.view.clone()) },
            params: vec![Param {
                name: "id".into(),
                role: ParamRole::Key,
                kind: ColumnType::Int,
                type_name: "bigint".into(),
                required: true,
            }],
            fields: vec![value("id"), value("v")],
            stores: vec!["scratch".into()],
        };
        // A slow machine takes its time.
        let options = Options { source_timeout: PATIENCE, ..Options::default() };
        let serving =
            Serving::new(life.handle.clone(), Arc::clone(&self.source), &stores, vec![plan], options);
        (life, serving)
    }
}

async fn read(serving: &Serving, after: Option<&str>, within: Duration) -> Result<Reply, Refused> {
    let params = vec![("id".to_owned(), "2".to_owned())];
    let ask = Ask { params, after: after.map(str::to_owned), within: Some(within) };
    serving.answer("plain", &ask).await
}

/// The row's value, and who gave it.
fn told(reply: &Reply) -> (i64, &str) {
    let Content::Document(Some(document)) = &reply.content else { panic!("{reply:?}") };
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    (document["v"].as_i64().unwrap(), reply.shown.store.as_deref().unwrap_or("source"))
}

#[test]
fn a_reader_of_a_commit_that_hangs_is_never_shown_the_older_row_by_the_source() {
    support::log();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut server = runtime.block_on(Server::start());
    let site = Site {
        folder: Folder::new("hidden"),
        source: server.source(),
        store: FaultyStore::new(support::store("memory:", &[])),
        view: support::flat("plain", "plain", &["scratch"]),
    };
    let (life, serving) = site.begin();
    let before = runtime.block_on(read(&serving, None, PATIENCE)).unwrap();
    assert_eq!(told(&before), (20, "scratch"));
    let before = before.shown.position.unwrap();

    let hanging = runtime.block_on(server.hang());
    let shown = runtime.block_on(async {
        eventually(PATIENCE, "the store shows the commit that hangs", async || {
            let reply = read(&serving, None, PATIENCE).await.unwrap();
            if told(&reply) == (200, "scratch") { Ok(()) } else { Err(format!("{reply:?}")) }
        })
        .await;
        let reply = read(&serving, None, PATIENCE).await.unwrap();
        reply.shown.position.unwrap()
    });
    assert_eq!(server.postgres.psql("SELECT v FROM plain WHERE id = 2"), "20", "readers see the old row");

    // The source cannot give what was seen, so nobody can.
    site.store.sever();
    let refused = |refused: Result<Reply, Refused>| match refused {
        Err(Refused::Behind { unseen: Some(_), .. }) => {}
        other => panic!("{other:?}"),
    };
    refused(runtime.block_on(read(&serving, Some(&shown), A_WHILE)));
    // Whoever has not seen it is answered as ever.
    let reply = runtime.block_on(read(&serving, Some(&before), PATIENCE)).unwrap();
    assert_eq!(told(&reply), (20, "source"));
    let reply = runtime.block_on(read(&serving, None, PATIENCE)).unwrap();
    assert_eq!(told(&reply), (20, "source"));

    // Nor by a service that has not followed it itself.
    site.store.behave();
    life.crash();
    let (life, serving) = site.begin();
    let reply = runtime.block_on(read(&serving, Some(&shown), PATIENCE)).unwrap();
    assert_eq!(told(&reply), (200, "scratch"));
    site.store.sever();
    refused(runtime.block_on(read(&serving, Some(&shown), A_WHILE)));

    // It is answered as soon as the source shows it.
    runtime.block_on(async {
        let waits = read(&serving, Some(&shown), PATIENCE);
        let ((), reply) = tokio::join!(server.release(hanging), waits);
        assert_eq!(told(&reply.unwrap()), (200, "source"));
    });
    site.store.behave();
    life.stop();
    drop(server);
}
