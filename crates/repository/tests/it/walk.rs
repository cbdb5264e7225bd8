//! Selections, shallow boundaries and ancestry, compared with what git answers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use database::{Oid, PackKind, RefRow};
use repository::pack::BlobBuilder;
use repository::walk::{
    Depth, Filter, INFINITE_DEPTH, Interrupted, Query, Selection, Shallow, WalkError, WalkLimits, closure,
    deepen, is_ancestor, reaches, select,
};
use repository::{Kind, Pack, ReadError, Snapshot, object};

use crate::histories::{self, Dice, Git};

const LIMITS: WalkLimits = WalkLimits { commits_max: 1_000_000 };

type Set = BTreeSet<Oid>;

/// A history of branches that part and meet, with everything a tree can hold.
pub struct History {
    pub git: Git,
    pub s: Snapshot,
    /// In the order they were made, each after its parents.
    pub commits: Vec<Oid>,
    pub tips: Vec<Oid>,
    /// Annotated tags: of commits, of a tag, of a tree, of a blob.
    pub tags: Vec<Oid>,
}

/// How the objects are spread over packs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packs {
    One,
    /// Of half of the history and of all of it: most objects lie twice.
    Overlapping,
    /// As pushed piece by piece; deltas across the pieces were completed.
    Pushed,
}

impl History {
    /// `skew`: dates lie by up to so many seconds; commits are a minute apart.
    pub fn random(seed: u64, commits: usize, skew: usize, packs: Packs) -> History {
        let git = Git::init();
        let mut dice = Dice::new(seed + 1);
        git.pipe(&["fast-import", "--quiet", "--force"], &stream(&mut dice, commits, skew));
        let listed = git.run(&["rev-list", "--all", "--reverse", "--topo-order"]);
        let commits = oids(&listed);
        let tips: Vec<Oid> = oids(&git.run(&["for-each-ref", "--format=%(objectname)", "refs/heads"]));
        let mut tags = Vec::new();
        let mut tag = |name: &str, target: &str, kind: &str| {
            let text =
                format!("object {target}\ntype {kind}\ntag {name}\ntagger A <a@b> 1700000000 +0000\n\nx\n");
            let oid = String::from_utf8(git.pipe(&["mktag"], text.as_bytes())).unwrap().trim().to_owned();
            git.run(&["update-ref", &format!("refs/tags/{name}"), &oid]);
            tags.push(oid.parse().unwrap());
            oid
        };
        let middle = commits[commits.len() / 2].to_string();
        let tree = git.run(&["rev-parse", &format!("{middle}^{{tree}}")]);
        let blob = git.run(&["rev-parse", &format!("{middle}:same.txt")]);
        let inner = tag("inner", &middle, "commit");
        tag("outer", &inner, "tag");
        tag("tip", &tips[0].to_string(), "commit");
        tag("tree", &tree, "tree");
        tag("blob", &blob, "blob");
        let s = snapshot(&git, blobs(&git, &commits, packs));
        History { git, s, commits, tips, tags }
    }

    pub fn select(&self, query: &Query) -> Selection {
        select(&self.s, query, &LIMITS, &mut |_| Ok(())).unwrap()
    }

    /// What is selected; each object once.
    pub fn selected(&self, query: &Query) -> Set {
        let selection = self.select(query);
        let set: Set = selection.entries().iter().map(|&entry| self.s.oid_at(entry)).collect();
        assert_eq!(set.len(), selection.entries().len(), "{query:?}");
        assert!(selection.entries().iter().all(|&entry| selection.contains(entry)));
        set
    }

    pub fn closure(&self, roots: &[Oid]) -> Set {
        rev_list(&self.git, &["--objects"], roots, &[])
    }

    pub fn some(&self, dice: &mut Dice, count: usize) -> Vec<Oid> {
        (0..count).map(|_| self.commits[dice.roll(self.commits.len())]).collect()
    }
}

