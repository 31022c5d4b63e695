package pipelinetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// Expressions is a small part of CEL without its library: event.data.a.b, event.id, source,
// type, subject, time and extensions, node, numbers, texts, true, false, null, brackets,
// + - * /, comparisons, !, && and ||. Numbers are float64 when they are computed.
type Expressions struct{}

var _ pipeline.Expressions = Expressions{}

// Compile compiles an expression.
func (Expressions) Compile(text string, t pipeline.Types) (pipeline.Program, error) {
	p := &parser{text: text}
	e, err := p.or()
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("%q is unexpected", p.peek())
	}
	if err != nil {
		return nil, fmt.Errorf("column %d: %w", p.at+1, err)
	}
	if e.constant && t.Result != pipeline.Any && kindOf(e.value) != t.Result {
		return nil, fmt.Errorf("the result is %v, not a %s", e.value, t.Result)
	}
	return &program{e.eval, t.Result}, nil
}

func kindOf(v any) pipeline.Type {
	switch v.(type) {
	case bool:
		return pipeline.Bool
	case string:
		return pipeline.String
	case int64, uint64, float64:
		return pipeline.Number
	case time.Time:
		return pipeline.Time
	case map[string]any:
		return pipeline.Object
	}
	return pipeline.Any
}

type program struct {
	eval func(v *pipeline.Vars) (any, error)
	want pipeline.Type
}

// Eval evaluates the expression.
func (p *program) Eval(v *pipeline.Vars) (any, error) {
	r, err := p.eval(v)
	if err == nil && p.want != pipeline.Any && kindOf(r) != p.want {
		err = fmt.Errorf("the result is %s, not a %s", short(r), p.want)
	}
	return r, err
}

type expression struct {
	eval     func(v *pipeline.Vars) (any, error)
	constant bool
	value    any
}

func constant(v any) expression {
	return expression{func(*pipeline.Vars) (any, error) { return v, nil }, true, v}
}

type parser struct {
	text  string
	at    int
	depth int
}

var errDeep = errors.New("too many brackets")

// peek returns the next token, "" at the end.
func (p *parser) peek() string {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
	rest := p.text[p.at:]
	if rest == "" {
		return ""
	}
	for _, two := range []string{"==", "!=", "<=", ">=", "&&", "||"} {
		if strings.HasPrefix(rest, two) {
			return two
		}
	}
	word := func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
	if c := rest[0]; c == '"' || c == '\'' {
		if i := strings.IndexByte(rest[1:], c); i >= 0 {
			return rest[:i+2]
		}
		return rest
	} else if c >= '0' && c <= '9' {
		i := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && !unicode.IsDigit(r) })
		if i < 0 {
			i = len(rest)
		}
		return rest[:i]
	}
	if i := strings.IndexFunc(rest, func(r rune) bool { return !word(r) }); i > 0 {
		return rest[:i]
	} else if i < 0 {
		return rest
	}
	return rest[:1]
}

func (p *parser) accept(tokens ...string) string {
	have := p.peek()
	for _, t := range tokens {
		if have == t {
			p.at += len(t)
			return t
		}
	}
	return ""
}

// binary parses a chain of operators of one rank.
func (p *parser) binary(next func() (expression, error), apply func(op string, a, b any) (any, error), ops ...string) (expression, error) {
	left, err := next()
	for err == nil {
		op := p.accept(ops...)
		if op == "" {
			return left, nil
		}
		a := left
		var b expression
		if b, err = next(); err == nil {
			left = expression{eval: func(v *pipeline.Vars) (any, error) {
				x, err := a.eval(v)
				if err != nil {
					return nil, err
				}
				if t, ok := x.(bool); ok && (op == "&&" && !t || op == "||" && t) {
					return t, nil
				}
				y, err := b.eval(v)
				if err != nil {
					return nil, err
				}
				return apply(op, x, y)
			}}
		}
	}
	return left, err
}

func (p *parser) or() (expression, error) {
	if p.depth++; p.depth > 100 {
		return expression{}, errDeep
	}
	defer func() { p.depth-- }()
	return p.binary(p.and, logic, "||")
}

func (p *parser) and() (expression, error) { return p.binary(p.compare, logic, "&&") }

func (p *parser) compare() (expression, error) {
	return p.binary(p.sum, compare, "==", "!=", "<=", ">=", "<", ">")
}

func (p *parser) sum() (expression, error) { return p.binary(p.product, compute, "+", "-") }

func (p *parser) product() (expression, error) { return p.binary(p.unary, compute, "*", "/") }

