// Package history keeps the past values of properties in a meta.Store: the last N values of
// each, or those of the last T, within a total number of bytes. Package twin uses it for
// properties whose model asks for a history.
//
//	log, err := history.New(history.Config{Store: memstore.New()})
//	...
//	err = log.Load(ctx, func(device, property string) history.Limit { return history.Limit{Values: 100} })
//	log.Append("plant/boiler", "temperature", history.Limit{Values: 100}, history.Entry{Time: ms, Value: "21"})
//	err = log.Flush(ctx)
//	page, err := log.Query(ctx, history.Query{Device: "plant/boiler", Property: "temperature"})
//
// # Durability and flash wear
//
// Append keeps a value in memory. Flush writes what is new, many values of one property as
// one chunk and all chunks together in one batch. The caller decides how often: a power cut
// loses what was appended since the last Flush, and nothing else. A chunk of less than 512
// bytes is replaced by a larger one at the next Flush, so that a slow property does not leave
// many small records behind.
//
// Chunks are records of the store, below meta.Local + "twin/history/". So they are encrypted
// when the store is, and they are in its backups.
//
// # Bounds
//
// The oldest chunks go when a property has more than its Limit, and when all together have
// more than Config.MaxBytes. At most 2 MiB wait for a Flush; when the store fails for so long
// that more would wait, the oldest waiting values of the property go, and are counted.
//
// # Damage
//
// A chunk that cannot be read is logged. Its property then has an empty history and begins
// anew. Nothing else is affected.
//
// # Concurrency
//
// Query may be called by several goroutines at once, and during all other calls. One goroutine
// at a time calls the others.
package history