fn stream(dice: &mut Dice, commits: usize, skew: usize) -> Vec<u8> {
    let mut text = String::new();
    let directories = ["", "a/", "a/b/", "a/b/c/", "d/", "d-e/", "d.f/g/"];
    for nth in 1..=commits {
        let branch = if nth < 4 { 0 } else { dice.roll(3) };
        let mut seconds = 1_700_000_000 + 60 * nth;
        if skew > 0 {
            seconds = seconds + dice.roll(2 * skew) - skew;
        }
        write!(
            text,
            "commit refs/heads/b{branch}\nmark :{nth}\ncommitter A <a@b> {seconds} +0000\ndata 1\nx\n"
        )
        .unwrap();
        // A branch that is new starts anywhere; sometimes two or three lines meet; sometimes a new root appears.
        let started = text.matches(&format!("commit refs/heads/b{branch}\n")).count() > 1;
        if nth > 1 && !started && dice.roll(4) > 0 {
            writeln!(text, "from :{}", 1 + dice.roll(nth - 1)).unwrap();
        }
        for _ in 0..[0, 0, 0, 0, 1, 1, 2][dice.roll(7)] {
            if nth > 4 {
                writeln!(text, "merge :{}", nth - 1 - dice.roll(4)).unwrap();
            }
        }
        let mut file = |path: &str, content: &str| {
            write!(text, "M 100644 inline {path}\ndata {}\n{content}\n", content.len()).unwrap();
        };
        file("same.txt", "the same everywhere\n");
        for _ in 0..1 + dice.roll(3) {
            let directory = directories[dice.roll(directories.len())];
            let lines = (0..dice.roll(60))
                .map(|line| format!("line {line} of {}\n", dice.roll(9)))
                .collect::<String>();
            file(&format!("{directory}f{}", dice.roll(6)), &lines);
        }
        match dice.roll(8) {
            0 => writeln!(text, "D {}f{}", directories[dice.roll(7)], dice.roll(6)).unwrap(),
            1 => writeln!(text, "D a/b").unwrap(),
            2 => writeln!(text, "M 160000 {} sub", Oid([nth as u8; 20])).unwrap(),
            3 => write!(text, "M 120000 inline link\ndata {}\na/b\n", 3).unwrap(),
            4 => {
                file("a/b/f1", "to be copied\n");
                writeln!(text, "C a moved{}", dice.roll(3)).unwrap();
            }
            5 => writeln!(text, "M 100755 inline run\ndata 3\nrun").unwrap(),
            // A file where a directory was, or the other way round.
            6 => file(["d", "d/f1"][dice.roll(2)], "either\n"),
            _ => {}
        }
        text.push('\n');
    }
    text.into_bytes()
}

/// The objects of a repository as pack blobs.
fn blobs(git: &Git, commits: &[Oid], packs: Packs) -> Vec<Pack> {
    let all = || git.blob(&git.pack(&["--delta-base-offset"]), PackKind::Receive, 1);
    match packs {
        Packs::One => vec![all()],
        Packs::Overlapping => {
            let half = format!("{}\n", commits[commits.len() / 2]);
            let half = git.pipe(&["pack-objects", "--revs", "--stdout", "--quiet"], half.as_bytes());
            vec![all(), git.blob(&half, PackKind::Receive, 2)]
        }
        Packs::Pushed => {
            let mut packs = vec![all()];
            // Newer packs are found first, so `all` serves only what the others lack.
            for (nth, chunk) in commits.chunks(commits.len().div_ceil(4)).enumerate() {
                let mut revisions = format!("{}\n", chunk[chunk.len() - 1]);
                if nth > 0 {
                    writeln!(revisions, "^{}", commits[nth * commits.len().div_ceil(4) - 1]).unwrap();
                }
                let arguments =
                    ["pack-objects", "--thin", "--delta-base-offset", "--revs", "--stdout", "--quiet"];
                let thin = git.pipe(&arguments, revisions.as_bytes());
                packs.push(git.blob(&complete(git, &thin), PackKind::Receive, nth as i64 + 2));
            }
            packs
        }
    }
}

