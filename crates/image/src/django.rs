//! A Django project as an image, without an engine: the base, the packages, the static files, the code, and how it is run.
//!
//! Invariant: the same project, lock, base and settings give the same image on every machine, and no secret enters it. What
//! did not change since it was last built is neither read nor run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuages_model::Progress;
use tokio_util::sync::CancellationToken;

use crate::collect::{self, Asked, Collected, Ran};
use crate::executor::Executor;
use crate::packages::beside;
use crate::{
    Base, BlobStore, Contents, Context, Engine, Fingerprint, ImageError, Packages, Recipe, Runtime, Tree, VENV,
    bytecode,
};

/// Where programs are in a base that does not say.
const USUAL_PATH: &str = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a Django project becomes an image.
///
/// ```no_run
/// use nuages_image::{Base, BlobStore, Context, Django, Ground, Packages, Requirements, Server, Withheld};
/// use nuages_model::Progress;
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(source: std::sync::Arc<dyn nuages_model::BlobSource>) -> Result<(), Box<dyn std::error::Error>> {
/// let (store, quiet, cancel) = (BlobStore::open("cache/blobs")?, Progress::none(), CancellationToken::new());
/// let base = Base::read(source, "3.13-slim", "linux/amd64", &store, &quiet).await?;
/// let contents = base.contents(&store, &quiet).await?;
/// let lock = Requirements::of_file("blog/requirements.txt".as_ref(), "linux/amd64")?;
/// let packages = Packages::install(&lock, &contents, &store, &quiet).await?;
///
/// let project = Context::of_project("blog".as_ref(), &[], &quiet)?;
/// let mut django = Django::new(Server::Wsgi("blog.wsgi".into()), 8000);
/// django.settings = Some("blog.settings.production".into());
/// django.withheld.insert("DJANGO_SECRET_KEY".into(), Withheld::Secret);
/// let ground = Ground { base: &base, contents: &contents, packages, store: &store, memory: None, engine: None };
/// let site = django.recipe(&project, ground, &quiet, &cancel).await?;
/// for sentence in &site.told {
///     println!("{sentence}");
/// }
/// println!("{}", site.recipe.make(&store, &quiet)?.digest);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Django {
    /// The project's `manage.py`, relative to it. Programs start in its folder.
    pub manage: PathBuf,
    /// Folders of the project, relative to it, from which packages of its own are imported.
    pub import_roots: Vec<PathBuf>,
    /// `DJANGO_SETTINGS_MODULE`; without it `manage.py` and the application's module choose.
    pub settings: Option<String>,
    /// What the image runs unless it is told otherwise.
    pub server: Server,
    /// Where it listens.
    pub port: u16,
    /// Variables that the settings see while static files are collected. They do not enter the image.
    pub env: BTreeMap<String, String>,
    /// Variables that are secret: the settings see values that mean nothing.
    pub withheld: BTreeMap<String, Withheld>,
    /// Variables of the image.
    pub image_env: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Where the project stands in the image.
    pub working_dir: String,
    /// The numbers of the user and group that it runs as.
    pub user: (u32, u32),
    /// Whether modules are compiled.
    pub bytecode: bool,
    /// The longest that collecting static files may take.
    pub limit: Duration,
}

/// What serves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Through WSGI, by gunicorn: the module, such as `blog.wsgi`.
    Wsgi(String),
    /// Through ASGI, by whichever server is among the packages: the module, such as `blog.asgi`.
    Asgi(String),
    /// A command of its own.
    Command(Vec<String>),
}

/// A variable whose value is not there while an image is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// Something secret.
    Secret,
    /// The address of a database, of which the scheme is known, such as `postgres`.
    Database {
        /// The scheme.
        scheme: String,
    },
}

impl Withheld {
    /// What the settings see instead. It is long enough for a key, and no key.
    fn stand_in(&self) -> String {
        match self {
            Self::Secret => "stands-in-while-static-files-are-collected-and-is-no-secret".into(),
            Self::Database { scheme } => format!("{scheme}://nobody:nothing@127.0.0.1:1/none"),
        }
    }
}

