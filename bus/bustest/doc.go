// Package bustest helps to test what uses a bus.Bus: a Transport in memory, a broker that runs
// until the test ends, and the suite that every Transport passes.
//
//	func TestTransport(t *testing.T) { // in bus/broker
//		bustest.Run(t, func(t *testing.T) bustest.Subject { ... })
//	}
package bustest
