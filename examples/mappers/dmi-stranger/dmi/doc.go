// Package dmi is the code that the plugins of protoc make of dmi.proto; see go:generate in the
// folder above.
package dmi