/// What the project's image stands on.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The base.
    pub base: &'a Base,
    /// What it holds.
    pub contents: &'a Contents,
    /// The project's packages.
    pub packages: Packages,
    /// The cache.
    pub store: &'a BlobStore,
    /// The file that remembers the state of the project's files, as [`Context::fingerprint`] takes it.
    pub memory: Option<&'a Path>,
    /// An engine for where the base's Python cannot be run without one.
    pub engine: Option<&'a Engine>,
}

/// A project that can be made an image.
#[derive(Debug, Clone)]
pub struct Site {
    /// The image.
    pub recipe: Recipe,
    /// The state of the project's files.
    pub fingerprint: Fingerprint,
    /// What a person should know of it, a sentence each.
    pub told: Vec<String>,
    /// The packages, compiled.
    pub packages: Packages,
}

impl Django {
    /// What most projects want.
    pub fn new(server: Server, port: u16) -> Self {
        Self {
            manage: "manage.py".into(),
            import_roots: Vec::new(),
            settings: None,
            server,
            port,
            env: BTreeMap::new(),
            withheld: BTreeMap::new(),
            image_env: BTreeMap::new(),
            labels: BTreeMap::new(),
            working_dir: "/app".into(),
            user: (10001, 10001),
            bytecode: true,
            limit: Duration::from_mins(5),
        }
    }

    /// Collects, compiles, and lays it all out in layers, the most stable first. Nothing is compressed yet.
    pub async fn recipe(
        &self,
        project: &Context,
        ground: Ground<'_>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Site, ImageError> {
        let Ground {
            base,
            contents,
            mut packages,
            store,
            memory,
            engine,
        } = ground;
        let command = self.command(project, &packages)?;
        let fingerprint = fingerprint(project, memory).await?;
        let mut told = Vec::new();
        let mut executor = Chosen {
            base,
            contents,
            engine,
            store,
            executor: None,
        };
        let mut compiled = BTreeMap::new();
        if self.bytecode {
            let of_project = (project, &fingerprint, self.working_dir.as_str());
            let known = bytecode::remembered(&Executor::of_base(base), &mut packages, of_project, store, progress)?;
            compiled = if let Some(known) = known {
                known
            } else {
                let executor = executor.get(&packages, progress).await?;
                bytecode::compile(executor, &mut packages, of_project, store, progress, cancel).await?
            };
        }
        let (env, import_roots) = (self.settings_env(), self.import_roots());
        let asked = Asked {
            project,
            fingerprint: &fingerprint,
            packages: &packages,
            working_dir: &self.working_dir,
            manage: &self.manage,
            import_roots: &import_roots,
            env: &env,
            limit: self.limit,
        };
        let key = base.key("static files");
        let collected = if let Some(known) = collect::remembered(&asked, &key, store) {
            known
        } else {
            let chosen = executor.get(&packages, progress).await?;
            match collect::collect(&asked, &key, chosen, store, progress, cancel).await? {
                Ran::Collected(collected) => {
                    told.push(chosen.told().to_owned());
                    collected
                }
                Ran::NotHere { why, error } => {
                    let engine = engine.ok_or(error)?;
                    let chosen = Executor::in_engine(base, engine, store, &why);
                    told.push(chosen.told().to_owned());
                    match collect::collect(&asked, &key, &chosen, store, progress, cancel).await? {
                        Ran::Collected(collected) => collected,
                        Ran::NotHere { error, .. } => return Err(error),
                    }
                }
            }
        };
        let mut recipe = Recipe::on(base.clone());
        for (title, tree) in packages.layers()? {
            recipe = recipe.layer(title, tree);
        }
        let mut left_out = None;
        match &collected {
            Collected::Files { folder, root, count } => {
                told.push(format!("{count} static files are in {root}"));
                let mut tree = Tree::new();
                tree.add_kept(folder, root)?;
                recipe = recipe.layer("static files", tree);
                left_out = Path::new(root).strip_prefix(&self.working_dir).ok().map(Path::to_owned);
            }
            Collected::Nothing { why } => told.push(format!("there are no static files in the image: {why}")),
        }
        let code = self.code(project, &packages, &compiled, left_out.as_deref())?;
        let recipe = recipe.layer("code", code).run_as(self.runtime(base, command));
        Ok(Site {
            recipe,
            fingerprint,
            told,
            packages,
        })
    }

