// Package controllertest has what the tests of cloud-side packages share: an
// API server in memory.
package controllertest
