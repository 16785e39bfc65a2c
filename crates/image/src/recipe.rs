//! An image that is put together here, without an engine: a base, layers on it, and how it is run.
//!
//! Invariant: the same base, files and settings give the same digest on every machine, for every user, at any time.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nuages_model::{BlobSink, Descriptor, Digest, Progress};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::export::{Annotations, CONFIG, Exported, Layer, manifest};
use crate::push::{Pushed, Sending, send};
use crate::reuse::{INPUT, PART, Reused};
use crate::{Base, BlobStore, Engine, ImageError, Tree, docker_archive};

/// When every image was made, as far as it says: what is the same has the same digest.
const CREATED: &str = "1980-01-02T00:00:00Z";

/// Before a layer's title in an image's history.
pub(crate) const CREATED_BY: &str = "nuages: ";

/// What of a base's configuration an image keeps; the rest tells of the machine that made the base.
const KEPT: [&str; 8] = [
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "author",
    "config",
    "history",
];

/// How an image is run. What is `None` or empty is as in the base.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `ENTRYPOINT`. Where it is given, the base's `CMD` is dropped, as a Dockerfile does.
    pub entrypoint: Option<Vec<String>>,
    /// `CMD`.
    pub command: Option<Vec<String>>,
    /// `ENV`: added to the base's, and in place of those of the same name.
    pub env: BTreeMap<String, String>,
    /// `WORKDIR`.
    pub working_dir: Option<String>,
    /// `USER`.
    pub user: Option<String>,
    /// `LABEL`: added to the base's.
    pub labels: BTreeMap<String, String>,
    /// `EXPOSE`, such as `8000/tcp`: added to the base's.
    pub exposed_ports: Vec<String>,
    /// `STOPSIGNAL`.
    pub stop_signal: Option<String>,
}

/// An image to be put together.
///
/// ```no_run
/// use nuages_image::{Base, BlobStore, Recipe, Tree};
/// use nuages_model::Progress;
///
/// # async fn example(source: std::sync::Arc<dyn nuages_model::BlobSource>) -> Result<(), Box<dyn std::error::Error>> {
/// let (store, quiet) = (BlobStore::open("cache/blobs")?, Progress::none());
/// let base = Base::read(source, "3.13-slim", "linux/amd64", &store, &quiet).await?;
/// let mut site = Tree::new();
/// site.add("public", "/srv")?;
/// let image = Recipe::on(base).layer("site", site).make(&store, &quiet)?;
/// println!("{}", image.digest);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Recipe {
    base: Base,
    layers: Vec<Put>,
    runtime: Runtime,
}

/// A layer that is put on the base.
#[derive(Debug, Clone)]
struct Put {
    title: String,
    content: Content,
    /// What it was made from, and which part of that it is: `1/3`.
    input: Option<(Digest, String)>,
}

#[derive(Debug, Clone)]
enum Content {
    Tree(Tree),
    /// Made before, for an image that is kept somewhere.
    Reused(Reused),
}

impl Recipe {
    /// Begins with a base.
    pub fn on(base: Base) -> Self {
        Self {
            base,
            layers: Vec::new(),
            runtime: Runtime::default(),
        }
    }

    /// Puts a layer on it. The title stands in the image's history. A tree that holds nothing is no layer.
    #[must_use]
    pub fn layer(mut self, title: impl Into<String>, tree: Tree) -> Self {
        if !tree.is_empty() {
            self.layers.push(Put {
                title: title.into(),
                content: Content::Tree(tree),
                input: None,
            });
        }
        self
    }

    /// Puts layers on it that were all made from one input, which the manifest tells of each. Whoever has the same input
    /// finds them there again (see [`Previous`](crate::Previous)), and need not make them.
    #[must_use]
    pub fn made_from(mut self, input: &Digest, layers: impl IntoIterator<Item = (String, Tree)>) -> Self {
        let layers: Vec<_> = layers.into_iter().filter(|(_, tree)| !tree.is_empty()).collect();
        let count = layers.len();
        let puts = layers.into_iter().enumerate().map(|(number, (title, tree))| Put {
            title,
            content: Content::Tree(tree),
            input: Some((input.clone(), format!("{}/{count}", number + 1))),
        });
        self.layers.extend(puts);
        self
    }

    /// Puts layers on it that an earlier image has. The image is the same as with [`made_from`](Self::made_from); nothing
    /// is read or made for it, unless it goes to where they are not.
    #[must_use]
    pub fn reuse(mut self, layers: impl IntoIterator<Item = Reused>) -> Self {
        self.layers.extend(layers.into_iter().map(|layer| Put {
            title: layer.title.clone(),
            input: Some((layer.input.clone(), layer.part.clone())),
            content: Content::Reused(layer),
        }));
        self
    }