func (p *parser) unary() (expression, error) {
	if p.depth++; p.depth > 100 {
		return expression{}, errDeep
	}
	defer func() { p.depth-- }()
	op := p.accept("!", "-")
	if op == "" {
		return p.operand()
	}
	e, err := p.unary()
	return expression{eval: func(v *pipeline.Vars) (any, error) {
		x, err := e.eval(v)
		if err != nil {
			return nil, err
		}
		if b, ok := x.(bool); ok && op == "!" {
			return !b, nil
		}
		if f, ok := number(x); ok && op == "-" {
			return -f, nil
		}
		return nil, fmt.Errorf("%s cannot be used with %s", op, short(x))
	}}, err
}

func (p *parser) operand() (expression, error) {
	t := p.peek()
	p.at += len(t)
	switch {
	case t == "":
		return expression{}, errors.New("something is missing at the end")
	case t == "(":
		e, err := p.or()
		if err == nil && p.accept(")") == "" {
			err = errors.New("a bracket is not closed")
		}
		return e, err
	case t == "true" || t == "false":
		return constant(t == "true"), nil
	case t == "null":
		return constant(nil), nil
	case t == "node":
		return expression{eval: func(v *pipeline.Vars) (any, error) { return v.Node, nil }}, nil
	case t == "event":
		return p.event()
	case t[0] == '"' || t[0] == '\'':
		if len(t) < 2 || t[len(t)-1] != t[0] {
			return expression{}, errors.New("a quote is not closed")
		}
		return constant(t[1 : len(t)-1]), nil
	case t[0] >= '0' && t[0] <= '9':
		if i, err := strconv.ParseInt(t, 10, 64); err == nil {
			return constant(i), nil
		}
		f, err := strconv.ParseFloat(t, 64)
		return constant(f), err
	}
	return expression{}, fmt.Errorf("%.40q is unknown", t)
}

// event parses what follows the word event.
func (p *parser) event() (expression, error) {
	var path []string
	for p.accept(".") != "" {
		name := p.peek()
		if name == "" || name[0] != '_' && !unicode.IsLetter(rune(name[0])) {
			return expression{}, errors.New("a name must follow the dot")
		}
		p.at += len(name)
		path = append(path, name)
	}
	if len(path) == 0 {
		return expression{}, errors.New("event needs a field, as event.data")
	}
	field, rest := path[0], path[1:]
	switch field {
	case "id", "source", "type", "subject", "time", "data", "extensions":
	default:
		return expression{}, fmt.Errorf("event has no field %q", field)
	}
	return expression{eval: func(v *pipeline.Vars) (any, error) {
		x := attribute(v.Event, field)
		for _, name := range rest {
			m, ok := x.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("no such key: %s", name)
			}
			if x, ok = m[name]; !ok {
				return nil, fmt.Errorf("no such key: %s", name)
			}
		}
		return x, nil
	}}, nil
}

func attribute(e *pipeline.Event, field string) any {
	switch field {
	case "id":
		return e.ID
	case "source":
		return e.Source
	case "type":
		return e.Type
	case "subject":
		return e.Subject
	case "time":
		return e.Time
	case "extensions":
		m := make(map[string]any)
		for k, v := range e.Extensions {
			m[k] = v
		}
		return m
	}
	return e.Data
}

// short is a value in an error.
func short(v any) string { return fmt.Sprintf("%.40s", fmt.Sprint(v)) }

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func logic(op string, a, b any) (any, error) {
	x, ok1 := a.(bool)
	y, ok2 := b.(bool)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%s cannot be used with %s and %s", op, short(a), short(b))
	}
	if op == "&&" {
		return x && y, nil
	}
	return x || y, nil
}

func compare(op string, a, b any) (any, error) {
	x, ok1 := number(a)
	y, ok2 := number(b)
	if ok1 && ok2 {
		return ordered(op, x, y), nil
	}
	s, ok1 := a.(string)
	t, ok2 := b.(string)
	if ok1 && ok2 {
		return ordered(op, s, t), nil
	}
	p, ok1 := a.(bool)
	q, ok2 := b.(bool)
	switch {
	case op == "==" && ok1 && ok2:
		return p == q, nil
	case op == "!=" && ok1 && ok2:
		return p != q, nil
	case op == "==":
		return a == nil && b == nil, nil
	case op == "!=":
		return (a == nil) != (b == nil), nil
	}
	return nil, fmt.Errorf("%s cannot be used with %s and %s", op, short(a), short(b))
}

func ordered[T string | float64](op string, a, b T) bool {
	switch op {
	case "==":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}

func compute(op string, a, b any) (any, error) {
	if s, ok := a.(string); ok && op == "+" {
		if t, ok := b.(string); ok {
			return s + t, nil
		}
	}
	x, ok1 := number(a)
	y, ok2 := number(b)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%s cannot be used with %s and %s", op, short(a), short(b))
	}
	switch op {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	}
	if y == 0 {
		return nil, errors.New("division by zero")
	}
	return x / y, nil
}
