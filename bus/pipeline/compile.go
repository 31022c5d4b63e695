package pipeline

import (
	"errors"
	"fmt"
	"regexp"

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
	ref    Ref
	spec   *v1alpha1.Pipeline
	nodes  []*planNode // sources, steps, sinks, in the order of the spec
	order  []int       // steps, each after those whose events it takes
	byName map[string]int
}

// Ref names the Pipeline.
func (p *Plan) Ref() Ref { return p.ref }

// Spec returns the Pipeline that was compiled. It must not be changed.
func (p *Plan) Spec() *v1alpha1.Pipeline { return p.spec }

// role says whether a planNode is a source, a step or a sink.
type role byte

const (
	roleSource role = iota
	roleStep
	roleSink
)

// planNode is a source, a step or a sink.
type planNode struct {
	role  role
	index int // in its list of the spec
	name  string
	kind  string
	froms []int
	edges []edge
	// origins say where events of the node come from: a source or a window, which give events
	// ids of their own.
	origins map[int]bool

	source *sourcePlan
	step   stepPlan
}

// edge leads to a step or a sink. An event gets the suffix to its id if it may come there in
// another form, too.
type edge struct {
	to     int
	suffix string
}

// sourcePlan is what the engine does for a source.
type sourcePlan struct {
	decoder Decoder // nil: data stay as they are
	each    bool
	time    Program
}

// stepPlan is a compiled step.
type stepPlan interface {
	// start makes the step at work.
	start(m *Machine, n *node) (step, error)
	// signature changes when state of the step can no longer be used. Empty: no state.
	signature() string
}

// compiler gathers what is wrong.
type compiler struct {
	o    Options
	p    *v1alpha1.Pipeline
	plan *Plan
	errs []error
}

// Compile checks a Pipeline and makes a Plan of it. The error joins all that is wrong, each
// an *Error; see Errors. The Pipeline must not be changed afterwards.
func Compile(p *v1alpha1.Pipeline, o Options) (*Plan, error) {
	if o.Expressions == nil {
		return nil, errors.New("pipeline: Options.Expressions is required")
	}
	if o.Decoder == nil {
		o.Decoder = plainDecoder
	}
	c := &compiler{o: o, p: p, plan: &Plan{ref: Ref{p.Namespace, p.Name}, spec: p, byName: make(map[string]int)}}
	c.limits()
	if len(c.errs) > 0 { // what is too large is not looked at
		return nil, errors.Join(c.errs...)
	}
	c.tables()
	c.sources()
	c.steps()
	c.sinks()
	c.graph()
	if len(c.errs) == 0 {
		c.loops()
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return c.plan, nil
}

// Errors returns the values of type *Error that err joins.
func Errors(err error) []*Error {
	var e *Error
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &joined):
		var out []*Error
		for _, one := range joined.Unwrap() {
			out = append(out, Errors(one)...)
		}
		return out
	case errors.As(err, &e):
		return []*Error{e}
	}
	return nil
}

// at is a place in the spec: the name of the source, step or sink, and the path.
type at struct {
	name, path string
}

func (a at) field(format string, args ...any) at {
	return at{a.name, a.path + "." + fmt.Sprintf(format, args...)}
}

func (c *compiler) fail(a at, format string, args ...any) {
	c.errs = append(c.errs, &Error{Step: a.name, Field: a.path, Message: fmt.Sprintf(format, args...)})
}

// limits checks how many of everything there are.
func (c *compiler) limits() {
	s := &c.p.Spec
	for _, l := range []struct {
		field          string
		have, min, max int
	}{
		{"tables", len(s.Tables), 0, v1alpha1.MaxTables},
		{"sources", len(s.Sources), 1, v1alpha1.MaxSources},
		{"steps", len(s.Steps), 0, v1alpha1.MaxSteps},
		{"sinks", len(s.Sinks), 1, v1alpha1.MaxSinks},
		{"tests", len(s.Tests), 0, v1alpha1.MaxTests},
	} {
		if l.have < l.min || l.have > l.max {
			c.fail(at{path: "spec." + l.field}, "has %d entries: it needs %d to %d", l.have, l.min, l.max)
		}
	}
	if c.p.Name == "" {
		c.fail(at{path: "metadata.name"}, "is required")
	}
}

func namePattern() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9 _.]{0,61}[A-Za-z0-9])?$`)
}

// add enters a node.
func (c *compiler) add(a at, n *planNode) {
	if !namePattern().MatchString(n.name) {
		c.fail(a.field("name"), "is %.70q: use 1 to 63 letters, digits, spaces, '-', '_' and '.', first and last a letter or digit", n.name)
	} else if other, ok := c.plan.byName[n.name]; ok {
		c.fail(a.field("name"), "is the name of spec.%s[%d], too: sources, steps and sinks need names of their own", c.plan.nodes[other].list(), c.plan.nodes[other].index)
	}
	c.plan.byName[n.name] = len(c.plan.nodes)
	c.plan.nodes = append(c.plan.nodes, n)
}

func (n *planNode) list() string {
	return [...]string{roleSource: "sources", roleStep: "steps", roleSink: "sinks"}[n.role]
}

func (n *planNode) at() at {
	return at{n.name, fmt.Sprintf("spec.%s[%d]", n.list(), n.index)}
}

// option is one of several fields of which exactly one is wanted.
type option struct {
	name string
	set  bool
}

// one returns the name of the one option that is set.
func (c *compiler) one(a at, options ...option) string {
	var names, set []string
	for _, o := range options {
		names = append(names, o.name)
		if o.set {
			set = append(set, o.name)
		}
	}
	switch len(set) {
	case 1:
		return set[0]
	case 0:
		c.fail(a, "has no kind: set one of %v", names)
	default:
		c.fail(a, "has %d kinds, %v: set one of them", len(set), set)
	}
	return ""
}

// expression compiles an expression; nil for an empty one.
func (c *compiler) expression(a at, text v1alpha1.Expression, t Type) Program {
	if text == "" {
		return nil
	}
	return c.compile(a, string(text), t)
}

// required compiles an expression that may not be empty.
func (c *compiler) required(a at, text v1alpha1.Expression, t Type) Program {
	if text == "" {
		c.fail(a, "is required: an expression of type %s", t)
		return nil
	}
	return c.compile(a, string(text), t)
}

func (c *compiler) compile(a at, text string, t Type) Program {
	if len(text) > MaxExpression {
		c.fail(a, "has %d bytes, over the limit of %d", len(text), MaxExpression)
		return nil
	}
	p, err := c.o.Expressions.Compile(text, Types{Result: t})
	if err != nil {
		c.fail(a, "%v", err)
		return nil
	}
	return p
}

func (c *compiler) template(a at, text v1alpha1.Template) {
	if text == "" {
		c.fail(a, "is required")
		return
	}
	if _, err := CompileTemplate(c.o.Expressions, string(text)); err != nil {
		c.fail(a, "%v", err)
	}
}
