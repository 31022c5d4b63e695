// Package image reads image references as users write them in pods, and finds
// credentials for them in the secrets that pods name to pull with. It parses
// only; pulling is the container runtime's work.
//
//	ref, err := image.Parse("quay.io/acme/sensor:1.4")
//	keys, err := image.Credentials(secrets, ref)
//
// A reference without a registry is on docker.io, one without a tag or digest
// has the tag "latest", as everywhere.
package image