/// Completes a thin pack as a receiver does.
fn complete(git: &Git, thin: &[u8]) -> Vec<u8> {
    let receiver = Git::init();
    let objects = git.path().join("objects");
    std::fs::write(receiver.path().join("objects/info/alternates"), objects.to_str().unwrap()).unwrap();
    let name = String::from_utf8(receiver.pipe(&["index-pack", "--fix-thin", "--stdin"], thin)).unwrap();
    let name = name.trim().rsplit('\t').next().unwrap().to_owned();
    std::fs::read(receiver.path().join(format!("objects/pack/pack-{name}.pack"))).unwrap()
}

/// As [`Git::snapshot`], with tags of tags peeled to the end.
fn snapshot(git: &Git, packs: Vec<Pack>) -> Snapshot {
    let mut refs: Vec<RefRow> = git.refs();
    for row in &mut refs {
        let peeled: Oid = git.run(&["rev-parse", &format!("{}^{{}}", row.name)]).parse().unwrap();
        row.peeled = (peeled != row.oid).then_some(peeled);
    }
    let generation = packs.iter().map(Pack::added_generation).max().unwrap_or(0);
    Snapshot::from_packs(histories::repo(generation), refs, packs.into_iter().map(Arc::new).collect())
}

fn oids(text: &str) -> Vec<Oid> {
    text.lines().map(|line| line[..40].parse().unwrap()).collect()
}

fn rev_list(git: &Git, options: &[&str], include: &[Oid], exclude: &[Oid]) -> Set {
    let mut input = String::new();
    include.iter().for_each(|oid| writeln!(input, "{oid}").unwrap());
    exclude.iter().for_each(|oid| writeln!(input, "^{oid}").unwrap());
    let arguments = [&["rev-list", "--stdin"], options].concat();
    oids(&String::from_utf8(git.pipe(&arguments, input.as_bytes())).unwrap()).into_iter().collect()
}

fn assert_equal(ours: &Set, gits: &Set, what: &str) {
    let only = |a: &Set, b: &Set| a.difference(b).copied().collect::<Vec<_>>();
    assert!(ours == gits, "{what}: only ours {:?}, only git's {:?}", only(ours, gits), only(gits, ours));
}

#[test]
fn clones_are_exactly_what_git_sends() {
    for (seed, packs) in [(1, Packs::One), (2, Packs::Overlapping), (3, Packs::Pushed), (4, Packs::One)] {
        let history = History::random(seed, 60, (seed % 2) as usize * 900, packs);
        let all: Vec<Oid> = history.tips.iter().chain(&history.tags).copied().collect();
        let mut wants = vec![all];
        wants.extend(history.tips.iter().chain(&history.tags).map(|&oid| vec![oid]));
        for wants in wants {
            let what = format!("seed {seed} wants {wants:?}");
            let query = Query { wants: wants.clone(), ..Query::default() };
            let gits = history.closure(&wants);
            assert_equal(&history.selected(&query), &gits, &what);
            let found: Set =
                closure(&history.s, &wants).unwrap().iter().map(|&at| history.s.oid_at(at)).collect();
            assert_equal(&found, &gits, &what);
        }
    }
}

