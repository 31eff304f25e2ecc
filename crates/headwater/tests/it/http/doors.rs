//! Who gets in: tokens, hosts, TLS, and ports that are taken.

use std::io::Write;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

use super::client::{Client, Response};
use super::{SHOP, open_shop, problem, shop};
use crate::service::Service;

const TOKENS: &str = "[serve]\nlisten = \"127.0.0.1:0\"\n[serve.tokens]\n\
                      app = { role = \"viewer\", token_file = \"viewer\" }\n\
                      ops = { role = \"operator\", token_file = \"operator\" }\n";

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_nothing_is_told_without_one() {
    let service = Service::new_unread("tokens", &format!("{SHOP}{TOKENS}"));
    std::fs::write(service.path("viewer"), "a-token-for-the-application").unwrap();
    std::fs::write(service.path("operator"), "another-for-those-who-act").unwrap();
    open_shop(&service);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    for path in ["/v1/book_page?id=1", "/v1/nothing", "/openapi.json", "/status.json", "/", "/nothing"] {
        let refused = client.get(path);
        problem(&refused, 401, "unauthenticated");
        assert!(refused.header("www-authenticate").is_some_and(|way| way.starts_with("Bearer")));
        for token in ["", "a-token", "a-token-for-the-application2"] {
            let guess = client.with("Authorization", &format!("Bearer {token}"));
            problem(&guess.get(path), 401, "unauthenticated");
        }
    }
    for path in ["/livez", "/readyz", "/problems", "/problems/behind"] {
        client.get(path).expect(200);
    }
    let viewer = client.with("Authorization", "Bearer a-token-for-the-application");
    viewer.get("/v1/book_page?id=1").expect(200);
    viewer.with("Host", "shop.example").get("/v1/book_page?id=1").expect(200);
    problem(&viewer.ask("POST", "/v1/book_page?id=1"), 403, "forbidden");
    let operator = client.with("Authorization", "Bearer another-for-those-who-act");
    operator.get("/openapi.json").expect(200);
    problem(&operator.ask("POST", "/v1/book_page?id=1"), 405, "method-not-allowed");
    assert!(!service.log().contains("a-token-for"), "tokens are not logged");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_a_foreign_name_is_refused() {
    let (service, _db, client) = shop("rebinding", "").await;
    client.with("Host", "localhost").get("/v1/book_page?id=1").expect(200);
    problem(&client.with("Host", "evil.example").get("/v1/book_page?id=1"), 421, "foreign-host");
    let mut bare = client.connect();
    bare.write_all(b"GET /v1/book_page?id=1 HTTP/1.0\r\n\r\n").unwrap();
    problem(&super::client::answer(&mut bare), 421, "foreign-host");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_and_nothing_else_where_it_is_asked_for() {
    let tls = "[serve]\nlisten = \"127.0.0.1:0\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    let service = Service::new("tls", &format!("{SHOP}{tls}"));
    open_shop(&service);
    service.start();
    let status = service.wait();
    assert_eq!(status.code(), Some(1), "{}", service.log_tail());
    assert!(service.log().contains("cert.pem") && service.log().contains("help:"), "{}", service.log_tail());

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(service.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(service.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    service.start();
    assert!(service.url().await.starts_with("https://"));
    let client = Client::of(&service).await;
    service.healthy().await;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(client.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(&client.request("GET", "/v1/book_page?id=1")).await.unwrap();
    let mut bytes = Vec::new();
    // The end of the connection without a goodbye is the end all the same.
    let _ = stream.read_to_end(&mut bytes).await;
    assert_eq!(Response::parse(&bytes).expect(200).json()["id"], 1);

    // Plain HTTP gets no answer that could be taken for one.
    let mut plain = client.connect();
    plain.write_all(&client.request("GET", "/livez")).unwrap();
    let mut bytes = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut bytes);
    assert!(!bytes.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&bytes));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_said_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let service = Service::new("taken", &format!("{SHOP}[serve]\nlisten = \"{address}\"\n"));
    open_shop(&service);
    service.start();
    assert_eq!(service.wait().code(), Some(1));
    let log = service.log();
    assert!(log.contains(&format!("cannot listen on {address}")) && log.contains("\"off\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_takes_the_port_over() {
    let port = headwater_testkit::free_port();
    let shared = headwater_testkit::Folder::new("shared");
    let file = |service: &str| {
        format!(
            "data = \"{0}/data\"\n{1}[serve]\nlisten = \"127.0.0.1:{port}\"\n# {service}\n",
            shared.path().display(),
            SHOP.replace("sqlite:shop.db", &format!("sqlite:{}/shop.db", shared.path().display()))
                .replace("sqlite:derived.db", &format!("sqlite:{}/derived.db", shared.path().display()))
        )
    };
    let (one, two) = (Service::new("first", &file("first")), Service::new("second", &file("second")));
    super::open_shop_in(shared.path());
    one.start();
    one.healthy().await;
    let client = Client::at(port);
    client.get("/v1/book_page?id=1").expect(200);
    two.start();
    two.says(0, &["another instance of this folder has the port"]).await;
    one.kill();
    two.eventually("the second answers", async || match client.try_get("/readyz") {
        Some(response) if response.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    client.get("/v1/book_page?id=1").expect(200);
    two.stop();
}
