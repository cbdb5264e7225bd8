//! Numbers to look at: MB/s and CPU-seconds. `GRANARY_TEST_DIR` says on which file system.

use std::future::Future;
use std::time::{Duration, Instant};

use database::{Clock, Quota};
use xet::xorb::Compression;

use crate::store::{create, made, open, read};
use crate::support::make;

const XORBS: u64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers; run it with --release"]
async fn of_the_store() {
    for (kind, compression) in
        [("random", Compression::None), ("floats", Compression::Bg4Lz4), ("text", Compression::Lz4)]
    {
        let directory = match std::env::var("GRANARY_TEST_DIR") {
            Ok(root) => tempfile::tempdir_in(root).unwrap(),
            Err(_) => tempfile::tempdir().unwrap(),
        };
        let (db, cas) = open(directory.path(), &Clock::default(), xet::Config::default());
        db.create_user("acme".parse().unwrap(), false).await.unwrap();
        let repo = create(&db, "acme/model").await;
        let access = || auth::Authorized::<auth::Propose>::system("speed", repo.clone());
        let files: Vec<_> =
            (0..XORBS).map(|seed| made(&make(kind, seed, 60 << 20), 8192, compression)).collect();
        let bytes: u64 = files.iter().map(crate::store::Made::size).sum();
        measured(&format!("{kind}: receive and prove"), bytes, async {
            for made in &files {
                let (hash, body, _) = &made.xorbs[0];
                let mut receiving = cas.receive_xorb(access(), *hash, None).await.unwrap();
                for frame in body.chunks(256 * 1024) {
                    // As from a connection: in memory of its own.
                    receiving.write(frame.to_vec().into()).await.unwrap();
                }
                receiving.finish().await.unwrap();
            }
        })
        .await;
        let mut ids = Vec::new();
        for made in &files {
            let started = Instant::now();
            let checked = cas.check_shard(made.shard().into(), |_| {}).await.unwrap().objects().unwrap();
            cas.commit_shard(access(), Quota::Exempt, checked).await.unwrap();
            if ids.is_empty() {
                println!("{kind}: shard of {} chunks in {:?}", made.xorbs[0].2.chunks(), started.elapsed());
            }
            ids.push(db.xet_file_of(repo.id, &made.hash.into()).unwrap().unwrap());
        }
        for _ in 0..2 {
            measured(&format!("{kind}: read back"), bytes, async {
                for file in &ids {
                    let mut stream = cas.stream(file, 0..file.size).await.unwrap();
                    while let Some(piece) = stream.next().await.unwrap() {
                        assert!(!piece.is_empty());
                    }
                }
            })
            .await;
        }
        let started = Instant::now();
        let middle = ids[0].size / 2;
        for _ in 0..1000 {
            read(cas.stream(&ids[0], middle..middle + 1000).await.unwrap()).await;
        }
        println!("{kind}: a range of 1000 bytes in {:?}", started.elapsed() / 1000);
    }
}

async fn measured(what: &str, bytes: u64, work: impl Future<Output = ()>) {
    let (started, before) = (Instant::now(), cpu());
    work.await;
    let (wall, after) = (started.elapsed().as_secs_f64(), cpu());
    let [user, system] = [0, 1].map(|n| (after[n] - before[n]).as_secs_f64());
    let (mb, gib) = (bytes as f64 / 1e6, bytes as f64 / (1u64 << 30) as f64);
    println!(
        "{what}: {:.0} MB/s, {:.2} CPU-s/GiB ({:.2} in the kernel), {:.0} MB per CPU-s",
        mb / wall,
        (user + system) / gib,
        system / gib,
        mb / (user + system)
    );
}

/// Of this process and of the kernel for it, by ticks of 10 ms.
fn cpu() -> [Duration; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    [11, 12].map(|field: usize| Duration::from_millis(fields[field].parse::<u64>().unwrap() * 10))
}
