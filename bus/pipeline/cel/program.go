package cel

import (
	"errors"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// program is a compiled expression.
type program struct {
	plain   cel.Program // nil: the cost is always counted
	counted cel.Program // nil: the cost is never counted
	ast     *ast.AST
	want    pipeline.Type
}

// activation gives the variables to an evaluation.
type activation pipeline.Vars

// ResolveName implements interpreter.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		return a.Event, a.Event != nil
	case "node":
		return a.Node, true
	case "now":
		return a.Now, true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (a *activation) Parent() interpreter.Activation { return nil }

// Eval implements pipeline.Program. An error is an *EvalError.
func (p *program) Eval(v *pipeline.Vars) (any, error) {
	run := p.plain
	if run == nil || p.counted != nil && !ordinary(v.Event) {
		run = p.counted
	}
	out, _, err := run.Eval((*activation)(v))
	if err != nil {
		return nil, p.evalError(err)
	}
	if b, ok := out.(types.Bool); ok && p.want == pipeline.Bool {
		return bool(b), nil
	}
	r := result{left: pipeline.MaxEvent}
	value, err := r.native(out, 0)
	if err == nil {
		value, err = convert(value, p.want)
	}
	if err != nil {
		return nil, &EvalError{Reason: err.Error()}
	}
	return value, nil
}

// evalError names the place in the text.
func (p *program) evalError(err error) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return &EvalError{Reason: "it costs more than is allowed for this event, and was ended: the event has too many elements or too long texts"}
	}
	e := &EvalError{Reason: shorten(err.Error())}
	var at *types.Err
	if errors.As(err, &at) {
		if l := p.ast.SourceInfo().GetStartLocation(at.NodeID()); l.Line() > 0 {
			e.Line, e.Column = l.Line(), l.Column()+1
		}
	}
	return e
}
