// Package gobuild builds programs from Go modules into a cache and shows that
// it is at work: one line when a build begins, one every few seconds with the
// number of packages compiled, one when it ends. A program that is in the
// cache is not built again.
package gobuild
