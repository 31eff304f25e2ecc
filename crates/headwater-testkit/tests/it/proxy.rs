use std::time::{Duration, Instant};

use headwater_testkit::Redis;
use headwater_testkit::faults::Proxy;

async fn ping(connection: &mut redis::aio::MultiplexedConnection) -> redis::RedisResult<String> {
    redis::cmd("PING").query_async(connection).await
}

#[tokio::test]
async fn a_proxy_delays_holds_cuts_and_mends() {
    let engine = Redis::start();
    let proxy = Proxy::to(engine.port()).await;
    let client = redis::Client::open(proxy.url(&engine.url(), engine.port())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    assert_eq!(ping(&mut connection).await.unwrap(), "PONG");
    assert!(proxy.passed_bytes() > 0);

    proxy.delay(Duration::from_millis(60));
    let started = Instant::now();
    ping(&mut connection).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(120), "there and back");

    proxy.mend();
    proxy.hold();
    assert!(tokio::time::timeout(Duration::from_millis(200), ping(&mut connection)).await.is_err());
    proxy.mend();
    assert_eq!(ping(&mut connection).await.unwrap(), "PONG");

    proxy.cut();
    assert!(ping(&mut connection).await.is_err());
    assert!(client.get_multiplexed_async_connection().await.is_ok());
    proxy.refuse();
    assert!(client.get_multiplexed_async_connection().await.is_err());
    proxy.mend();
    assert!(client.get_multiplexed_async_connection().await.is_ok());
}

#[tokio::test]
async fn a_held_reply_belongs_to_a_request_that_took_effect_and_a_proxy_can_lead_elsewhere() {
    let (one, two) = (Redis::start(), Redis::start());
    let proxy = Proxy::to(one.port()).await;
    let client = redis::Client::open(proxy.url(&one.url(), one.port())).unwrap();
    let set = async |value: &str| -> redis::RedisResult<String> {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("SET").arg("k").arg(value).query_async(&mut connection).await
    };
    set("first").await.unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    proxy.hold_replies();
    let mut write = redis::cmd("SET");
    let write = write.arg("k").arg("second").query_async::<String>(&mut connection);
    assert!(tokio::time::timeout(Duration::from_millis(300), write).await.is_err(), "no reply");
    assert_eq!(one.cli(&["GET", "k"]), "second");
    proxy.mend();
    proxy.hold_requests();
    let ping = ping(&mut connection);
    assert!(tokio::time::timeout(Duration::from_millis(300), ping).await.is_err(), "not asked");
    proxy.mend();

    proxy.lead_to(two.port());
    set("third").await.unwrap();
    assert_eq!((one.cli(&["GET", "k"]), two.cli(&["GET", "k"])), ("second".into(), "third".into()));
}