#[test]
fn filters_leave_out_what_gits_leave_out() {
    let combine = |parts: &[Filter]| Filter::Combine(parts.to_vec());
    let filters = [
        ("blob:none", Filter::BlobNone),
        ("blob:limit=0", Filter::BlobLimit(0)),
        ("blob:limit=300", Filter::BlobLimit(300)),
        ("tree:0", Filter::TreeDepth(0)),
        ("tree:1", Filter::TreeDepth(1)),
        ("tree:2", Filter::TreeDepth(2)),
        ("tree:3", Filter::TreeDepth(3)),
        ("object:type=commit", Filter::ObjectType(Kind::Commit)),
        ("object:type=tree", Filter::ObjectType(Kind::Tree)),
        ("object:type=blob", Filter::ObjectType(Kind::Blob)),
        ("object:type=tag", Filter::ObjectType(Kind::Tag)),
        ("combine:blob:none+tree:3", combine(&[Filter::BlobNone, Filter::TreeDepth(3)])),
        (
            "combine:blob:limit=200+object:type=blob",
            combine(&[Filter::BlobLimit(200), Filter::ObjectType(Kind::Blob)]),
        ),
    ];
    for seed in [5, 6] {
        let history = History::random(seed, 50, 0, Packs::One);
        let all: Vec<Oid> = history.tips.iter().chain(&history.tags).copied().collect();
        let tip = history.tips[0];
        let tree: Oid = history.git.run(&["rev-parse", &format!("{tip}^{{tree}}")]).parse().unwrap();
        let blob: Oid = history.git.run(&["rev-parse", &format!("{tip}:same.txt")]).parse().unwrap();
        for (name, filter) in &filters {
            let option = format!("--filter={name}");
            for wants in
                [all.clone(), vec![tip], vec![tree], vec![blob], vec![history.tags[1]], vec![history.tags[3]]]
            {
                let query = Query { wants: wants.clone(), filter: Some(filter.clone()), ..Query::default() };
                // Each want by itself: what git leaves out of several depends on the order of its walk.
                let of_one = |want: &Oid| rev_list(&history.git, &["--objects", &option], &[*want], &[]);
                let gits: Set = wants.iter().flat_map(of_one).collect();
                assert_equal(&history.selected(&query), &gits, &format!("seed {seed} {name} {wants:?}"));
            }
        }
    }
}

#[test]
fn what_is_asked_for_is_sent_whatever_the_filter() {
    let history = History::random(7, 20, 0, Packs::One);
    let tip = history.tips[0];
    let blob: Oid = history.git.run(&["rev-parse", &format!("{tip}:same.txt")]).parse().unwrap();
    let tree: Oid = history.git.run(&["rev-parse", &format!("{tip}^{{tree}}")]).parse().unwrap();
    for filter in [Filter::BlobNone, Filter::TreeDepth(0), Filter::ObjectType(Kind::Tag)] {
        let query = Query { wants: vec![tip, tree, blob], filter: Some(filter), ..Query::default() };
        let ours = history.selected(&query);
        assert!([tip, tree, blob].iter().all(|oid| ours.contains(oid)), "{query:?}");
    }
}

#[test]
fn fetches_send_what_is_missing_and_little_else() {
    let (mut ours_sent, mut gits_sent) = (0, 0);
    for seed in 10..22 {
        let packs = [Packs::One, Packs::Overlapping, Packs::Pushed][seed as usize % 3];
        let history = History::random(seed, 60, (seed % 2) as usize * 400, packs);
        let mut dice = Dice::new(seed);
        for round in 0..8 {
            let (want_count, have_count) = (1 + dice.roll(3), 1 + dice.roll(3));
            let mut wants = history.some(&mut dice, want_count);
            let mut haves = history.some(&mut dice, have_count);
            if round == 3 {
                wants.extend(&history.tags);
            }
            if round == 4 {
                haves.extend(&history.tags[..4]);
            }
            haves.push(Oid([9; 20]));
            let known = &haves[..haves.len() - 1];
            let query = Query { wants: wants.clone(), haves: haves.clone(), thin: true, ..Query::default() };
            let ours = history.selected(&query);
            let (wanted, there) = (history.closure(&wants), history.closure(known));
            let needed: Set = wanted.difference(&there).copied().collect();
            assert!(ours.is_superset(&needed), "seed {seed} {query:?}: {:?}", needed.difference(&ours));
            assert!(ours.is_subset(&wanted), "seed {seed} {query:?}");
            ours_sent += ours.len();
            gits_sent += rev_list(&history.git, &["--objects"], &wants, known).len();
        }
    }
    assert!(ours_sent * 100 <= gits_sent * 105, "{ours_sent} objects against git's {gits_sent}");
}

