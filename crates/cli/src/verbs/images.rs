//! `nuages image`: images by themselves, of any project.

use nuages_image::Facts;
use nuages_pipeline::{Ending, PipelineError, Place, bytes};
use serde_json::json;

use crate::app::App;
use crate::args::ImageVerb;
use crate::screen;

pub(crate) async fn run(app: &App, verb: ImageVerb) -> Result<Ending, PipelineError> {
    match verb {
        ImageVerb::Inspect { image, platform } => {
            let facts = nuages_pipeline::image_facts(&image, &platform, &app.ui).await?;
            inspect(app, &image, &facts);
        }
        ImageVerb::Layers { image, platform } => {
            let facts = nuages_pipeline::image_facts(&image, &platform, &app.ui).await?;
            layers(app, &facts);
        }
        ImageVerb::Sbom { image } => {
            let Place::Registry(image) = image else {
                return Err(PipelineError::Arguments {
                    what: format!("`{image}` is in no registry, where a bill of materials belongs to an image"),
                    hint: Some("name the image as HOST/REPOSITORY:TAG".into()),
                });
            };
            let sbom = nuages_pipeline::image_sbom(&image).await?;
            screen::say(String::from_utf8_lossy(&sbom).trim_end());
        }
        ImageVerb::Copy { from, to } => {
            let digest = nuages_pipeline::copy_image(&from, &to, &app.ui).await?;
            app.ui.events.data("image", json!(digest));
        }
    }
    Ok(Ending::Done)
}

fn inspect(app: &App, image: &Place, facts: &Facts) {
    if app.json() {
        let mut object = json!({ "v": 1, "image": image.to_string(), "size": facts.size() });
        if let (Some(object), Ok(serde_json::Value::Object(facts))) =
            (object.as_object_mut(), serde_json::to_value(facts))
        {
            object.extend(facts);
        }
        screen::object(&object);
        return;
    }
    let digest = |digest: &Option<nuages_model::Digest>| digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let user = if facts.user.is_empty() { "root" } else { &facts.user };
    let labels: Vec<String> = facts
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let size = format!("{} in {} layers", bytes(facts.size()), facts.layers.len());
    for (name, value) in [
        ("digest", digest(&facts.digest)),
        ("of index", digest(&facts.index)),
        ("platform", facts.platform.clone()),
        ("size", size),
        ("made", facts.created.clone().unwrap_or_default()),
        ("user", user.to_owned()),
        ("entrypoint", facts.entrypoint.join(" ")),
        ("command", facts.command.join(" ")),
        ("folder", facts.working_dir.clone()),
        ("ports", facts.exposed_ports.join(" ")),
        ("variables", facts.env.join(" ")),
        ("labels", labels.join("\n            ")),
    ] {
        if !value.is_empty() {
            screen::say(&format!("{name:<11} {value}"));
        }
    }
}

fn layers(app: &App, facts: &Facts) {
    if app.json() {
        for layer in &facts.layers {
            screen::record(layer);
        }
        return;
    }
    let rows = facts.layers.iter().enumerate().map(|(at, layer)| {
        [
            (at + 1).to_string(),
            bytes(layer.blob.size),
            layer.blob.digest.short().to_owned(),
            layer.made_by.clone().unwrap_or_default(),
        ]
    });
    screen::table(["LAYER", "SIZE", "BLOB", "MADE BY"], rows);
}
