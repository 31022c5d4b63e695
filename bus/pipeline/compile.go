package pipeline

import (
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Options are what Compile needs. Expressions is required.
type Options struct {
	Expressions Expressions
	Decoder     DecoderMaker // nil: only none, text and json
	Schema      SchemaMaker  // nil: steps of kind schema are refused
}

// Error is one thing that is wrong with a Pipeline.
type Error struct {
	Step    string // the name of the source, step, sink, table; empty means the pipeline
	Field   string // its path, as spec.steps[2].filter.expression
	Message string // what is wrong and what to do
}

func (e *Error) Error() string {
	if e.Step == "" {
		return e.Field + ": " + e.Message
	}
	return e.Step + ": " + e.Field + ": " + e.Message
}

// Plan is a compiled Pipeline. It does not change and may be used by several goroutines.
type Plan struct {
	ref  Ref
	spec *v1alpha1.Pipeline
}

// Ref names the Pipeline.
func (p *Plan) Ref() Ref { return p.ref }

// Spec returns the Pipeline that was compiled. It must not be changed.
func (p *Plan) Spec() *v1alpha1.Pipeline { return p.spec }

// Compile checks a Pipeline and makes a Plan of it. The error joins all that is wrong, each
// an *Error.
func Compile(p *v1alpha1.Pipeline, o Options) (*Plan, error) {
	return &Plan{ref: Ref{p.Namespace, p.Name}, spec: p}, nil
}

// Errors returns the *Error values that err joins.
func Errors(err error) []*Error { return nil }
