package cel

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/stdlib"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// mixedNumbers is the standard library with operators that take numbers of two types.
func mixedNumbers() cel.EnvOption {
	impls := map[string]struct {
		trait int
		apply func(l, r ref.Val) ref.Val
		mixed func(l, r types.Double) types.Double
	}{
		operators.Add: {traits.AdderType, func(l, r ref.Val) ref.Val {
			if !sumFits(l, r) {
				return tooLarge("+")
			}
			return l.(traits.Adder).Add(r)
		},
			func(l, r types.Double) types.Double { return l + r }},
		operators.Subtract: {traits.SubtractorType, func(l, r ref.Val) ref.Val { return l.(traits.Subtractor).Subtract(r) },
			func(l, r types.Double) types.Double { return l - r }},
		operators.Multiply: {traits.MultiplierType, func(l, r ref.Val) ref.Val { return l.(traits.Multiplier).Multiply(r) },
			func(l, r types.Double) types.Double { return l * r }},
		operators.Divide: {traits.DividerType, func(l, r ref.Val) ref.Val { return l.(traits.Divider).Divide(r) },
			func(l, r types.Double) types.Double { return l / r }},
	}
	var opts []cel.EnvOption
	without := &env.LibrarySubset{}
	for _, fn := range stdlib.Functions() {
		impl, ok := impls[fn.Name()]
		if !ok {
			continue
		}
		without.ExcludeFunctions = append(without.ExcludeFunctions, &env.Function{Name: fn.Name()})
		var fo []cel.FunctionOpt
		for _, o := range fn.OverloadDecls() {
			fo = append(fo, cel.Overload(o.ID(), o.ArgTypes(), o.ResultType()))
		}
		for _, n := range []struct {
			name string
			t    *cel.Type
		}{{"int64", cel.IntType}, {"uint64", cel.UintType}} {
			fo = append(fo,
				cel.Overload("edgekit_"+fn.Name()+n.name+"_double", []*cel.Type{n.t, cel.DoubleType}, cel.DoubleType),
				cel.Overload("edgekit_"+fn.Name()+"double_"+n.name, []*cel.Type{cel.DoubleType, n.t}, cel.DoubleType))
		}
		fo = append(fo, cel.SingletonBinaryBinding(func(l, r ref.Val) ref.Val {
			a, b, ok := doubles(l, r)
			if ok {
				return impl.mixed(a, b)
			}
			return impl.apply(l, r)
		}, impl.trait))
		opts = append(opts, cel.Function(fn.Name(), fo...))
	}
	return func(e *cel.Env) (*cel.Env, error) {
		var err error
		for _, o := range append([]cel.EnvOption{cel.StdLib(cel.StdLibSubset(without))}, opts...) {
			if e, err = o(e); err != nil {
				return nil, err
			}
		}
		return e, nil
	}
}

// doubles returns both numbers as doubles if one of them is a double.
func doubles(l, r ref.Val) (a, b types.Double, ok bool) {
	switch l := l.(type) {
	case types.Double:
		switch r := r.(type) {
		case types.Double:
			return l, r, true
		case types.Int:
			return l, types.Double(r), true
		case types.Uint:
			return l, types.Double(r), true
		}
	case types.Int:
		if r, ok := r.(types.Double); ok {
			return types.Double(l), r, true
		}
	case types.Uint:
		if r, ok := r.(types.Double); ok {
			return types.Double(l), r, true
		}
	}
	return 0, 0, false
}
