// Package pki makes the keys, certificates and kubeconfigs of a development
// cluster: authorities that sign, pairs of certificate and key, and the files
// that Kubernetes' programs read them from. Keys are ECDSA P-256 and every
// file that holds one has mode 0600.
package pki
