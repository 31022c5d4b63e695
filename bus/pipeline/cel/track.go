package cel

import (
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// tracking says when the cost of an expression is counted while it runs, which takes longer
// than most expressions do.
type tracking int

const (
	never     tracking = iota // the largest event cannot make it dear
	ifLarge                   // an ordinary event cannot
	mustTrack                 // it must be counted
)

// plainCalls are the functions and operators that take a time by the size of their
// arguments, and make nothing larger than these. Of others the cost is always counted.
var plainCalls = set(
	operators.Conditional, operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.NotStrictlyFalse,
	operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
	operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate,
	operators.Index, operators.OptIndex, operators.OptSelect, operators.In,
	"size", "startsWith", "endsWith", "contains", "bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint",
	"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds",
	"charAt", "indexOf", "lastIndexOf", "lowerAscii", "upperAscii", "substring", "trim",
	"or", "orValue", "hasValue", "value", "optional.of", "optional.none", "optional.ofNonZeroValue",
	"math.@max", "math.@min", "math.abs", "math.ceil", "math.floor", "math.round", "math.sign", "math.trunc", "math.isNaN", "math.isInf", "math.isFinite", "math.sqrt",
)

// maxSums is how many + may join texts or lists in an expression that is not counted.
const maxSums = 8

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// trackingOf looks at what the expression is made of. The estimates of its cost hold for
// what is read of the event; they do not where a function makes lists or texts of any size.
func trackingOf(a *ast.AST) tracking {
	t, sums := never, 0
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			if t == never {
				t = ifLarge
			}
			if r := e.AsComprehension().IterRange(); !read(r) {
				t = mustTrack
			}
		case ast.CallKind:
			name := e.AsCall().FunctionName()
			if name == operators.Add && !isNumber(a.GetType(e.ID())) {
				sums++
			}
			constantPattern := name == "matches" && len(e.AsCall().Args()) == 1 && e.AsCall().Args()[0].Kind() == ast.LiteralKind
			if !plainCalls[name] && !constantPattern || sums > maxSums {
				t = mustTrack
			}
		}
	}))
	return t
}

// read says whether e is read of the event, or of an element of what was read.
func read(e ast.Expr) bool {
	for e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	return e.Kind() == ast.IdentKind
}

func isNumber(t *types.Type) bool {
	switch t.Kind() {
	case types.IntKind, types.UintKind, types.DoubleKind, types.TimestampKind, types.DurationKind:
		return true
	}
	return false
}

// maxWalked is how many values of an event are looked at to find that it is ordinary.
const maxWalked = 512

// ordinary says whether the event is not larger than ordinarySizes.
func ordinary(e *pipeline.Event) bool {
	if e == nil {
		return true
	}
	longest := max(len(e.ID), len(e.Source), len(e.Type), len(e.Subject))
	if uint64(longest) > ordinarySizes.text || len(e.Extensions) > maxExtensions {
		return false
	}
	left := maxWalked
	return ordinaryData(e.Data, &left)
}

func ordinaryData(v any, left *int) bool {
	if *left--; *left < 0 {
		return false
	}
	switch v := v.(type) {
	case string:
		return uint64(len(v)) <= ordinarySizes.text
	case []byte:
		return uint64(len(v)) <= ordinarySizes.text
	case []any:
		if uint64(len(v)) > ordinarySizes.list {
			return false
		}
		for _, e := range v {
			if !ordinaryData(e, left) {
				return false
			}
		}
	case map[string]any:
		if uint64(len(v)) > ordinarySizes.list {
			return false
		}
		for k, e := range v {
			if uint64(len(k)) > ordinarySizes.text || !ordinaryData(e, left) {
				return false
			}
		}
	}
	return true
}
