//! What lies in DynamoDB Local, asked for in plain HTTP, without an SDK.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use headwater_model::View;
use serde_json::{Value as Json, json};

use super::{Body, Found};

const PATIENCE: Duration = Duration::from_secs(60);

/// A table per view, named by prefix and view. What is marked to be removed is no document.
pub fn found(port: u16, prefix: &str, views: &[View]) -> Found {
    let mut found = Found::new();
    for view in views {
        let documents = found.entry(view.name.to_string()).or_default();
        let mut ask = json!({ "TableName": table(prefix, &view.name), "ConsistentRead": true });
        loop {
            let mut page = request(port, "Scan", &ask);
            if page["__type"].as_str().is_some_and(|kind| kind.ends_with("ResourceNotFoundException")) {
                break;
            }
            let Json::Array(items) = page["Items"].take() else { panic!("Scan of {ask}: {page}") };
            for item in items {
                if let Some((key, body)) = document(&item) {
                    documents.insert(key, body);
                }
            }
            match page["LastEvaluatedKey"].take() {
                Json::Null => break,
                last => ask["ExclusiveStartKey"] = last,
            }
        }
    }
    found
}

fn table(prefix: &str, view: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(view.chars().all(plain), "a view whose name is one of a table as it is");
    format!("{prefix}{view}")
}

fn document(item: &Json) -> Option<(String, Body)> {
    let item = item.as_object().expect("an item");
    if item.contains_key("hw_expires") {
        return None;
    }
    let key = item["hw_key"]["S"].as_str().expect("the key's text").to_owned();
    if let Some(document) = item.get("document") {
        return Some((key, Body::Json(document["S"].as_str().expect("a text").as_bytes().to_vec())));
    }
    let mut fields = BTreeMap::new();
    for (name, value) in item.iter().filter(|(name, _)| !name.starts_with("hw_")) {
        let exact = item.get(&format!("hw_as_{name}")).and_then(|exact| exact["S"].as_str());
        fields.insert(name.clone(), exact.map_or_else(|| text(value), |exact| exact.as_bytes().to_vec()));
    }
    Some((key, Body::Fields(fields)))
}

fn text(value: &Json) -> Vec<u8> {
    let (kind, value) = value.as_object().and_then(|value| value.iter().next()).expect("one type per value");
    match (&**kind, value) {
        ("S" | "N", Json::String(text)) => text.clone().into_bytes(),
        ("BOOL", Json::Bool(flag)) => flag.to_string().into_bytes(),
        ("NULL", _) => Vec::new(),
        ("B", Json::String(base64)) => bytes(base64).into_bytes(),
        _ => panic!("an attribute of type {kind}: {value}"),
    }
}

/// Base64 as the text of bytes.
pub(super) fn bytes(base64: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = base64.bytes().filter(|digit| *digit != b'=');
    let (mut text, mut bits, mut held) = ("\\x".to_owned(), 0_u32, 0);
    for digit in digits {
        let value = DIGITS.iter().position(|known| *known == digit).expect("a digit of base64");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            text.push_str(&format!("{:02x}", (bits >> held) & 0xff));
        }
    }
    text
}

/// The reply's body. The service looks at who asks, but not whether it is true.
pub(crate) fn request(port: u16, operation: &str, body: &Json) -> Json {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect to DynamoDB Local");
    stream.set_read_timeout(Some(PATIENCE)).expect("set the timeout");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n\
         Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=checker/20260101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host, Signature=none\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).expect("ask DynamoDB Local");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("read the reply");
    let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    serde_json::from_slice(&reply[end..])
        .unwrap_or_else(|e| panic!("{operation}: {e} in {}", String::from_utf8_lossy(&reply)))
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn base64_becomes_hex() {
        for (base64, text) in [("", "\\x"), ("AA==", "\\x00"), ("AP8=", "\\x00ff"), ("AQID", "\\x010203")] {
            assert_eq!(bytes(base64), text, "{base64}");
        }
    }
}
