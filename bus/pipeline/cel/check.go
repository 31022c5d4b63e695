package cel

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// checkResult refuses an expression whose result can never be what is wanted.
func checkResult(t *types.Type, want pipeline.Type) error {
	ok := true
	switch k := t.Kind(); k {
	case types.DynKind, types.AnyKind:
	case types.StructKind, types.TypeKind, types.UnspecifiedKind:
		ok = false
		if want == pipeline.Any {
			return &CompileError{Line: 1, Column: 1, Reason: "the result is an event or a type, which is not data: use a field, for example event.data"}
		}
	default:
		if allowed, limited := kinds[want]; limited {
			ok = slices.Contains(allowed, k)
		}
	}
	if t.TypeName() == "optional_type" {
		ok = true
	}
	if !ok {
		return &CompileError{Line: 1, Column: 1, Reason: fmt.Sprintf("the result is of type %s, %s is wanted", cel.FormatCELType(t), article(want))}
	}
	return nil
}

// kinds are the types of results that may be what is wanted.
var kinds = map[pipeline.Type][]types.Kind{
	pipeline.Bool:   {types.BoolKind},
	pipeline.String: {types.StringKind},
	pipeline.Number: {types.IntKind, types.UintKind, types.DoubleKind},
	pipeline.Time:   {types.TimestampKind, types.StringKind, types.IntKind, types.UintKind, types.DoubleKind},
	pipeline.Object: {types.MapKind},
}

// checkFields refuses fields of event.data that are known not to be there.
func checkFields(a *cel.Ast, t pipeline.Types) error {
	if !t.Closed {
		return nil
	}
	var wrong error
	info := a.NativeRep().SourceInfo()
	ast.PreOrderVisit(a.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		name, ok := dataField(e)
		if !ok || wrong != nil {
			return
		}
		if _, known := t.Fields[name]; !known {
			at := info.GetStartLocation(e.ID())
			wrong = &CompileError{Line: at.Line(), Column: at.Column() + 1, Reason: fmt.Sprintf(
				"undefined field '%s' of event.data: it has %s", shorten(name), strings.Join(slices.Sorted(maps.Keys(t.Fields)), ", "))}
		}
	}))
	return wrong
}

// dataField returns the field of event.data that e reads; has(...) and optional fields do not
// count.
func dataField(e ast.Expr) (string, bool) {
	var operand ast.Expr
	var name string
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() {
			return "", false
		}
		operand, name = s.Operand(), s.FieldName()
	case ast.CallKind:
		c := e.AsCall()
		if c.FunctionName() != operators.Index || len(c.Args()) != 2 || c.Args()[1].Kind() != ast.LiteralKind {
			return "", false
		}
		s, ok := c.Args()[1].AsLiteral().(types.String)
		if !ok {
			return "", false
		}
		operand, name = c.Args()[0], string(s)
	default:
		return "", false
	}
	if operand.Kind() != ast.SelectKind {
		return "", false
	}
	data := operand.AsSelect()
	event := data.Operand()
	if data.FieldName() != "data" || event.Kind() != ast.IdentKind || event.AsIdent() != "event" {
		return "", false
	}
	return name, true
}
