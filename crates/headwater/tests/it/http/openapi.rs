//! `/openapi.json`, judged by clients that were not written for us.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::Client;
use super::{SHOP, open_shop, shop};
use crate::service::Service;

/// What `cargo xtask test` installs for us.
fn python() -> PathBuf {
    // The program under test lies in `target/PROFILE`.
    let target = Path::new(env!("CARGO_BIN_EXE_headwater")).ancestors().nth(2).unwrap();
    let program = target.join("python/bin/python");
    assert!(program.is_file(), "{} is missing: `cargo xtask test` makes it", program.display());
    program
}

fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_what_is_answered() {
    let (service, _db, client) = shop("openapi", "").await;
    let document = client.get("/openapi.json").expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let operation = &document["paths"]["/v1/reviews_of_book"]["get"];
    let names: Vec<&str> =
        operation["parameters"].as_array().unwrap().iter().filter_map(|own| own["name"].as_str()).collect();
    assert_eq!(names, ["book_id", "from", "to", "limit", "reverse", "cursor"]);
    let book = &document["components"]["schemas"]["book_page_document"];
    assert!(book["properties"]["author"]["anyOf"][0]["properties"]["name"].is_object(), "{book}");
    assert_eq!(book["properties"]["reviews"]["type"], "array");
    assert!(document.get("security").is_none(), "without tokens nobody needs one");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_server_error_and_no_answer_beside_the_schema() {
    let service = Service::new("schemathesis", SHOP);
    let _db = open_shop(&service);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    // Positions are of one history only: random ones wait for what never comes.
    let settings = "[parameters]\n\"header.Headwater-After\" = \"1\"\n\"header.Headwater-Within\" = \"1s\"\n";
    std::fs::write(service.path("schemathesis.toml"), settings).unwrap();
    let said = ran(Command::new(python().with_file_name("schemathesis"))
        .current_dir(service.path("."))
        .args(["run", "--seed", "1", "--max-examples", "60", "--generation-deterministic", "--no-color"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
        .args(["--checks", "response_headers_conformance,response_schema_conformance"])
        .args(["--checks", "unsupported_method,missing_required_header"])
        .arg(format!("http://{}/openapi.json", client.address)));
    assert!(said.contains("No issues found"), "{said}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_reads() {
    let (service, _db, client) = shop("generated", "").await;
    let python = python();
    ran(Command::new(python.with_file_name("openapi-python-client"))
        .current_dir(service.path("."))
        .args(["generate", "--meta", "none", "--output-path", "shop_client", "--url"])
        .arg(format!("http://{}/openapi.json", client.address)));
    let program = format!(
        "from shop_client import Client\n\
         from shop_client.api.default import book_page, book_page_batch_get, reviews_of_book\n\
         client = Client(base_url='http://{}')\n\
         book = book_page.sync(client=client, id='7')\n\
         assert book.title == 'Book 7' and book.author.name == 'Bo', book\n\
         assert book.copies == 9007199254740993, book\n\
         page = reviews_of_book.sync(client=client, book_id='7', limit=3)\n\
         assert len(page.items) == 3 and page.next_, page\n\
         rest = reviews_of_book.sync(client=client, book_id='7', cursor=page.next_, limit=3)\n\
         assert len(rest.items) == 3 and rest.items[0].id not in [item.id for item in page.items]\n\
         books = book_page_batch_get.sync(client=client, id=['9', '777', '1'])\n\
         assert [book and book.title for book in books.items] == ['Book 9', None, 'Book 1'], books\n\
         response = book_page.sync_detailed(client=client, id='7777')\n\
         assert response.status_code == 404 and response.parsed.type_ == '/problems/no-document', response\n",
        client.address
    );
    ran(Command::new(python).current_dir(service.path(".")).args(["-c", &program]));
    service.stop();
}