    /// What the settings see while static files are collected.
    fn settings_env(&self) -> BTreeMap<String, String> {
        let mut env = self.image_env.clone();
        env.extend(self.env.clone());
        let withheld = self.withheld.iter();
        env.extend(withheld.map(|(name, withheld)| (name.clone(), withheld.stand_in())));
        if let Some(settings) = &self.settings {
            env.insert("DJANGO_SETTINGS_MODULE".into(), settings.clone());
        }
        env
    }

    /// Those that are not the project itself.
    fn import_roots(&self) -> Vec<PathBuf> {
        let own = self.manage.parent().unwrap_or_else(|| Path::new(""));
        self.import_roots
            .iter()
            .filter(|root| root.as_path() != own)
            .cloned()
            .collect()
    }

    /// The project's files, and beside its modules what they were compiled to. `without` is a folder that is not the code's.
    fn code(
        &self,
        project: &Context,
        packages: &Packages,
        compiled: &BTreeMap<PathBuf, PathBuf>,
        without: Option<&Path>,
    ) -> Result<Tree, ImageError> {
        let mut tree = Tree::new();
        let place = Path::new(&self.working_dir);
        tree.add_context_without(project, place, without)?;
        let tag = packages.python().cache_tag();
        let kept = compiled
            .iter()
            .filter(|(module, _)| !without.is_some_and(|without| module.starts_with(without)));
        for (module, file) in kept {
            tree.add_kept(file, beside(place.join(module), &tag))?;
        }
        let roots: Vec<String> = self
            .import_roots()
            .iter()
            .map(|root| format!("{}\n", place.join(root).display()))
            .collect();
        if !roots.is_empty() {
            tree.bytes(format!("{}/nuages-project.pth", packages.site()), roots.concat(), false)?;
        }
        Ok(tree)
    }

