//! The plugins that came with this program, as plans are judged by them.

use sternway_core::exit;
use sternway_core::manifest::Catalogue;
use sternway_core::plan::settings::check_catalogue;

use super::failure::Failure;

const BUILT_IN: &str = include_str!("../../../plugins/built/catalogue.json");

/// The frozen manifests and digests of the built-in plugins.
pub fn built_in() -> Result<Catalogue, Failure> {
    let broken = |cause: Box<dyn std::error::Error + Send + Sync>| Failure::Other {
        message: "the built-in catalogue of plugins is broken".into(),
        exit: exit::BUG,
        hint: None,
        cause: Some(cause),
    };
    let catalogue: Catalogue = serde_json::from_str(BUILT_IN).map_err(|cause| broken(Box::new(cause)))?;
    check_catalogue(&catalogue).map_err(|cause| broken(Box::new(cause)))?;
    Ok(catalogue)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_catalogue_can_be_read() {
        assert!(super::built_in().is_ok_and(|catalogue| !catalogue.0.is_empty()));
    }
}
