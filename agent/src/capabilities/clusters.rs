//! placeholder
use crate::capabilities::{ErrorKind, HostError};
use serde::{Deserialize, Serialize};
use std::time::Instant;
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRequest {
    pub cluster: String,
    pub namespace: String,
    pub method: String,
    pub group: String,
    pub rest: String,
    pub content_type: String,
    pub body: Vec<u8>,
    pub timeout_ms: u64,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterResponse {
    pub status: u16,
    pub body: Vec<u8>,
}
#[derive(Debug, Default)]
pub struct Clusters;
impl Clusters {
    pub fn send(&self, r: &ClusterRequest, _: Instant) -> Result<ClusterResponse, HostError> {
        Err(HostError::new(ErrorKind::NotFound, "clusters/unknown", r.cluster.clone()))
    }
}