    fn runtime(&self, base: &Base, command: Vec<String>) -> Runtime {
        let of_base = base.env();
        let path = of_base.iter().rfind(|(name, _)| name == "PATH");
        let path = path.map_or(USUAL_PATH, |(_, value)| value.as_str());
        let mut env: BTreeMap<String, String> = [
            ("PATH", format!("{VENV}/bin:{path}")),
            ("HOME", "/tmp".to_owned()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            // The user cannot write beside the modules, and need not: they are compiled.
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(settings) = &self.settings {
            env.insert("DJANGO_SETTINGS_MODULE".into(), settings.clone());
        }
        env.extend(self.image_env.clone());
        let folder = self.manage.parent().unwrap_or_else(|| Path::new(""));
        let starts_in = Path::new(&self.working_dir).join(folder);
        Runtime {
            command: Some(command),
            env,
            working_dir: Some(starts_in.to_string_lossy().trim_end_matches('/').to_owned()),
            user: Some(format!("{}:{}", self.user.0, self.user.1)),
            labels: self.labels.clone(),
            exposed_ports: vec![format!("{}/tcp", self.port)],
            ..Runtime::default()
        }
    }

    /// `CMD`: a server that is among the packages.
    fn command(&self, project: &Context, packages: &Packages) -> Result<Vec<String>, ImageError> {
        let has = |name: &str| packages.list().any(|(package, _)| package == name);
        let bound = format!("0.0.0.0:{}", self.port);
        let port = self.port.to_string();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let missing = |module: &str, what: &str| ImageError::Packages {
            why: format!("none of them is a server for {module}"),
            hint: Some(format!("add {what} to the project's packages and lock them again")),
        };
        match &self.server {
            Server::Command(command) => Ok(command.clone()),
            Server::Wsgi(module) if has("gunicorn") => {
                let file = self.manage.with_file_name("gunicorn.conf.py");
                let configured = project.entries().iter().any(|entry| entry.path == file);
                // The project's own file says where it listens.
                Ok(if configured {
                    words(&["gunicorn", module])
                } else {
                    words(&["gunicorn", "--bind", &bound, module])
                })
            }
            Server::Wsgi(module) => Err(missing(module, "gunicorn")),
            Server::Asgi(module) => {
                let application = format!("{module}:application");
                if has("gunicorn") && has("uvicorn-worker") {
                    let worker = "uvicorn_worker.UvicornWorker";
                    Ok(words(&[
                        "gunicorn",
                        "--bind",
                        &bound,
                        "--worker-class",
                        worker,
                        &application,
                    ]))
                } else if has("uvicorn") {
                    Ok(words(&["uvicorn", &application, "--host", "0.0.0.0", "--port", &port]))
                } else if has("daphne") {
                    Ok(words(&["daphne", "--bind", "0.0.0.0", "--port", &port, &application]))
                } else if has("hypercorn") {
                    Ok(words(&["hypercorn", "--bind", &bound, &application]))
                } else {
                    Err(missing(module, "uvicorn"))
                }
            }
        }
    }
}

/// Chooses a way to run Python when the first thing is to be run.
struct Chosen<'a> {
    base: &'a Base,
    contents: &'a Contents,
    engine: Option<&'a Engine>,
    store: &'a BlobStore,
    executor: Option<Executor<'a>>,
}

impl<'a> Chosen<'a> {
    async fn get(&mut self, packages: &Packages, progress: &Progress) -> Result<&Executor<'a>, ImageError> {
        let Self {
            base,
            contents,
            engine,
            store,
            ..
        } = *self;
        if self.executor.is_none() {
            self.executor = Some(Executor::choose(base, contents, packages, engine, store, progress).await?);
        }
        self.executor.as_ref().ok_or_else(|| ImageError::Python {
            why: "none was chosen".into(),
        })
    }
}

