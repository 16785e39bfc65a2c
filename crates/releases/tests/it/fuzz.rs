//! Files and rows that nobody wrote: bytes, pages and texts changed at random.
//!
//! Invariant: nothing panics. A file of a newer format is told apart from a damaged one, and neither is written. What stands
//! in a journal stays as it stands, whatever a resumed or aborted run makes of it. `NUAGES_FUZZ_CASES` says how many
//! are tried.

use std::fs;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use nuages_releases::{ReleasesError, Store};
use nuages_saga::{
    ApplyError, Cancel, Check, Events, Holder, JournalStore as _, LeaseGuard, LeaseTiming, Observation, Plan, Registry,
    Reversal, Runner, SagaError, Step, StepContext, StepError, StepSpec,
};
use nuages_testkit::fuzz::{cases, config, seed, spoil};
use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::{Value as Cell, ValueRef};
use serde_json::{Value, json};

use crate::support::{Place, draft, held};

/// Fails where its parameters say so, and so leaves something to resume.
struct Fussy(bool);

#[async_trait]
impl Step for Fussy {
    async fn check(&self, _: &StepContext) -> Result<Check, StepError> {
        let before = json!({"task_definition": "blog-web:1", "count": 2});
        Ok(Check::Change { before, diff: vec![] })
    }
    async fn apply(&self, _: &StepContext, _: &Value) -> Result<Value, ApplyError> {
        if self.0 {
            return Err(ApplyError::Unknown(StepError::message("no")));
        }
        Ok(json!({"task_definition": "blog-web:2"}))
    }
    async fn observe(&self, _: &StepContext, _: &Value) -> Result<Observation, StepError> {
        Ok(Observation::NotDone)
    }
    async fn undo(&self, _: &StepContext, _: &Value, _: Option<&Value>) -> Result<(), StepError> {
        if self.0 {
            return Err(StepError::message("no"));
        }
        Ok(())
    }
    fn reversal(&self) -> Reversal {
        Reversal::Undo
    }
    fn by_hand(&self, _: &Value, _: Option<&Value>) -> Vec<String> {
        vec!["aws ecs update-service".into()]
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.add("fussy", 1, |fails: bool| Ok(Fussy(fails)));
    registry
}

fn plan() -> Plan {
    let step = |id: &str, fails: bool| StepSpec::new(id.parse().unwrap(), "fussy", 1, id, json!(fails));
    Plan::new("deploy", "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0")
        .stage("one", [step("a", false), step("b", false)])
        .stage("two", [step("c", true)])
}

/// A file with releases, a deployment that ended, one that is stuck, and remembered results: all in the one file.
fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        runtime().block_on(async {
            let place = Place::new();
            let store = Arc::new(place.environment().await);
            let fence = held(&store).await;
            for number in ["1", "2", "3"] {
                store.record_serving(fence, draft(number)).await.unwrap();
            }
            nuages_saga::JournalStore::release(&*store, fence).await.unwrap();
            place
                .open()
                .await
                .remember("checks", "sha256:0f", &json!({"passed": true}))
                .await
                .unwrap();
            let runner = Runner::new(registry(), store.clone(), "0.1.0");
            let fine = Plan::new("deploy", "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0");
            for plan in [fine, plan()] {
                let lease = lease(&store).await.unwrap();
                let scope = Events::none().task("test", "Test");
                runner.run(&plan, &lease, &scope, &Cancel::new()).await.unwrap();
                lease.release().await;
            }
            assert!(store.unfinished().await.unwrap().is_some(), "it is stuck");
            drop((runner, store));
            // The last connection that goes moves everything into the file.
            place
                .raw()
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
                .unwrap();
            fs::read(place.path()).unwrap()
        })
    })
}

