//! Numbers to look at: MB/s and CPU-seconds of the disk engine alone. `GRANARY_TEST_DIR` says on which file system.

use std::time::Instant;

use storage::{Disk, ObjectStore};

use crate::support::{config, pattern};

const GIB: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers; run it with --release"]
async fn of_the_disk() {
    let directory = match std::env::var("GRANARY_TEST_DIR") {
        Ok(root) => tempfile::tempdir_in(root).unwrap(),
        Err(_) => tempfile::tempdir().unwrap(),
    };
    let store = ObjectStore::on(Disk::open(directory.path()).unwrap());
    let frame = pattern(256 * 1024);
    for round in 0..3 {
        let key = format!("objects/aa/{round}/one");
        measured("receive and hash", GIB, async {
            let mut writer = store.writer(&key, GIB).await.unwrap();
            for _ in 0..GIB / frame.len() as u64 {
                // As from a connection: in memory of its own.
                writer.write(frame.to_vec().into()).await.unwrap();
            }
            writer.finish().await.unwrap().publish().await.unwrap();
        })
        .await;
        measured("read", GIB, async {
            let mut reader = store.reader(&key, 0..GIB).await.unwrap();
            while let Some(piece) = reader.next().await.unwrap() {
                assert!(!piece.is_empty());
            }
        })
        .await;
        measured("read back", GIB, async {
            store.sha256(&key).await.unwrap();
        })
        .await;
        let small = format!("objects/aa/{round}/small");
        let started = Instant::now();
        crate::support::put(&store, &small, &pattern(1000)).await.unwrap();
        println!("small object stored in {:?}", started.elapsed());
        let started = Instant::now();
        for _ in 0..10_000 {
            let mut reader = store.reader(&small, 0..1000).await.unwrap();
            assert_eq!(reader.next().await.unwrap().unwrap().len(), 1000);
        }
        println!("small object read in {:?}", started.elapsed() / 10_000);
        store.delete(&key, GIB).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers, and needs an S3 server; run it with --release"]
async fn of_a_bucket() {
    let mut config = config(&std::env::var("GRANARY_TEST_S3").unwrap());
    (config.part_size, config.part_buffers) = (16 << 20, 16);
    let store = ObjectStore::s3(config).await.unwrap();
    let key = "objects/aa/speed/one";
    let frame = pattern(256 * 1024);
    measured("pass through", GIB, async {
        let mut writer = store.writer(key, GIB).await.unwrap();
        for _ in 0..GIB / frame.len() as u64 {
            writer.write(frame.to_vec().into()).await.unwrap();
        }
        writer.finish().await.unwrap().publish().await.unwrap();
    })
    .await;
    measured("read", GIB, async {
        let mut reader = store.reader(key, 0..GIB).await.unwrap();
        while let Some(piece) = reader.next().await.unwrap() {
            assert!(!piece.is_empty());
        }
    })
    .await;
    measured("read back", GIB, async {
        store.sha256(key).await.unwrap();
    })
    .await;
    store.delete(key, GIB).await.unwrap();
}

async fn measured(what: &str, bytes: u64, work: impl Future<Output = ()>) {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    work.await;
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = (cpu_seconds() - cpu) / (bytes as f64 / GIB as f64);
    println!("{what}: {:.0} MB/s, {cpu:.2} CPU-s/GiB", bytes as f64 / 1e6 / elapsed);
}

/// Of this process, user and system, by the clock ticks of proc(5).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
