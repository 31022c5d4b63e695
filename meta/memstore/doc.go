// Package memstore is a meta.Store in memory, for tests and for gateways that need not
// keep anything across a restart.
//
// It keeps every rule of the contract except durability: an acknowledged batch lives as
// long as the Store. Several goroutines may call all methods at once. The package imports
// only the standard library.
package memstore
