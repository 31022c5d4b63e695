// Package cel compiles and runs the expressions of pipelines. They are CEL, the language of
// Kubernetes' own validation rules.
//
//	x, err := cel.New(cel.Config{})
//	if err != nil {
//		return err
//	}
//	program, err := x.Compile("event.data.value > 80", pipeline.Types{Result: pipeline.Bool})
//	if err != nil {
//		return err // column 12: undefined field 'valu'
//	}
//	hot, err := program.Eval(&pipeline.Vars{Event: &event})
//
// # Variables
//
//	event.id, event.source, event.type, event.subject   string
//	event.time                                           timestamp
//	event.data                                           whatever the source's decoder gives
//	event.extensions                                     map of strings
//	node                                                 string, the node's name
//	now                                                  timestamp
//
// # Functions
//
// All of CEL's standard library, and its extensions strings, math, lists, sets, regex,
// encoders, bindings, optional types and comprehensions with two variables, in the versions
// that are fixed here.
//
// Numbers mix: JSON has one kind of number, so the operators + - * / take an int and a double
// and give a double, as comparisons do. An expression that plain CEL accepts has the result
// that it has in plain CEL. A number of JSON is a double: the operator %, and functions that take
// an int, need int(event.data.n).
//
// # Limits
//
// An expression has at most 4,096 characters. Its cost is measured in Kubernetes' units:
// Compile refuses one that may cost more than 10,000,000 for an event whose texts have 1,024
// characters and whose lists and maps have 256 elements, and Eval ends at 250,000. Calls that
// can make much out of little (replace, join, format, flatten and the like) are checked before
// they run: no text is longer than an event may be, no list longer than 131,072 elements.
// Counting takes longer than most expressions do. It is left out for expressions that cannot
// be dear, and for events without long texts and lists where Compile has shown that these
// cannot make the expression dear.
//
// # Concurrency, memory and stability
//
// All methods may be called by several goroutines at once. An evaluation allocates its result
// and no map of variables. This package is the only one that imports cel-go, which costs a
// program about 5 MiB of memory that is merely linked; edgecore does not link it. The module
// is github.com/google/cel-go in the version of Kubernetes' API server, which the module graph
// has already: what an expression means here is what it means in a CRD of that version.
package cel