async fn lease(store: &Arc<nuages_releases::EnvironmentStore>) -> Result<LeaseGuard, SagaError> {
    LeaseGuard::acquire(store.clone(), Holder::here("fuzz"), LeaseTiming::default()).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A place with these bytes as its file.
fn place_of(bytes: &[u8]) -> Place {
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs::write(place.path(), bytes).unwrap();
    place
}

/// Reads all that can be read, and answers whether everything could.
async fn read_everything(store: &Store) -> bool {
    let _ = store.recall::<Value>("checks", "sha256:0f").await;
    let Ok(environments) = store.environments().await else {
        return false;
    };
    let mut whole = !environments.is_empty();
    for environment in environments {
        whole &= environment.world().await.is_ok();
        whole &= environment.releases_of_all_worlds(100).await.is_ok();
        whole &= environment.serving().await.is_ok();
        whole &= environment.serving_elsewhere().await.is_ok();
        whole &= environment.rollback_target().await.is_ok();
        whole &= environment.inspect().await.is_ok();
        whole &= environment.unfinished().await.is_ok();
        match environment.deployments(100).await {
            Ok(all) => {
                for one in all {
                    whole &= environment.load(one.deployment).await.is_ok();
                }
            }
            Err(_) => whole = false,
        }
    }
    whole
}

/// What stands in these tables, row by row.
fn rows(raw: &Connection, tables: &[&str]) -> Vec<Vec<Cell>> {
    let mut found = Vec::new();
    for table in tables {
        let mut statement = raw.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query(()).unwrap();
        while let Some(row) = rows.next().unwrap() {
            // Text that is no UTF-8 is compared as it is.
            let cell = |column| match row.get_ref(column).unwrap() {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(number) => Cell::Integer(number),
                ValueRef::Real(number) => Cell::Real(number),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
            };
            let mut cells = vec![Cell::Text((*table).to_owned())];
            cells.extend((0..columns).map(cell));
            found.push(cells);
        }
    }
    found
}

const ALL: [&str; 6] = [
    "meta",
    "environments",
    "deployments",
    "entries",
    "releases",
    "remembered",
];

/// A change of the file.
#[derive(Debug, Clone)]
enum Damage {
    /// Bytes in one of its pages.
    Page { page: usize, seed: u64 },
    /// Its end is missing.
    Truncated(usize),
    /// A few bytes anywhere.
    Bytes(Vec<(usize, u8)>),
    /// Two pages stand in each other's place.
    Swapped(usize, usize),
    /// Another format than any that there is.
    Format(u32),
    /// Another program's number.
    Application(u32),
    /// All of it is something else.
    Nonsense(Vec<u8>),
}

const PAGE: usize = 4096;

impl Damage {
    fn of(&self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        let pages = bytes.len() / PAGE;
        match self {
            Self::Page { page, seed } => {
                let at = page % pages * PAGE;
                let mut state = *seed | 1;
                for byte in &mut bytes[at..at + PAGE] {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte ^= state.to_le_bytes()[7];
                }
            }
            Self::Truncated(at) => bytes.truncate(at % good.len()),
            Self::Bytes(changes) => changes.iter().for_each(|(at, byte)| bytes[at % good.len()] ^= byte),
            Self::Swapped(one, other) => {
                let (one, other) = (one % pages * PAGE, other % pages * PAGE);
                let (first, second) = (good[one..one + PAGE].to_vec(), good[other..other + PAGE].to_vec());
                bytes[other..other + PAGE].copy_from_slice(&first);
                bytes[one..one + PAGE].copy_from_slice(&second);
            }
            // Where the file's format stands, and the program's number (SQLite, "Database File Format").
            Self::Format(format) => bytes[60..64].copy_from_slice(&format.to_be_bytes()),
            Self::Application(number) => bytes[68..72].copy_from_slice(&number.to_be_bytes()),
            Self::Nonsense(nonsense) => bytes.clone_from(nonsense),
        }
        bytes
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => (any::<usize>(), any::<u64>()).prop_map(|(page, seed)| Damage::Page { page, seed }),
        2 => any::<usize>().prop_map(Damage::Truncated),
        4 => prop::collection::vec((any::<usize>(), 1..=u8::MAX), 1..40).prop_map(Damage::Bytes),
        1 => (0..100_usize, 1..64_u8).prop_map(|(at, byte)| Damage::Bytes(vec![(at, byte)])),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Damage::Swapped(one, other)),
        1 => prop_oneof![2..10_u32, any::<u32>()].prop_map(Damage::Format),
        1 => Just(Damage::Format(0)),
        1 => any::<u32>().prop_map(Damage::Application),
        1 => prop::collection::vec(any::<u8>(), 0..3000).prop_map(Damage::Nonsense),
    ]
}

/// How opening a damaged file ended.
fn open_damaged(damage: &Damage) -> &'static str {
    let bytes = damage.of(good());
    let place = place_of(&bytes);
    let so = runtime().block_on(async {
        match Store::open(&place.path()).await {
            // Within a row, say: what it says is judged where it is read.
            Ok(store) => {
                if read_everything(&store).await {
                    "read"
                } else {
                    "opened, and told when it was read"
                }
            }
            Err(error) => {
                assert!(error.hint().is_some(), "{error:?}");
                match error {
                    ReleasesError::Newer { found, known, .. } => {
                        assert!(found > known);
                        "newer"
                    }
                    ReleasesError::Damaged { .. } => "damaged",
                    ReleasesError::Foreign(_) => "another program's",
                    other => panic!("{other:?}: {other}"),
                }
            }
        }
    });
    let expected = match damage {
        Damage::Format(format) if *format > 1 => Some("newer"),
        Damage::Format(0) => Some("damaged"),
        Damage::Application(number) if *number != 0x6e75_6167 => Some("another program's"),
        // A file of no bytes at all is a new one.
        Damage::Nonsense(bytes) if !bytes.is_empty() => Some("damaged"),
        _ => None,
    };
    if let Some(expected) = expected {
        assert_eq!(so, expected);
    }
    if matches!(so, "newer" | "damaged" | "another program's") {
        assert_eq!(fs::read(place.path()).unwrap(), bytes, "it was written");
    }
    so
}

