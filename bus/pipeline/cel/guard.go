package cel

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// The cost of a call is counted when it has returned. Calls that can make much out of little
// are therefore checked before: the following are the limits for their results.
const (
	maxText     = pipeline.MaxEvent // bytes of a text
	maxList     = 128 << 10         // elements of a list
	maxCompared = 16 << 20          // pairs of elements
)

// guards say whether a function may be called with arguments.
var guards = map[string]func(args []ref.Val) bool{
	"replace": replaceFits,
	"regex.replace": func(args []ref.Val) bool {
		return (length(args[0])+1)*(length(args[2])+1) <= 4*maxText && patternGuard(args)
	},
	"matches":               patternGuard,
	"regex.extract":         patternGuard,
	"regex.extractAll":      patternGuard,
	"join":                  joinFits,
	"format":                func(args []ref.Val) bool { return length(args[0]) <= maxText && weightFits(args[1]) },
	"flatten":               func(args []ref.Val) bool { return weightFits(args[0]) },
	"distinct":              func(args []ref.Val) bool { return length(args[0])*length(args[0]) <= maxCompared },
	"sets.contains":         pairsFit,
	"sets.equivalent":       pairsFit,
	"sets.intersects":       pairsFit,
	"reverse":               listFits,
	"sort":                  listFits,
	"slice":                 listFits,
	"@sortByAssociatedKeys": listFits,
}

// length is the size of a text, list or map, 1 for other values.
func length(v ref.Val) int64 {
	switch v := v.(type) {
	case types.String:
		return int64(len(v))
	case types.Bytes:
		return int64(len(v))
	case traits.Sizer:
		n, _ := v.Size().(types.Int)
		return min(int64(n), 1<<31-1)
	}
	return 1
}

func replaceFits(args []ref.Val) bool {
	s, from, to := length(args[0]), length(args[1]), length(args[2])
	return s+(s/max(from, 1)+1)*to <= 2*maxText
}

func joinFits(args []ref.Val) bool {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return true
	}
	var between, sum int64
	if len(args) > 1 {
		between = length(args[1])
	}
	if length(list) > maxList {
		return false
	}
	for it := list.Iterator(); it.HasNext() == types.True; {
		if sum += length(it.Next()) + between; sum > maxText {
			return false
		}
	}
	return true
}

func pairsFit(args []ref.Val) bool { return length(args[0])*length(args[1]) <= maxCompared }

func listFits(args []ref.Val) bool { return length(args[0]) <= maxList }

// weightFits walks v: a list in a list may be the same one many times.
func weightFits(v ref.Val) bool {
	left := maxText
	return weigh(v, &left, 0)
}

func weigh(v ref.Val, left *int, depth int) bool {
	if *left -= 8; *left < 0 || depth > maxResult {
		return false
	}
	switch v := v.(type) {
	case types.String:
		*left -= len(v)
	case types.Bytes:
		*left -= len(v)
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			k := it.Next()
			if !weigh(k, left, depth+1) || !weigh(v.Get(k), left, depth+1) {
				return false
			}
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			if !weigh(it.Next(), left, depth+1) {
				return false
			}
		}
	}
	return *left >= 0
}

// sumFits says whether two texts or lists may be joined by +.
func sumFits(l, r ref.Val) bool {
	switch l := l.(type) {
	case types.String, types.Bytes:
		return length(l)+length(r) <= maxText
	case traits.Lister:
		return length(l)+length(r) <= maxList
	}
	return true
}

func tooLarge(function string) ref.Val {
	return types.NewErr("%s is not done: its result or its pattern may be too large: a text may have %d bytes, a list %d elements, a pattern %d bytes", function, maxText, maxList, maxPattern)
}

// guarded are the implementations of guarded functions, by their overloads and names.
type guarded map[string]functions.FunctionOp

func newGuarded(e *cel.Env) (guarded, error) {
	g := guarded{}
	all := e.Functions()
	for name, fits := range guards {
		fn, ok := all[name]
		if !ok {
			return nil, fmt.Errorf("there is no function %s", name)
		}
		bindings, err := fn.Bindings()
		if err != nil {
			return nil, err
		}
		for _, b := range bindings {
			call := variadic(b)
			if call == nil {
				return nil, fmt.Errorf("function %s has no implementation", b.Operator)
			}
			g[b.Operator] = func(args ...ref.Val) ref.Val {
				if !fits(args) {
					return tooLarge(name)
				}
				return call(args...)
			}
		}
	}
	return g, nil
}

// variadic is the implementation of an overload for any number of arguments.
func variadic(o *functions.Overload) functions.FunctionOp {
	if o.Unary == nil && o.Binary == nil {
		return o.Function
	}
	return func(args ...ref.Val) ref.Val {
		switch {
		case len(args) == 1 && o.Unary != nil:
			return o.Unary(args[0])
		case len(args) == 2 && o.Binary != nil:
			return o.Binary(args[0], args[1])
		case o.Function != nil:
			return o.Function(args...)
		}
		return types.NewErr("no such overload: %s", o.Operator)
	}
}

// decorate puts the guards before calls.
func (g guarded) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || guards[call.Function()] == nil {
		return i, nil
	}
	impl := g[call.OverloadID()]
	if impl == nil {
		impl = g[call.Function()]
	}
	if impl == nil {
		return nil, fmt.Errorf("function %s has no implementation", call.Function())
	}
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), impl), nil
}
