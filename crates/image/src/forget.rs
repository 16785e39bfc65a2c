//! Takes images away that nobody needs any more.
//!
//! Invariant: only an image that carries the label goes, and only under names that were asked for; one that a container
//! uses stays.

use bollard::errors::Error;
use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions};

use crate::container::label_filter;
use crate::error::engine_error;
use crate::{Engine, ImageError};

/// Removes the names that `unneeded` picks from every image with this label (`key=value`), and the image with its last
/// name. Answers how many names and nameless images went.
///
/// ```no_run
/// # async fn example(engine: &nuages_image::Engine) -> Result<(), nuages_image::ImageError> {
/// let gone = nuages_image::forget(engine, "dev.nuages.app=blog", |name| name.starts_with("nuages/blog:")).await?;
/// println!("{gone} gone");
/// # Ok(())
/// # }
/// ```
pub async fn forget(engine: &Engine, label: &str, unneeded: impl Fn(&str) -> bool) -> Result<usize, ImageError> {
    let docker = engine.docker();
    let labelled = ListImagesOptions {
        filters: Some(label_filter(label)),
        ..ListImagesOptions::default()
    };
    let images = docker.list_images(Some(labelled)).await;
    let mut gone = 0;
    for image in images.map_err(engine_error("list the images that nuages built"))? {
        let nameless = |name: &&String| name.starts_with("<none>");
        let names: Vec<&String> = image.repo_tags.iter().chain(&image.repo_digests).collect();
        let mut unwanted: Vec<&str> = names
            .iter()
            .filter(|name| !nameless(name) && unneeded(name))
            .map(|name| name.as_str())
            .collect();
        if names.iter().all(nameless) {
            unwanted.push(&image.id);
        }
        for name in unwanted {
            match docker.remove_image(name, None::<RemoveImageOptions>, None).await {
                Ok(_) => gone += 1,
                // Gone with an earlier name of it; or in use, by a container or as another image's base.
                Err(Error::DockerResponseServerError {
                    status_code: 404 | 409, ..
                }) => {}
                Err(error) => return Err(engine_error(format!("remove the image {name}"))(error)),
            }
        }
    }
    Ok(gone)
}
