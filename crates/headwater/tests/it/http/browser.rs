//! The page in a real browser: what a person sees and does. Screenshots of the last run lie in `target/page`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::client::Client;
use super::{SHOP, open_shop};
use crate::service::Service;

/// Set by `cargo xtask test` where there is no browser to be had, which it then says.
const WITHOUT: &str = "HEADWATER_WITHOUT_BROWSER";

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/http/browser.cjs");

const MORE: &str = r#"
stale = "5s"
p99 = "30s"
rate = "1000/s"
[views.copies]
from = "books"
columns = ["id", "copies"]
store = ["local", { name = "memory", hold = "5" }]
[access.copies]
get = "copies"
[serve]
listen = "127.0.0.1:0"
[serve.tokens]
people = { role = "viewer", token_file = "viewer" }
operators = { role = "operator", token_file = "operator" }
"#;

fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    names.into_iter().find_map(headwater_testkit::program)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_use_the_page_with_eyes_keyboard_and_phone() {
    let Some(browser) = browser() else {
        assert!(std::env::var_os(WITHOUT).is_some(), "Chromium is missing: `cargo xtask test` installs it");
        return;
    };
    let target = Path::new(env!("CARGO_BIN_EXE_headwater")).ancestors().nth(2).unwrap();
    let modules = target.join("node/node_modules");
    assert!(modules.join("puppeteer-core").exists(), "puppeteer is missing: `cargo xtask test` installs it");
    let shots = target.join("page");
    std::fs::create_dir_all(&shots).unwrap();

    let small = SHOP.replace("{ url = \"memory:\" }", "{ url = \"memory:\", bytes_max = \"1MiB\" }");
    let service = Service::new_unread("browser", &format!("{small}{MORE}"));
    std::fs::write(service.path("viewer"), "viewer-viewer-viewer").unwrap();
    std::fs::write(service.path("operator"), "operator-operator").unwrap();
    let db = open_shop(&service);
    service.start();
    let url = service.url().await;
    service.healthy().await;
    db.execute_batch("UPDATE books SET title = printf('<b>%.*c', 3000000, 'x') WHERE id = 7").unwrap();
    let client = Client::of(&service).await.with("Authorization", "Bearer viewer-viewer-viewer");
    let done = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        // Something goes on while they look.
        let done_looking = &done;
        scope.spawn(move || {
            for n in 0.. {
                if done_looking.load(Ordering::SeqCst) {
                    break;
                }
                let id = 1 + n % 30;
                db.execute_batch(&format!("UPDATE reviews SET stars = {} WHERE book_id = {id}", n % 5))
                    .unwrap();
                for target in ["book_page?id", "copies?id", "reviews_of_book?book_id"] {
                    client.get(&format!("/v1/{target}={}", 1 + n % 6)).expect(200);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let output = Command::new("node")
            .env("NODE_PATH", &modules)
            .args([PROGRAM, &url, "operator-operator", "viewer-viewer-viewer"])
            .args([&shots, &browser])
            .stdin(Stdio::null())
            .output();
        done.store(true, Ordering::SeqCst);
        output.unwrap()
    });
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim() == "fine", "{said}");
    service.stop();
}