#[test]
fn thin_bases_are_at_the_client() {
    let history = History::random(23, 60, 300, Packs::One);
    let mut dice = Dice::new(23);
    for _ in 0..20 {
        let (wants, haves) = (history.some(&mut dice, 1), history.some(&mut dice, 2));
        let there = history.closure(&haves);
        let selection = history.select(&Query { wants, haves, thin: true, ..Query::default() });
        for oid in history.closure(&history.commits) {
            let location = history.s.locate(&oid).unwrap();
            assert!(!selection.is_thin_base(location) || there.contains(&oid));
        }
    }
}

#[test]
fn moved_content_is_not_sent_again() {
    let git = Git::init();
    let file = |nth: usize| format!("content {nth}\n").into_bytes();
    let old = (0..100).map(|nth| (format!("old/deep/{nth}"), file(nth))).collect::<Vec<_>>();
    git.import([old]);
    let before: Oid = git.run(&["rev-parse", "main"]).parse().unwrap();
    let stream = format!(
        "commit refs/heads/main\ncommitter A <a@b> 1800000000 +0000\ndata 1\nx\nfrom {before}\nR old new\n"
    );
    git.pipe(&["fast-import", "--quiet"], stream.as_bytes());
    let after: Oid = git.run(&["rev-parse", "main"]).parse().unwrap();
    let s = snapshot(&git, vec![git.blob(&git.pack(&[]), PackKind::Receive, 1)]);
    let query = Query { wants: vec![after], haves: vec![before], ..Query::default() };
    let selection = select(&s, &query, &LIMITS, &mut |_| Ok(())).unwrap();
    assert_eq!(selection.entries().len(), 2, "the commit and its root tree");
}

#[test]
fn tags_come_with_what_they_point_at() {
    let history = History::random(24, 40, 0, Packs::One);
    let all_tags: Set = history.tags.iter().copied().collect();
    let mut dice = Dice::new(24);
    for round in 0..12 {
        let wants = match round {
            0 => history.tips.clone(),
            _ => history.some(&mut dice, 1),
        };
        let haves = if round % 2 == 0 { vec![] } else { history.some(&mut dice, 1) };
        let filter = (round % 3 == 2).then_some(Filter::TreeDepth(0));
        let plain = Query { wants, haves, filter, ..Query::default() };
        let without = history.selected(&plain);
        let with = history.selected(&Query { include_tag: true, ..plain.clone() });
        let added: Set = with.difference(&without).copied().collect();
        let expected: Set =
            all_tags.iter().filter(|tag| without.contains(&history.s.peel(tag).unwrap())).copied().collect();
        assert_equal(&added, &expected, &format!("{plain:?}"));
    }
}

#[test]
fn ancestry_is_gits() {
    for (seed, skew) in [(30, 0), (31, 3000), (32, 100_000)] {
        let history = History::random(seed, 40, skew, Packs::One);
        let reached: Vec<Set> =
            history.commits.iter().map(|&oid| rev_list(&history.git, &[], &[oid], &[])).collect();
        for (new, reached) in history.commits.iter().zip(&reached) {
            for old in &history.commits {
                let ours = is_ancestor(&history.s, old, new, &LIMITS).unwrap();
                assert_eq!(ours, reached.contains(old), "{old} of {new}");
            }
        }
        let mut dice = Dice::new(seed);
        for _ in 0..100 {
            let (wants, common) = (history.some(&mut dice, 2), history.some(&mut dice, 2));
            let of = |oid: &Oid| &reached[history.commits.iter().position(|other| other == oid).unwrap()];
            let truth = wants.iter().all(|want| common.iter().any(|common| of(want).contains(common)));
            let ours = reaches(&history.s, &wants, &common, &LIMITS).unwrap();
            assert!(ours == truth || (skew > 0 && !ours), "{wants:?} {common:?}");
        }
        assert!(!reaches(&history.s, &history.tips, &[], &LIMITS).unwrap());
        assert!(!reaches(&history.s, &history.tips, &[Oid([1; 20])], &LIMITS).unwrap());
        assert!(reaches(&history.s, &history.tags, &history.commits, &LIMITS).unwrap());
    }
}

