// Package devicespec translates between device specs and twins. Declare turns a
// device's spec and model into the twin.Put that declares the device to an
// engine. Instance reads a device back for its driver.
//
//	put, err := devicespec.Declare(spec, model)
//	...
//	err = engine.Put(ctx, "plant/boiler", put)
//
// The functions have no state and may be called by several goroutines at once.
package devicespec