async fn fingerprint(project: &Context, memory: Option<&Path>) -> Result<Fingerprint, ImageError> {
    let (project, memory) = (project.clone(), memory.map(Path::to_owned));
    let root = project.root().to_owned();
    let read = tokio::task::spawn_blocking(move || project.fingerprint(memory.as_deref())).await;
    read.map_err(|error| ImageError::file("read", root)(std::io::Error::other(error)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[&str]) -> (tempfile::TempDir, Context) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let context = Context::of_project(folder.path(), &[], &Progress::none()).unwrap();
        (folder, context)
    }

    #[test]
    fn the_server_is_one_of_the_packages() {
        let (_plain, plain) = project(&["manage.py"]);
        let (_own, own) = project(&["src/manage.py", "src/gunicorn.conf.py"]);
        let command = |server: &Server, packages: &[&str], project: &Context| {
            let mut django = Django::new(server.clone(), 8080);
            if project.entries().iter().any(|entry| entry.path.starts_with("src")) {
                django.manage = "src/manage.py".into();
            }
            match django.command(project, &Packages::named(packages)) {
                Ok(words) => words.join(" "),
                Err(error) => format!("{error}; {}", error.hint().unwrap_or_default()),
            }
        };
        let (wsgi, asgi) = (Server::Wsgi("blog.wsgi".into()), Server::Asgi("blog.asgi".into()));
        let said = [
            command(&wsgi, &["django", "gunicorn"], &plain),
            command(&wsgi, &["django", "gunicorn"], &own),
            command(&wsgi, &["django", "uvicorn"], &plain),
            command(&asgi, &["gunicorn", "uvicorn", "uvicorn-worker"], &plain),
            command(&asgi, &["gunicorn", "uvicorn"], &plain),
            command(&asgi, &["daphne"], &plain),
            command(&asgi, &["hypercorn"], &plain),
            command(&asgi, &["gunicorn"], &plain),
            command(&Server::Command(vec!["granian".into(), "blog".into()]), &[], &plain),
        ];
        insta::assert_snapshot!(said.join("\n"), @"
        gunicorn --bind 0.0.0.0:8080 blog.wsgi
        gunicorn blog.wsgi
        failed to install the project's packages: none of them is a server for blog.wsgi; add gunicorn to the project's packages and lock them again
        gunicorn --bind 0.0.0.0:8080 --worker-class uvicorn_worker.UvicornWorker blog.asgi:application
        uvicorn blog.asgi:application --host 0.0.0.0 --port 8080
        daphne --bind 0.0.0.0 --port 8080 blog.asgi:application
        hypercorn --bind 0.0.0.0:8080 blog.asgi:application
        failed to install the project's packages: none of them is a server for blog.asgi; add uvicorn to the project's packages and lock them again
        granian blog
        ");
    }

    #[test]
    fn an_image_is_run_as_a_project_wants() {
        let mut django = Django::new(Server::Wsgi("blog.wsgi".into()), 8000);
        django.manage = "src/manage.py".into();
        django.settings = Some("blog.settings".into());
        django.image_env.insert("HOME".into(), "/home/blog".into());
        django.withheld.insert("SECRET_KEY".into(), Withheld::Secret);
        django.env.insert("DEBUG".into(), "0".into());
        let runtime = django.runtime(&Base::scratch("linux/amd64"), vec!["gunicorn".into()]);
        let env: Vec<String> = runtime
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        insta::assert_snapshot!(env.join("\n"), @"
        DJANGO_SETTINGS_MODULE=blog.settings
        HOME=/home/blog
        PATH=/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
        PYTHONDONTWRITEBYTECODE=1
        PYTHONUNBUFFERED=1
        ");
        assert_eq!(
            (
                runtime.working_dir.as_deref(),
                runtime.user.as_deref(),
                &runtime.exposed_ports[..]
            ),
            (Some("/app/src"), Some("10001:10001"), &["8000/tcp".to_owned()][..])
        );
        // A secret has a stand-in for the settings alone, which is the same each time.
        assert!(django.settings_env()["SECRET_KEY"].len() >= 50);
        assert_eq!(django.settings_env(), django.settings_env());
    }

    #[test]
    fn the_code_is_the_project_without_what_was_collected() {
        let (folder, context) = project(&[
            "manage.py",
            "blog/urls.py",
            "static/old.css",
            "libs/shop/shop/__init__.py",
        ]);
        let compiled = folder.path().join("compiled.pyc");
        std::fs::write(&compiled, "x").unwrap();
        let compiled =
            [("blog/urls.py", &compiled), ("static/hook.py", &compiled)].map(|(path, to)| (path.into(), to.clone()));
        let mut django = Django::new(Server::Command(Vec::new()), 8000);
        django.import_roots = vec!["".into(), "libs/shop".into()];
        let code = django
            .code(
                &context,
                &Packages::named(&[]),
                &compiled.into(),
                Some(Path::new("static")),
            )
            .unwrap();
        let paths: Vec<&str> = code
            .paths()
            .filter_map(Path::to_str)
            .filter(|path| path.contains('.'))
            .collect();
        assert_eq!(
            paths,
            [
                "app/blog/__pycache__/urls.cpython-313.pyc",
                "app/blog/urls.py",
                "app/libs/shop/shop/__init__.py",
                "app/manage.py",
                "opt/venv/lib/python3.13",
                "opt/venv/lib/python3.13/site-packages",
                "opt/venv/lib/python3.13/site-packages/nuages-project.pth",
            ]
        );
    }
}