#[test]
fn no_file_makes_it_panic_and_none_that_is_not_ours_is_written() {
    let (cases, seed) = (cases(256), seed());
    let mut ended = std::collections::BTreeMap::<_, usize>::new();
    let counted = std::cell::RefCell::new(&mut ended);
    proptest!(config(cases, seed), |(damage in damage())| {
        *counted.borrow_mut().entry(open_damaged(&damage)).or_default() += 1;
    });
    println!("{cases} damaged files (NUAGES_SEED={seed}): {ended:?}");
    assert!(ended.len() > 3, "{ended:?}");
}

/// A change of a row.
#[derive(Debug, Clone)]
struct Edit {
    column: usize,
    row: usize,
    seed: u64,
}

/// Every column with text, and every one with a number, that means something to whoever reads it.
const TEXTS: [(&str, &str); 16] = [
    ("entries", "entry"),
    ("entries", "entry"),
    ("entries", "entry"),
    ("deployments", "plan"),
    ("deployments", "plan"),
    ("deployments", "world"),
    ("environments", "world"),
    ("environments", "app"),
    ("leases", "holder"),
    ("releases", "outcome"),
    ("releases", "git"),
    ("releases", "task_definitions"),
    ("releases", "migrations"),
    ("releases", "checks"),
    ("releases", "secrets"),
    ("remembered", "value"),
];
const NUMBERS: [(&str, &str); 9] = [
    ("entries", "position"),
    ("deployments", "ended"),
    ("deployments", "archived"),
    ("releases", "number"),
    ("releases", "created"),
    ("leases", "fence"),
    ("leases", "held"),
    ("leases", "expires"),
    ("leases", "acquired"),
];
const ODD: [i64; 7] = [-1, 0, 1, 7, 1_000_000_000_000_000, i64::MAX, i64::MIN];

impl Edit {
    /// Changes the row; what SQLite itself refuses is no change.
    fn make(&self, raw: &Connection) {
        let pick = self.column % (TEXTS.len() + NUMBERS.len());
        let key = |table: &str| {
            let rows: Vec<String> = raw
                .prepare(&format!("SELECT {} FROM {table}", id_of(table)))
                .and_then(|mut all| all.query_map((), |row| row.get(0))?.collect())
                .unwrap();
            (!rows.is_empty()).then(|| rows[self.row % rows.len()].clone())
        };
        let update = |table: &str, column: &str, value: Cell, cast: &str| {
            let Some(key) = key(table) else { return };
            let sql = format!("UPDATE {table} SET {column} = {cast} WHERE {} = ?2", id_of(table));
            let _ = raw.execute(&sql, rusqlite::params![value, key]);
        };
        if let Some((table, column)) = NUMBERS.get(pick.wrapping_sub(TEXTS.len())) {
            let odd = ODD[usize::try_from(self.seed % ODD.len() as u64).unwrap()];
            update(table, column, Cell::Integer(odd), "?1");
            return;
        }
        let (table, column) = TEXTS[pick];
        let Some(of) = key(table) else { return };
        let sql = format!("SELECT coalesce({column}, '') FROM {table} WHERE {} = ?1", id_of(table));
        let Ok(text) = raw.query_row(&sql, [of], |row| row.get::<_, String>(0)) else {
            return;
        };
        // Text that is no UTF-8 can stand in SQLite, too.
        let spoiled = spoil(self.seed, text.as_bytes());
        update(table, column, Cell::Blob(spoiled), "CAST(?1 AS TEXT)");
    }
}

/// What tells a row from others.
fn id_of(table: &str) -> &'static str {
    match table {
        "entries" => "deployment || '/' || position",
        "leases" => "'' || environment",
        "environments" => "'' || id",
        "remembered" => "kind || key",
        _ => "id",
    }
}

