//! What must hold for any bytes that an LFS client sends. Shared by the fuzz targets and by the test that replays their
//! corpora.

use lfs::wire::batch::{self, Answer, Outcome, Request, Response, Subject, Transfer};
use lfs::wire::{Limits, locks, transfer};

/// A request within small limits, whose objects can all be answered, or an error that can be told to the client.
pub fn lfs_batch(data: &[u8]) {
    match Request::parse(data, &limits()) {
        Ok(request) => {
            assert!((1..=8).contains(&request.objects.len()));
            let of_another_hash = |object: &Result<_, batch::Unreadable>| {
                object.as_ref().is_err_and(|unreadable| unreadable.why == batch::Why::HashAlgo)
            };
            let objects = &request.objects;
            assert!(objects.iter().any(Result::is_ok) || objects.iter().all(of_another_hash));
            assert!(request.ref_name.as_ref().is_none_or(|name| !name.is_empty() && name.len() <= 64));
            let answer = |object: &Result<batch::Object, batch::Unreadable>| match object {
                Ok(object) => {
                    assert!(object.size.is_some() || request.operation == batch::Operation::Download);
                    let subject = Subject::Object(object.sha256);
                    Answer { subject, size: object.size.unwrap_or(0), outcome: Outcome::Present }
                }
                Err(unreadable) => {
                    assert!(unreadable.oid.len() <= batch::OID_BYTES_MAX);
                    told(&unreadable.why.to_string());
                    unreadable.answer()
                }
            };
            let objects: Vec<Answer> = request.objects.iter().map(answer).collect();
            let count = objects.len();
            let json = Response { transfer: Transfer::Basic, objects }.to_json();
            let json: serde_json::Value = serde_json::from_slice(&json).expect("because we wrote it");
            assert_eq!(json["objects"].as_array().map(Vec::len), Some(count));
        }
        Err(error) => {
            told(&error.to_string());
            assert!([413, 422].contains(&error.code().number()));
        }
    }
}

/// Parts in order and within limits, or an error that can be told to the client.
pub fn lfs_transfer(data: &[u8]) {
    match transfer::Complete::parse(data, &limits()) {
        Ok(complete) => {
            assert!((1..=8).contains(&complete.parts.len()));
            assert!(complete.parts.is_sorted_by(|one, next| one.0 < next.0));
            assert!(complete.parts.iter().all(|(number, etag)| (1..=8).contains(number) && !etag.is_empty()));
        }
        Err(error) => told(&error.to_string()),
    }
    match transfer::Verify::parse(data, &limits()) {
        Ok(verify) => assert!(verify.size <= i64::MAX as u64),
        Err(error) => told(&error.to_string()),
    }
}

/// The first byte chooses: 0 a lock, 1 a query, 2 a verification, 3 an unlocking, 4 a path.
pub fn lfs_locks(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let page = |page: locks::Page| assert!((1..=8).contains(&page.limit));
    let text = std::str::from_utf8(data);
    let error = match choice {
        0 => locks::Create::parse(data, &limits())
            .map(|create| assert_eq!(locks::check_path(&create.path, &limits()), Ok(())))
            .err(),
        1 => {
            text.ok().and_then(|query| locks::List::parse(query, &limits()).map(|list| page(list.page)).err())
        }
        2 => locks::Verify::parse(data, &limits()).map(|verify| page(verify.page)).err(),
        3 => locks::Unlock::parse(data, &limits()).err(),
        4 => text.ok().and_then(|path| match locks::check_path(path, &limits()) {
            Ok(()) => {
                // What is locked is a path that git can hold: joined to a directory, it stays within it.
                let inside = |part| matches!(part, std::path::Component::Normal(_));
                assert!(std::path::Path::new(path).components().all(inside));
                assert!(path.len() <= 64);
                None
            }
            Err(error) => Some(error.into()),
        }),
        _ => None,
    };
    if let Some(error) = error {
        told(&error.to_string());
    }
}

fn limits() -> Limits {
    Limits { body_bytes: 4096, objects: 8, parts: 8, path_bytes: 64, ref_bytes: 64, locks: 8 }
}

/// Messages are short and print on one line.
fn told(message: &str) {
    assert!(message.len() < 1024 && !message.chars().any(char::is_control), "{message:?}");
}
