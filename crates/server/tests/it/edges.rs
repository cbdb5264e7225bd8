//! The map of ARCHITECTURE.md, compared with what cargo says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const ALLOWED: &str = include_str!("edges.txt");

/// `name -> what it may use`, and `dependency -> who may use it`.
type Rules = BTreeMap<String, BTreeSet<String>>;

fn rules() -> (Rules, Rules) {
    let (mut edges, mut homes) = (Rules::new(), Rules::new());
    for line in ALLOWED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (left, right) = line.split_once(':').unwrap();
        let names = right.split_whitespace().map(str::to_owned).collect();
        match left.strip_prefix("only ") {
            Some(dependency) => homes.insert(dependency.to_owned(), names),
            None => edges.insert(left.to_owned(), names),
        };
    }
    (edges, homes)
}

#[expect(clippy::disallowed_methods, reason = "a test asks cargo")]
fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn dependencies_point_down_only() {
    let (edges, homes) = rules();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert_eq!(
        ours,
        edges.keys().map(String::as_str).collect(),
        "edges.txt and the workspace name the same crates"
    );

    let mut offences = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"] == "dev";
            if ours.contains(used) && !edges[name].contains(used) && !for_tests {
                offences.push(format!("{name} uses {used}"));
            }
            if let Some(allowed) = homes.get(used)
                && !allowed.contains(name)
                && !for_tests
            {
                offences.push(format!("{name} uses {used}, whose home is {allowed:?}"));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}
