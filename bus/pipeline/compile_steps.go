package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/internal/aggregate"
	"github.com/edgekit/edgekit/bus/pipeline/internal/window"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// DefaultMaxKeys is how many keys the state of a step holds if the spec does not say.
const DefaultMaxKeys = 10_000

// MaxExpression is the greatest length of an expression in bytes.
const MaxExpression = 4096

// Bounds of steps.
const (
	maxKeysLimit    = 100_000
	maxFields       = 64
	maxAggregates   = 32
	maxWindowsEvent = 100 // windows that one event is in
)

func (a at) index(i int) at { return at{a.name, fmt.Sprintf("%s[%d]", a.path, i)} }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (c *compiler) steps() {
	for i := range c.p.Spec.Steps {
		s := &c.p.Spec.Steps[i]
		n := &planNode{role: roleStep, index: i, name: string(s.Name)}
		a := n.at()
		n.kind = c.one(a, option{"filter", s.Filter != nil}, option{"map", s.Map != nil}, option{"enrich", s.Enrich != nil},
			option{"window", s.Window != nil}, option{"dedupe", s.Dedupe != nil}, option{"rateLimit", s.RateLimit != nil},
			option{"onChange", s.OnChange != nil}, option{"schema", s.Schema != nil})
		k := a.field("%s", n.kind)
		switch n.kind {
		case "filter":
			n.step = &filterPlan{c.required(k.field("expression"), s.Filter.Expression, Bool)}
		case "map":
			n.step = c.mapStep(k, s.Map)
		case "enrich":
			n.step = c.enrich(k, s.Enrich)
		case "window":
			n.step = c.window(k, s.Window)
		case "dedupe":
			d := s.Dedupe
			n.step = &dedupePlan{keyPlan: c.key(k, d.Key, d.MaxKeys), within: int64(c.duration(k.field("within"), d.Within.Duration)), sign: "dedupe " + string(d.Key)}
		case "rateLimit":
			n.step = c.rateLimit(k, s.RateLimit)
		case "onChange":
			n.step = c.onChange(k, s.OnChange)
		case "schema":
			n.step = c.schema(k, s.Schema)
		}
		c.add(a, n)
	}
}

// key compiles the key of a step with state.
func (c *compiler) key(a at, key v1alpha1.Expression, maxKeys int32) keyPlan {
	k := keyPlan{program: c.expression(a.field("key"), key, Any), max: int(maxKeys)}
	switch {
	case maxKeys == 0:
		k.max = DefaultMaxKeys
	case maxKeys < 0 || maxKeys > maxKeysLimit:
		c.fail(a.field("maxKeys"), "is %d: it needs 1 to %d", maxKeys, maxKeysLimit)
	}
	return k
}

func (c *compiler) mapStep(a at, m *v1alpha1.Map) stepPlan {
	p := &mapPlan{drop: m.Drop}
	if len(m.Set) > maxFields || len(m.Drop) > maxFields {
		c.fail(a, "has %d fields to set and %d to drop: at most %d each", len(m.Set), len(m.Drop), maxFields)
		return p
	}
	p.data = c.expression(a.field("data"), m.Data, Any)
	p.kind = c.expression(a.field("type"), m.Type, String)
	p.subject = c.expression(a.field("subject"), m.Subject, String)
	if m.Data == "" && m.Type == "" && m.Subject == "" && len(m.Set)+len(m.Drop) == 0 {
		c.fail(a, "does nothing: set at least one of data, set, drop, type and subject")
	}
	for _, name := range sortedKeys(m.Set) {
		c.yamlBool(a.field("set"), name)
		p.set = append(p.set, setField{name, c.required(a.field("set[%q]", name), m.Set[name], Any)})
	}
	return p
}

// yamlBool refuses the names that YAML makes of n, y, no, yes, on and off.
func (c *compiler) yamlBool(a at, name string) {
	if name == "true" || name == "false" {
		c.fail(at{a.name, fmt.Sprintf("%s[%q]", a.path, name)}, "YAML reads n, no, off, y, yes and on as false and true: use another name for the field")
	}
}

