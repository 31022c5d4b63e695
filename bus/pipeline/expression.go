package pipeline

import "time"

// Type is what an expression must result in.
type Type int

// The types of results.
const (
	Any    Type = iota // whatever Event.Data may be
	Bool               // bool
	String             // string; numbers and bools are not converted
	Number             // int64, uint64 or float64
	Time               // time.Time; Timestamp converts texts and numbers
	Object             // map[string]any
)

// String returns the name as errors have it.
func (t Type) String() string {
	switch t {
	case Bool:
		return "bool"
	case String:
		return "string"
	case Number:
		return "number"
	case Time:
		return "time"
	case Object:
		return "object"
	}
	return "any"
}

// Types is what is known about an expression when it is compiled.
type Types struct {
	// Result is what it must result in. An expression whose type is not known before it
	// runs is compiled, and Eval fails if the result is another.
	Result Type
	// Fields are the types of fields of event.data that are known; nil means that nothing is
	// known. A field that is not there is an error if Closed is set.
	Fields map[string]Type
	Closed bool
}

// Vars are the variables of an expression: event and node. The expression event.time is a
// timestamp, event.data whatever the data are, event.extensions a map.
type Vars struct {
	Event *Event
	Node  string
	Now   time.Time // now
}

// Expressions compile expressions.
type Expressions interface {
	// Compile checks the text, its types and what it may cost. An error says where in the
	// text and does not repeat the text.
	Compile(text string, t Types) (Program, error)
}

// Program is a compiled expression. Eval may be called by several goroutines at once.
type Program interface {
	// Eval returns the result in a type of Event.Data, or a time.Time. It does not keep v and
	// does not change the event. It bounds what it costs.
	Eval(v *Vars) (any, error)
}
