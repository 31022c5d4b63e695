// Package cases runs the cases of a Pipeline (spec.tests) in virtual time: a case of an hour takes
// milliseconds, and no source, sink, node or cluster is needed. "edgectl pipeline test" does it; so
// does a test of a gateway's own:
//
//	plan, err := pipeline.Compile(p, pipeline.Options{Expressions: x})
//	for _, test := range p.Spec.Tests {
//		r, err := cases.Run(plan, test, cases.Config{})
//		if !r.Passed() {
//			t.Error(r)
//		}
//	}
//
// # What is compared
//
// A case begins at Begin. Its inputs come at their times; the events that reach a sink are compared with those
// that the case expects of it, in their order.
//
// A sink that expect names gets these events and no others. Sinks that it does not name are not looked
// at, unless the case expects nothing at all: then no sink may get an event. No event that notExpect describes
// may reach a sink. A dead letter that the case does not expect fails it.
//
// Objects may have more fields than the expected ones; lists have the same length. Numbers are equal within a
// billionth, whatever their type. An event may come earlier than its at, not later.
//
// The functions have no state and may be called by several goroutines at once.
package cases
