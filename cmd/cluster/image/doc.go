// Package image writes container images from local files, with no registry
// and no container engine: one layer, in the docker-archive format that
// containerd, podman and docker import. The same input gives the same bytes.
package image