/// How going on with edited rows ended.
fn go_on(edits: &[Edit], abort: bool) -> &'static str {
    let place = place_of(good());
    {
        let raw = place.raw();
        for edit in edits {
            edit.make(&raw);
        }
    }
    let before = rows(&place.raw(), &ALL);
    runtime().block_on(async {
        let store = place.open().await;
        read_everything(&store).await;
        assert_eq!(rows(&place.raw(), &ALL), before, "reading wrote");
        let Ok(environments) = store.environments().await else {
            return "told before";
        };
        let Some(environment) = environments.into_iter().next() else {
            return "told before";
        };
        let store = Arc::new(environment);
        let Ok(Some(open)) = store.unfinished().await else {
            return "nothing to go on with";
        };
        let Ok(lease) = lease(&store).await else {
            return "no lease";
        };
        let runner = Runner::new(registry(), store.clone(), "0.1.0");
        let (scope, cancel) = (Events::none().task("test", "Test"), Cancel::new());
        let ended = if abort {
            runner.abort(open.deployment, &lease, &scope, &cancel).await
        } else {
            runner.resume(open.deployment, &lease, &scope, &cancel).await
        };
        lease.release().await;
        let after = rows(&place.raw(), &["entries", "releases"]);
        for row in rows_of(&before, &["entries", "releases"]) {
            assert!(after.contains(row), "a row was changed: {row:?}");
        }
        match ended {
            Ok(_) => "went on",
            Err(error) => {
                assert!(error.hint().is_some(), "no hint: {error:?}: {error}");
                if let SagaError::Decode { .. } = error {
                    assert_eq!(
                        after.len(),
                        rows_of(&before, &["entries", "releases"]).count(),
                        "it was written to"
                    );
                }
                "told"
            }
        }
    })
}

fn rows_of<'a>(rows: &'a [Vec<Cell>], tables: &'a [&str]) -> impl Iterator<Item = &'a Vec<Cell>> {
    rows.iter()
        .filter(|row| matches!(&row[0], Cell::Text(table) if tables.contains(&table.as_str())))
}

#[test]
fn no_row_makes_it_panic_and_none_of_a_journal_is_changed() {
    let (cases, seed) = (cases(256), seed());
    let edit =
        (any::<usize>(), any::<usize>(), any::<u64>()).prop_map(|(column, row, seed)| Edit { column, row, seed });
    let mut ended = std::collections::BTreeMap::<_, usize>::new();
    let counted = std::cell::RefCell::new(&mut ended);
    proptest!(config(cases, seed), |(edits in prop::collection::vec(edit, 1..4), abort: bool)| {
        *counted.borrow_mut().entry(go_on(&edits, abort)).or_default() += 1;
    });
    println!("{cases} stores with edited rows (NUAGES_SEED={seed}): {ended:?}");
    assert!(ended.len() > 3, "{ended:?}");
}

#[test]
fn a_newer_row_is_told_by_the_version_to_install_whichever_it_is() {
    let open = "SELECT count(*) FROM entries, deployments WHERE deployment = id AND ended = 0";
    let entries: i64 = place_of(good()).raw().query_row(open, (), |row| row.get(0)).unwrap();
    // Each entry, and then the plan.
    for row in 0..=entries {
        let place = place_of(good());
        let to_newer = |column: &str| format!("{column} = replace({column}, '\"format\":1', '\"format\":2')");
        let sql = if row == entries {
            format!("UPDATE deployments SET {} WHERE ended = 0", to_newer("plan"))
        } else {
            let open = "deployment = (SELECT id FROM deployments WHERE ended = 0)";
            format!(
                "UPDATE entries SET {} WHERE position = {row} AND {open}",
                to_newer("entry")
            )
        };
        assert_eq!(place.raw().execute(&sql, ()).unwrap(), 1);
        let open = "SELECT id FROM deployments WHERE ended = 0";
        let open: String = place.raw().query_row(open, (), |row| row.get(0)).unwrap();
        let open = open.parse().unwrap();
        let before = rows(&place.raw(), &ALL);
        runtime().block_on(async {
            let store = place.open().await.environments().await.unwrap().pop().unwrap();
            let store = Arc::new(store);
            // Who looks for it is told already.
            if let Err(error) = store.unfinished().await {
                assert!(error.hint().unwrap().contains("install"), "{:?}", error.hint());
            }
            for abort in [false, true] {
                let guard = lease(&store).await.unwrap();
                let runner = Runner::new(registry(), store.clone(), "0.1.0");
                let (scope, cancel) = (Events::none().task("test", "Test"), Cancel::new());
                let ended = if abort {
                    runner.abort(open, &guard, &scope, &cancel).await
                } else {
                    runner.resume(open, &guard, &scope, &cancel).await
                };
                guard.release().await;
                let error = ended.map(|report| report.outcome).unwrap_err();
                assert!(matches!(error, SagaError::Decode { .. }), "{error:?}");
                assert!(error.hint().unwrap().contains("install"), "{:?}", error.hint());
                assert_eq!(rows(&place.raw(), &ALL), before, "it was written to");
            }
        });
    }
}
