// Package rendertest renders the Helm chart and the kustomize base with the libraries of Helm
// and of kustomize, and compares them with package install. It is a module of its own, so that
// nothing else has these libraries.
package rendertest