    /// Says how it is run.
    #[must_use]
    pub fn run_as(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// Puts it together. Files in a state that was seen before are not read. Blocks.
    pub fn make(&self, store: &BlobStore, progress: &Progress) -> Result<Exported, ImageError> {
        self.assemble(store, progress, false)
    }

    /// `whole`: a layer of which only the name is known is made again.
    fn assemble(&self, store: &BlobStore, progress: &Progress, whole: bool) -> Result<Exported, ImageError> {
        let mut layers = self.base.layers().to_vec();
        for layer in &mut layers {
            layer.file = store
                .has(&layer.descriptor.digest)
                .then(|| store.path(&layer.descriptor.digest));
        }
        for put in &self.layers {
            layers.push(match &put.content {
                Content::Tree(tree) => made(&put.title, tree, store, progress, whole)?,
                Content::Reused(reused) => reused.layer(store),
            });
        }
        let config_content = Bytes::from(self.config(&layers).to_string());
        let config = Descriptor {
            media_type: CONFIG.into(),
            digest: store.put(&config_content)?,
            size: config_content.len() as u64,
        };
        let told = self.layers.iter().map(|put| {
            let (input, part) = put.input.as_ref()?;
            Some(Annotations::from([(INPUT, input.to_string()), (PART, part.clone())]))
        });
        let told = std::iter::repeat_n(None, self.base.layers().len()).chain(told);
        let manifest = manifest(&config, layers.iter().map(|layer| &layer.descriptor).zip(told));
        Ok(Exported {
            digest: Digest::of(&manifest),
            manifest,
            config,
            config_content,
            layers,
        })
    }

    /// Puts it together and sends it, under these tags in this order. What the far side has is neither read nor sent.
    pub async fn push(
        &self,
        store: &BlobStore,
        sink: &dyn BlobSink,
        tags: impl Fn(&Digest) -> Vec<String> + Send,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Pushed, ImageError> {
        let name = self.base.name();
        let pushing = async {
            let image = self.in_background(store, progress, false).await?;
            let wanted = tags(&image.digest);
            let image = self.complete(image, store, sink, progress).await?;
            match send(&image, sink, &wanted, progress).await {
                // A layer is neither here nor there any more.
                Err(Sending::Gone) => {
                    let image = self.in_background(store, progress, true).await?;
                    let image = self.complete(image, store, sink, progress).await?;
                    let sent = send(&image, sink, &wanted, progress).await;
                    sent.map_err(|error| error.into_error(name))
                }
                sent => sent.map_err(|error| error.into_error(name)),
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ImageError::Cancelled { what: format!("push the image on {name}") }),
            pushed = pushing => pushed,
        }
    }

    /// Puts it together and loads it into the engine, under this name.
    pub async fn load(
        &self,
        store: &BlobStore,
        engine: &Engine,
        name: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Exported, ImageError> {
        let loading = async {
            let image = self.here(store, progress).await?;
            docker_archive::load(engine, &image, name, progress).await?;
            Ok(image)
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ImageError::Cancelled { what: format!("load the image {name}") }),
            loaded = loading => loaded,
        }
    }

    /// Puts it together and writes it as a file that `docker load` and `skopeo copy oci-archive:` read.
    pub async fn save(
        &self,
        store: &BlobStore,
        file: &Path,
        name: &str,
        progress: &Progress,
    ) -> Result<Exported, ImageError> {
        let image = self.here(store, progress).await?;
        let (archived, called, path) = (image.clone(), name.to_owned(), file.to_owned());
        let write = move || {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or_else(|| Path::new("."));
            let part = tempfile::NamedTempFile::new_in(folder).map_err(ImageError::file("write", &path))?;
            let mut writer = BufWriter::with_capacity(1 << 20, part);
            docker_archive::write_archive(&archived, &called, &mut writer)?;
            let part = writer.into_inner().map_err(std::io::IntoInnerError::into_error);
            let part = part.map_err(ImageError::file("write", &path))?;
            part.persist(&path)
                .map_err(|error| ImageError::file("write", path)(error.error))?;
            Ok(())
        };
        blocking(name, write).await?;
        Ok(image)
    }

    /// Puts it together with every layer in the store.
    async fn here(&self, store: &BlobStore, progress: &Progress) -> Result<Exported, ImageError> {
        let mut image = self.in_background(store, progress, true).await?;
        for (number, layer) in image.layers.iter_mut().enumerate() {
            if layer.file.is_none() {
                layer.file = self.fetch(number, layer, store, progress).await?;
            }
        }
        Ok(image)
    }

    async fn in_background(&self, store: &BlobStore, progress: &Progress, whole: bool) -> Result<Exported, ImageError> {
        let (recipe, store, progress) = (self.clone(), store.clone(), progress.clone());
        blocking(self.base.name(), move || recipe.assemble(&store, &progress, whole)).await
    }

    /// A layer that was not made here: of the base, or of an earlier image.
    async fn fetch(
        &self,
        number: usize,
        layer: &Layer,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Option<PathBuf>, ImageError> {
        let Some(own) = number.checked_sub(self.base.layers().len()) else {
            return self.base.fetch(&layer.descriptor, store, progress).await.map(Some);
        };
        match self.layers.get(own).map(|put| &put.content) {
            Some(Content::Reused(reused)) => reused.fetch(store, progress).await.map(Some),
            _ => Ok(layer.file.clone()),
        }
    }

    /// Reads the layers of the base and of earlier images that the far side lacks.
    async fn complete(
        &self,
        mut image: Exported,
        store: &BlobStore,
        sink: &dyn BlobSink,
        progress: &Progress,
    ) -> Result<Exported, ImageError> {
        for (number, layer) in image.layers.iter_mut().enumerate() {
            let made = number
                .checked_sub(self.base.layers().len())
                .and_then(|own| self.layers.get(own));
            if made.is_some_and(|put| matches!(put.content, Content::Tree(_))) {
                continue;
            }
            if layer.file.is_none() && !sink.has(&layer.descriptor.digest).await? {
                layer.file = self.fetch(number, layer, store, progress).await?;
            }
        }
        Ok(image)
    }

    /// The configuration: the base's, with what is put on it.
    fn config(&self, layers: &[Layer]) -> Value {
        let base = self.base.config();
        let mut config = Map::new();
        for name in KEPT {
            if let Some(value) = base.get(name) {
                config.insert(name.into(), value.clone());
            }
        }
        config.insert("created".into(), CREATED.into());
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        config.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
        let mut history = base
            .get("history")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let titles = self.layers.iter().map(|put| &put.title);
        history.extend(titles.map(|title| json!({ "created": CREATED, "created_by": format!("{CREATED_BY}{title}") })));
        config.insert("history".into(), history.into());
        let run = config.entry("config").or_insert_with(|| json!({}));
        if !run.is_object() {
            *run = json!({});
        }
        if let Some(run) = run.as_object_mut() {
            self.runtime.write(run);
        }
        Value::Object(config)
    }
}

impl Runtime {
    /// Into an image's `config`.
    fn write(&self, config: &mut Map<String, Value>) {
        if let Some(entrypoint) = &self.entrypoint {
            config.insert("Entrypoint".into(), json!(entrypoint));
            config.remove("Cmd");
        }
        let single = [
            ("Cmd", self.command.as_ref().map(|command| json!(command))),
            ("WorkingDir", self.working_dir.as_ref().map(|folder| json!(folder))),
            ("User", self.user.as_ref().map(|user| json!(user))),
            ("StopSignal", self.stop_signal.as_ref().map(|signal| json!(signal))),
        ];
        for (name, value) in single {
            if let Some(value) = value {
                config.insert(name.into(), value);
            }
        }
        if !self.env.is_empty() {
            let mut env: Vec<String> =
                serde_json::from_value(config.remove("Env").unwrap_or_default()).unwrap_or_default();
            for (name, value) in &self.env {
                let said = format!("{name}={value}");
                match env.iter_mut().find(|other| other.split('=').next() == Some(name)) {
                    Some(other) => *other = said,
                    None => env.push(said),
                }
            }
            config.insert("Env".into(), json!(env));
        }
        let ports = self.exposed_ports.iter().map(|port| (port.clone(), json!({})));
        let labels = self.labels.iter().map(|(name, value)| (name.clone(), json!(value)));
        for (name, more) in [
            ("ExposedPorts", ports.collect::<Map<_, _>>()),
            ("Labels", labels.collect()),
        ] {
            if more.is_empty() {
                continue;
            }
            match config.get_mut(name).and_then(Value::as_object_mut) {
                Some(there) => there.extend(more),
                None => {
                    config.insert(name.into(), more.into());
                }
            }
        }
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    image: &str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ImageError::Export {
        image: image.to_owned(),
        why: error.to_string(),
    })?
}

/// A tree as a layer: known by the state of its files, or compressed now.
fn made(title: &str, tree: &Tree, store: &BlobStore, progress: &Progress, whole: bool) -> Result<Layer, ImageError> {
    let key = tree.key();
    if let Some((descriptor, diff_id)) = key.as_ref().and_then(|key| store.selected(key)) {
        let here = store.has(&descriptor.digest);
        if here || !whole {
            let file = here.then(|| store.path(&descriptor.digest));
            return Ok(Layer {
                descriptor,
                diff_id,
                file,
            });
        }
    }
    progress.status(format!("compressing {title}"));
    let (descriptor, diff_id) = store.write_layer(|writer| tree.write(writer))?;
    // What was read is what the key tells of, unless somebody wrote meanwhile.
    if let Some(key) = key.filter(|_| tree.is_as_listed()) {
        store.remember_selected(&key, &diff_id)?;
    }
    let file = Some(store.path(&descriptor.digest));
    Ok(Layer {
        descriptor,
        diff_id,
        file,
    })
}