/// What `git upload-pack` answers to a request of protocol v2; `None` if it dies.
fn upload_pack(git: &Git, request: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new("git")
        .args(["upload-pack", "--stateless-rpc", "."])
        .current_dir(git.path())
        .envs([("GIT_PROTOCOL", "version=2"), ("GIT_CONFIG_NOSYSTEM", "1"), ("HOME", "/nonexistent")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// The `shallow-info` section and the objects of git's own answer to a fetch.
fn git_fetches(
    history: &History,
    wants: &[Oid],
    haves: &[Oid],
    client: &[Oid],
    lines: &[String],
) -> Option<(Shallow, Set)> {
    let mut request = Vec::new();
    let mut line = |text: &str| {
        request.extend(format!("{:04x}{text}\n", text.len() + 5).into_bytes());
    };
    line("command=fetch");
    request.extend(b"0001");
    let mut line = |text: &str| {
        request.extend(format!("{:04x}{text}\n", text.len() + 5).into_bytes());
    };
    line("no-progress");
    wants.iter().for_each(|oid| line(&format!("want {oid}")));
    haves.iter().for_each(|oid| line(&format!("have {oid}")));
    client.iter().for_each(|oid| line(&format!("shallow {oid}")));
    lines.iter().for_each(|text| line(text));
    line("done");
    request.extend(b"0000");
    let answer = upload_pack(&history.git, &request)?;

    let mut shallow = Shallow::default();
    let mut pack = Vec::new();
    let mut at = 0;
    while at < answer.len() {
        let length = usize::from_str_radix(std::str::from_utf8(&answer[at..at + 4]).unwrap(), 16).unwrap();
        let payload = if length > 4 { &answer[at + 4..at + length] } else { &[] };
        at += length.max(4);
        let text = String::from_utf8_lossy(payload);
        if let Some(oid) = text.strip_prefix("shallow ") {
            shallow.shallow.push(oid.trim().parse().unwrap());
        } else if let Some(oid) = text.strip_prefix("unshallow ") {
            shallow.unshallow.push(oid.trim().parse().unwrap());
        } else if payload.first() == Some(&1) {
            pack.extend(&payload[1..]);
        }
    }
    for list in [&mut shallow.shallow, &mut shallow.unshallow] {
        list.sort_unstable();
        list.dedup();
    }
    let objects = history.git.blob(&pack, PackKind::Receive, 1);
    let objects = (0..objects.objects()).map(|index| objects.oid(index)).collect();
    Some((shallow, objects))
}

fn depths(history: &History, dice: &mut Dice) -> Vec<(Depth, Vec<String>)> {
    let mut all = Vec::new();
    for depth in [1, 2, 3, 5, 9, 1000, INFINITE_DEPTH] {
        all.push((Depth::Commits { depth, relative: false }, vec![format!("deepen {depth}")]));
    }
    for depth in [1, 2, 4] {
        let lines = vec![format!("deepen {depth}"), "deepen-relative".to_owned()];
        all.push((Depth::Commits { depth, relative: true }, lines));
    }
    for _ in 0..4 {
        let seconds = 1_700_000_000 + 60 * dice.roll(history.commits.len() + 5) as i64;
        all.push((Depth::Since { seconds }, vec![format!("deepen-since {seconds}")]));
        let branch = format!("refs/heads/x{}", all.len());
        let excluded = history.commits[dice.roll(history.commits.len())];
        history.git.run(&["update-ref", &branch, &excluded.to_string()]);
        all.push((Depth::Not { exclude: vec![excluded] }, vec![format!("deepen-not {branch}")]));
        all.push((
            Depth::SinceAndNot { seconds, exclude: vec![excluded] },
            vec![format!("deepen-since {seconds}"), format!("deepen-not {branch}")],
        ));
    }
    all
}

#[test]
fn shallow_clones_and_deepenings_are_gits() {
    let (mut ours_sent, mut gits_sent) = (0, 0);
    for seed in 40..44 {
        let skew = (seed % 4 / 2) as usize * 100;
        let history = History::random(seed, 40, skew, [Packs::One, Packs::Pushed][seed as usize % 2]);
        let mut dice = Dice::new(seed);
        for round in 0..3 {
            let wants = match round {
                0 => history.tips.clone(),
                1 => vec![history.tags[2]],
                _ => history.some(&mut dice, 2),
            };
            // A clone that is shallow already, at the tips or a little before.
            let first = Depth::Commits { depth: 1 + dice.roll(4) as u32, relative: false };
            let had = history.some(&mut dice, 2);
            let Shallow { shallow: client, .. } = deepen(&history.s, &had, &[], &first, &LIMITS).unwrap();
            let clone = Query {
                wants: had.clone(),
                shallow: Some(Shallow { shallow: client.clone(), unshallow: vec![] }),
                ..Query::default()
            };
            let there = history.selected(&clone);
            for (depth, lines) in depths(&history, &mut dice) {
                for (haves, client) in [(&[][..], &[][..]), (&had, &client)] {
                    let what =
                        format!("seed {seed} {depth:?} wants {wants:?} haves {haves:?} client {client:?}");
                    let gits = git_fetches(&history, &wants, haves, client, &lines);
                    let ours = deepen(&history.s, &wants, client, &depth, &LIMITS);
                    let (Some((shallow, gits)), Ok(ours)) = (&gits, &ours) else {
                        assert!(
                            gits.is_none() && ours == Err(WalkError::NothingSelected),
                            "{what}: {ours:?}"
                        );
                        continue;
                    };
                    assert_eq!(ours, shallow, "{what}");
                    let query = Query {
                        wants: wants.clone(),
                        haves: haves.to_vec(),
                        client_shallow: client.to_vec(),
                        shallow: Some(ours.clone()),
                        ..Query::default()
                    };
                    let sent = history.selected(&query);
                    let thin = history.select(&Query { thin: true, ..query });
                    let bases = history.commits.iter().flat_map(|oid| {
                        let tree = history.s.commit(oid).unwrap().tree;
                        [*oid, tree]
                            .into_iter()
                            .filter(|oid| thin.is_thin_base(history.s.locate(oid).unwrap()))
                    });
                    let strange: Vec<Oid> =
                        bases.filter(|oid| haves.is_empty() || !there.contains(oid)).collect();
                    assert!(strange.is_empty(), "{what}: {strange:?}");
                    if haves.is_empty() {
                        assert_equal(&sent, gits, &what);
                    } else {
                        let missing: Set =
                            gits.difference(&sent).filter(|oid| !there.contains(oid)).copied().collect();
                        assert!(missing.is_empty(), "{what}: {missing:?}");
                        ours_sent += sent.len();
                        gits_sent += gits.len();
                    }
                }
            }
        }
    }
    assert!(ours_sent * 100 <= gits_sent * 110, "{ours_sent} objects against git's {gits_sent}");
}

#[test]
fn unknown_boundaries_of_the_client_are_ignored() {
    let history = History::random(45, 12, 0, Packs::One);
    let blob = history.tags[4];
    let depth = Depth::Commits { depth: INFINITE_DEPTH, relative: false };
    let ours = deepen(&history.s, &history.tips, &[Oid([3; 20]), blob], &depth, &LIMITS).unwrap();
    assert_eq!(ours, Shallow::default());
}

/// A snapshot of objects that no git would write.
fn handmade(objects: &[(Kind, Vec<u8>)]) -> Snapshot {
    let mut blob = Vec::new();
    let mut builder = BlobBuilder::new(&mut blob, objects.len() as u32).unwrap();
    for (kind, data) in objects {
        builder.whole(object::hash(*kind, data), *kind, data).unwrap();
    }
    builder.finish().unwrap();
    let pack = histories::pack_from(blob.into(), PackKind::Receive, false, 1);
    Snapshot::from_packs(histories::repo(1), vec![], vec![Arc::new(pack)])
}

fn tree_of(mode: &str, name: &str, oid: Oid) -> Vec<u8> {
    [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &oid.0].concat()
}

#[test]
fn trees_may_be_deeper_than_any_stack() {
    let mut objects = vec![(Kind::Blob, b"bottom".to_vec())];
    let mut oid = object::hash(Kind::Blob, b"bottom");
    for depth in 0..20_000 {
        let tree = tree_of(if depth == 0 { "100644" } else { "40000" }, "x", oid);
        oid = object::hash(Kind::Tree, &tree);
        objects.push((Kind::Tree, tree));
    }
    let s = handmade(&objects);
    assert_eq!(closure(&s, &[oid]).unwrap().len(), objects.len());
    let query = Query { wants: vec![oid], haves: vec![oid], ..Query::default() };
    assert!(select(&s, &query, &LIMITS, &mut |_| Ok(())).is_ok());
}

#[test]
fn a_missing_object_is_named() {
    let absent = Oid([7; 20]);
    let tree = tree_of("100644", "x", absent);
    let tree_oid = object::hash(Kind::Tree, &tree);
    let commit =
        format!("tree {tree_oid}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n").into_bytes();
    let commit_oid = object::hash(Kind::Commit, &commit);
    let s = handmade(&[(Kind::Tree, tree), (Kind::Commit, commit)]);
    let missing = |oid| Err(WalkError::Read(ReadError::Missing(oid)));
    assert_eq!(closure(&s, &[commit_oid]), missing(absent));
    assert_eq!(closure(&s, &[absent]), missing(absent));
    let query = Query { wants: vec![commit_oid], filter: Some(Filter::BlobNone), ..Query::default() };
    assert_eq!(select(&s, &query, &LIMITS, &mut |_| Ok(())).unwrap().entries().len(), 2);
    // Entries that lie about the kind of what they name.
    let liar = tree_of("40000", "x", commit_oid);
    let liar_oid = object::hash(Kind::Tree, &liar);
    let commit =
        format!("tree {tree_oid}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n").into_bytes();
    let s = handmade(&[(Kind::Tree, liar), (Kind::Commit, commit)]);
    let error = closure(&s, &[liar_oid]).unwrap_err();
    assert!(matches!(error, WalkError::Read(ReadError::WrongKind { expected: Kind::Tree, .. })), "{error:?}");
}

#[test]
fn limits_and_interruptions_end_a_walk() {
    let history = History::random(50, 30, 0, Packs::One);
    let query = Query { wants: history.tips.clone(), ..Query::default() };
    let few = WalkLimits { commits_max: 5 };
    let too_many = WalkError::TooManyCommits { max: 5 };
    assert_eq!(select(&history.s, &query, &few, &mut |_| Ok(())).unwrap_err(), too_many);
    let depth = Depth::Commits { depth: 100, relative: false };
    assert_eq!(deepen(&history.s, &history.tips, &[], &depth, &few), Err(too_many));
    assert!(!reaches(&history.s, &history.tips, &history.commits[..1], &few).unwrap());
    let stopped = select(&history.s, &query, &LIMITS, &mut |_| Err(Interrupted));
    assert_eq!(stopped.unwrap_err(), WalkError::Interrupted(Interrupted));
}

#[test]
fn one_exact_pack_is_recognised() {
    let history = History::random(51, 20, 0, Packs::One);
    let all: Vec<Oid> = history.tips.iter().chain(&history.tags).copied().collect();
    let whole = history.select(&Query { wants: all.clone(), ..Query::default() });
    assert_eq!(whole.whole_pack(&history.s), Some(0));
    let tagged =
        history.select(&Query { wants: history.tips.clone(), include_tag: true, ..Query::default() });
    assert_eq!(tagged.whole_pack(&history.s), Some(0));
    let part = history.select(&Query { wants: all, filter: Some(Filter::BlobNone), ..Query::default() });
    assert_eq!(part.whole_pack(&history.s), None);
}
