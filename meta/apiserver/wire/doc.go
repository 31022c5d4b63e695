// Package wire is what a node's API and the cloud tell each other over the
// link: which of the node's sessions want more than their pods, the keys by
// which the node checks service account tokens, and the calls by which it has
// the cloud do what it cannot.
//
// The node imports it in meta/apiserver, the cloud in controller/nodeapi.
package wire
