//! The examples in the repository are files that can be read.

use headwater_model::file::File;

use crate::support::Env;

#[test]
fn every_example_reads() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().join("headwater.toml");
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(errors) = File::load(&text, &Env) {
            panic!("{}: {errors}", path.display());
        }
        count += 1;
    }
    assert!(count >= 4, "only {count} examples in {folder}");
}