func (c *compiler) enrich(a at, e *v1alpha1.Enrich) stepPlan {
	kind := c.one(a, option{"twin", e.Twin != nil}, option{"table", e.Table != nil})
	switch kind {
	case "twin":
		a = a.field("twin")
		if e.Twin.Property == "" || e.Twin.As == "" {
			c.fail(a, "needs property and as")
		}
		return &twinPlan{device: c.required(a.field("device"), e.Twin.Device, String), property: e.Twin.Property, as: e.Twin.As}
	case "table":
		a = a.field("table")
		if e.Table.As == "" {
			c.fail(a.field("as"), "is required: the field for the row")
		}
		i := slices.IndexFunc(c.p.Spec.Tables, func(t v1alpha1.Table) bool { return t.Name == e.Table.Name })
		if i < 0 {
			c.fail(a.field("name"), "there is no table %.70q in spec.tables", e.Table.Name)
			return nil
		}
		return &tablePlan{table: &c.p.Spec.Tables[i], key: c.required(a.field("key"), e.Table.Key, Any), as: e.Table.As}
	}
	return nil
}

func (c *compiler) rateLimit(a at, r *v1alpha1.RateLimit) stepPlan {
	if r.Events < 1 {
		c.fail(a.field("events"), "is %d: it needs 1 or more", r.Events)
	}
	return &ratePlan{keyPlan: c.key(a, r.Key, r.MaxKeys), events: int64(r.Events), per: int64(c.duration(a.field("per"), r.Per.Duration)), sign: "rateLimit " + string(r.Key)}
}

func (c *compiler) onChange(a at, o *v1alpha1.OnChange) stepPlan {
	p := &changePlan{keyPlan: c.key(a, o.Key, o.MaxKeys), value: c.expression(a.field("value"), o.Value, Any), sign: "onChange " + string(o.Key) + "\x00" + string(o.Value)}
	p.every = int64(c.optional(a.field("atLeastEvery"), o.AtLeastEvery, 0))
	if o.DeadBand != "" {
		var err error
		if p.band, err = strconv.ParseFloat(o.DeadBand, 64); err != nil || !(p.band >= 0) || p.band > 1e300 {
			c.fail(a.field("deadBand"), "is %.40q: it needs a number, 0 or more, as in \"0.5\"", o.DeadBand)
		}
	}
	return p
}

func (c *compiler) schema(a at, s *v1alpha1.Schema) stepPlan {
	p := &schemaPlan{drop: s.OnFailure == v1alpha1.OnFailureDrop}
	switch s.OnFailure {
	case "", v1alpha1.OnFailureDrop, v1alpha1.OnFailureDeadLetter:
	default:
		c.fail(a.field("onFailure"), "is %.40q: use deadLetter or drop", s.OnFailure)
	}
	if c.o.Schema == nil {
		c.fail(a.field("json"), "this program cannot check schemas")
		return p
	}
	v, err := c.o.Schema(s.JSON)
	if err != nil {
		c.fail(a.field("json"), "%v", err)
	}
	p.validator = v
	return p
}

func (c *compiler) window(a at, w *v1alpha1.Window) stepPlan {
	p := &windowPlan{keyPlan: c.key(a, w.Key, w.MaxKeys)}
	s := &p.spec
	s.MaxKeys = p.max
	switch c.one(a, option{"tumbling", w.Tumbling != nil}, option{"hopping", w.Hopping != nil}, option{"session", w.Session != nil}, option{"count", w.Count != nil}, option{"state", w.State != nil}) {
	case "tumbling":
		s.Kind, s.Size = window.Hopping, int64(c.duration(a.field("tumbling"), w.Tumbling.Duration))
		s.Every = s.Size
	case "hopping":
		s.Kind, s.Size = window.Hopping, int64(c.duration(a.field("hopping.size"), w.Hopping.Size.Duration))
		s.Every = int64(c.duration(a.field("hopping.every"), w.Hopping.Every.Duration))
		if s.Size/s.Every >= maxWindowsEvent {
			c.fail(a.field("hopping.every"), "each event is in %d windows: at most %d, use a longer time", s.Size/s.Every, maxWindowsEvent)
		}
	case "session":
		s.Kind, s.Gap = window.Session, int64(c.duration(a.field("session.gap"), w.Session.Gap.Duration))
		s.Max = int64(c.optional(a.field("session.max"), w.Session.Max, 24*time.Hour))
	case "count":
		s.Kind, s.N = window.Count, int64(w.Count.Size)
		if s.N < 1 || s.N > 1_000_000 {
			c.fail(a.field("count.size"), "is %d: it needs 1 to 1000000", s.N)
		}
	case "state":
		s.Kind = window.State
		p.begin = c.required(a.field("state.start"), w.State.Start, Bool)
		p.end = c.required(a.field("state.end"), w.State.End, Bool)
		s.Max = int64(c.optional(a.field("state.max"), w.State.Max, 24*time.Hour))
	}
	s.Lateness = int64(c.optional(a.field("lateness"), w.Lateness, 0))
	if s.Lateness > 0 && s.Kind > window.Session {
		c.fail(a.field("lateness"), "count and state windows have none: remove it")
	}
	c.aggregates(a.field("aggregate"), p, w.Aggregate)
	p.sign = fmt.Sprintf("window %d %d %d %d %d %d\x00%s\x00%v", s.Kind, s.Size, s.Every, s.Gap, s.Max, s.N, w.Key, p.texts)
	if w.State != nil {
		p.sign += "\x00" + string(w.State.Start) + "\x00" + string(w.State.End)
	}
	return p
}

