// Package memstore is a meta.Store in memory, for tests and for gateways that
// need to remember nothing across a restart.
//
// It keeps every rule of the contract except durability: what Apply has
// acknowledged lives as long as the Store. All methods may be called by
// several goroutines at once. It needs the standard library only.
package memstore
