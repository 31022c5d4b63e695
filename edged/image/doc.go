// Package image reads image references as users write them in pods, finds
// credentials for them in the secrets that pods name in imagePullSecrets and in docker
// configuration files of the node, and remembers with which credentials an image was
// pulled (KEP-2535). It pulls nothing: that is the container runtime's work.
//
//	ref, err := image.Parse("quay.io/acme/sensor:1.4")
//	keys, err := image.Credentials(secrets, ref)
//
// References are parsed by github.com/distribution/reference, as everywhere: one
// without a registry is on docker.io, one without a tag or digest has the tag "latest".
package image