// aggregates compiles NAME(EXPRESSION).
func (c *compiler) aggregates(a at, p *windowPlan, m map[string]v1alpha1.Expression) {
	if len(m) < 1 || len(m) > maxAggregates {
		c.fail(a, "has %d entries: it needs 1 to %d", len(m), maxAggregates)
		return
	}
	large := 0
	for _, name := range sortedKeys(m) {
		f := a.path
		here := at{a.name, fmt.Sprintf("%s[%q]", f, name)}
		if name == "key" || name == "window" || name == "" {
			c.fail(here, "is a name that results have already: use another")
			continue
		}
		c.yamlBool(a, name)
		kind, inner, err := splitAggregate(string(m[name]))
		if err != nil {
			c.fail(here, "%v", err)
			continue
		}
		ag := aggregatePlan{name: name, kind: kind}
		if inner != "" {
			want := Any
			if kind.Numeric() {
				want = Number
			}
			ag.program = c.compile(here, inner, want)
		}
		if kind.Large() {
			large++
		}
		p.aggregates = append(p.aggregates, ag)
		p.texts = append(p.texts, kind.String()+"("+inner+")")
		p.spec.Aggregates = append(p.spec.Aggregates, kind)
	}
	if s := p.spec; s.Kind == window.Hopping && s.Every > 0 && int(s.Size/s.Every)+1 > window.MostOpen(large) {
		c.fail(a, "each event is in %d windows with %d aggregates that keep values: use fewer, or a longer hopping.every", s.Size/s.Every, large)
	}
}

// splitAggregate takes NAME(EXPRESSION) apart.
func splitAggregate(text string) (kind aggregate.Kind, inner string, err error) {
	const usage = "use count(), or one of sum, avg, min, max, first, last, stddev and collect with an expression in brackets, as in avg(event.data.value)"
	text = strings.TrimSpace(text)
	name, rest, ok := strings.Cut(text, "(")
	kind, known := aggregate.ByName(strings.TrimSpace(name))
	if !ok || !known || !strings.HasSuffix(rest, ")") {
		return 0, "", fmt.Errorf("%.60q is no aggregate: %s", text, usage)
	}
	inner = strings.TrimSpace(rest[:len(rest)-1])
	switch {
	case kind == aggregate.Count && inner != "":
		return 0, "", fmt.Errorf("count has nothing in its brackets: use a step of kind filter to count some events only")
	case kind != aggregate.Count && inner == "":
		return 0, "", fmt.Errorf("%s needs an expression in its brackets", kind)
	case !balanced(inner):
		return 0, "", fmt.Errorf("%.60q is more than one aggregate: %s; compute with results in a step of kind map", text, usage)
	}
	return kind, inner, nil
}

// balanced reports whether no bracket of text closes one outside of it. It does not look
// into quotes exactly: an expression with unbalanced brackets in quotes passes if it could be
// right.
func balanced(text string) bool {
	depth, quote := 0, rune(0)
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != 0:
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == '(':
			depth++
		case r == ')':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return true
}
