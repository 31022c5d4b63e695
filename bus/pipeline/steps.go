package pipeline

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// stateless is the start of steps that need nothing else.
type stateless struct{}

func (stateless) signature() string { return "" }

// truth evaluates an expression that must be a bool.
func (m *Machine) truth(p Program, e *Event) (bool, error) {
	v, err := m.eval(p, e)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the result is %s, not true or false", values.Short(v))
	}
	return b, nil
}

// text evaluates an expression that must be a string.
func (m *Machine) text(p Program, e *Event) (string, error) {
	v, err := m.eval(p, e)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("the result is %s, not a text", values.Short(v))
	}
	return s, nil
}

type filterPlan struct{ expression Program }

func (p *filterPlan) signature() string                   { return "" }
func (p *filterPlan) start(*Machine, *node) (step, error) { return p, nil }
func (p *filterPlan) push(m *Machine, n *node, e *Event) error {
	pass, err := m.truth(p.expression, e)
	switch {
	case err != nil:
		return err
	case pass:
		m.out(n, e)
	default:
		n.stats.Drop++
	}
	return nil
}

type setField struct {
	name    string
	program Program
}

type mapPlan struct {
	data, kind, subject Program
	set                 []setField
	drop                []string
}

func (p *mapPlan) signature() string { return "" }

func (p *mapPlan) start(*Machine, *node) (step, error) { return &mapStep{mapPlan: p}, nil }

type mapStep struct {
	*mapPlan
	result Event // of one push, so that it is not allocated for each
}

func (s *mapStep) push(m *Machine, n *node, e *Event) (err error) {
	r := &s.result
	*r = *e
	if s.data != nil {
		if r.Data, err = m.data(s.data, e); err != nil {
			return fmt.Errorf("data: %w", err)
		}
	}
	if len(s.set)+len(s.drop) > 0 {
		if r.Data, err = s.fields(m, e, r.Data); err != nil {
			return err
		}
	}
	if s.kind != nil {
		if r.Type, err = m.text(s.kind, e); err != nil {
			return fmt.Errorf("type: %w", err)
		}
	}
	if s.subject != nil {
		if r.Subject, err = m.text(s.subject, e); err != nil {
			return fmt.Errorf("subject: %w", err)
		}
	}
	if size := r.Size(); size > MaxEvent {
		return &letter{v1alpha1.ReasonEventTooLarge, fmt.Errorf("the result has about %d bytes, over the limit of %d, or is too deep", size, MaxEvent)}
	}
	m.out(n, r)
	return nil
}

// fields drops and sets fields of a copy of the data.
func (s *mapStep) fields(m *Machine, e *Event, data any) (any, error) {
	old, ok := data.(map[string]any)
	if !ok && data != nil {
		return nil, fmt.Errorf("set and drop need data that are an object, not %s", values.Short(data))
	}
	out := make(map[string]any, len(old)+len(s.set))
	maps.Copy(out, old)
	for _, name := range s.drop {
		delete(out, name)
	}
	for i := range s.set {
		v, err := m.data(s.set[i].program, e)
		if err != nil {
			return nil, fmt.Errorf("set[%q]: %w", s.set[i].name, err)
		}
		out[s.set[i].name] = v
	}
	return out, nil
}

// with returns data with one more field.
func with(data any, name string, v any) (any, error) {
	old, ok := data.(map[string]any)
	if !ok && data != nil {
		return nil, fmt.Errorf("enrich needs data that are an object, not %s", values.Short(data))
	}
	out := make(map[string]any, len(old)+1)
	maps.Copy(out, old)
	out[name] = v
	return out, nil
}

type twinPlan struct {
	stateless
	device       Program
	property, as string
}

func (p *twinPlan) start(*Machine, *node) (step, error) { return p, nil }

func (p *twinPlan) push(m *Machine, n *node, e *Event) error {
	device, err := m.text(p.device, e)
	if err != nil {
		return fmt.Errorf("device: %w", err)
	}
	var v any
	if m.cfg.Twins != nil {
		if t, ok := m.cfg.Twins.Reported(device, p.property); ok {
			v = t.Value
		}
	}
	r := *e
	if r.Data, err = with(e.Data, p.as, v); err != nil {
		return err
	}
	m.out(n, &r)
	return nil
}

type tablePlan struct {
	stateless
	table *v1alpha1.Table
	key   Program
	as    string
}

func (p *tablePlan) start(m *Machine, _ *node) (step, error) {
	rows, err := rowsOf(p.table, m.cfg.Tables)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", p.table.Name, err)
	}
	return &tableStep{p, rows}, nil
}

type tableStep struct {
	*tablePlan
	rows map[string]any
}

func (s *tableStep) push(m *Machine, n *node, e *Event) error {
	key, err := m.eval(s.key, e)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	r := *e
	if r.Data, err = with(e.Data, s.as, s.rows[values.Key(key)]); err != nil {
		return err
	}
	m.out(n, &r)
	return nil
}

// rowsOf returns the rows of a table by their keys.
func rowsOf(t *v1alpha1.Table, contents map[string][]byte) (map[string]any, error) {
	var rows []any
	if t.ConfigMapRef == nil {
		for _, r := range t.Rows {
			v, err := decodeJSON(r.Raw)
			if err != nil {
				return nil, err
			}
			rows = append(rows, v)
		}
	} else {
		raw, ok := contents[string(t.Name)]
		if !ok {
			return nil, fmt.Errorf("the ConfigMap %s with its key %s is not there", t.ConfigMapRef.Name, t.ConfigMapRef.Key)
		}
		var err error
		if rows, err = parseTable(raw); err != nil {
			return nil, err
		}
	}
	out := make(map[string]any, len(rows))
	for i, r := range rows {
		row, ok := r.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("row %d is no object", i+1)
		}
		key, ok := row[t.Key]
		if !ok {
			return nil, fmt.Errorf("row %d has no %q, which is the key", i+1, t.Key)
		}
		out[values.Key(key)] = row
	}
	return out, nil
}

// maxTable is the largest table in bytes: what a ConfigMap can hold.
const maxTable = 1 << 20

// parseTable reads a JSON list of objects, or CSV with a first line of names.
func parseTable(raw []byte) ([]any, error) {
	if len(raw) > maxTable {
		return nil, fmt.Errorf("it has %d bytes, over the limit of %d", len(raw), maxTable)
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '[' {
		v, err := decodeJSON(trimmed)
		if err != nil {
			return nil, err
		}
		list, _ := v.([]any)
		return list, nil
	}
	r := csv.NewReader(bytes.NewReader(raw))
	lines, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, errors.New("it is empty: the first line needs the names of columns")
	}
	var rows []any
	for _, line := range lines[1:] {
		row := make(map[string]any, len(line))
		for i, cell := range line {
			row[lines[0][i]] = scalar(cell)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// scalar is a number or bool if the text is one as JSON writes it, or else the text.
func scalar(text string) any {
	if v, err := decodeJSON([]byte(text)); err == nil {
		switch v.(type) {
		case bool, int64, uint64, float64:
			return v
		}
	}
	return text
}

type schemaPlan struct {
	stateless
	validator Validator
	drop      bool
}

func (p *schemaPlan) start(*Machine, *node) (step, error) { return p, nil }

func (p *schemaPlan) push(m *Machine, n *node, e *Event) error {
	err := p.validator.Validate(e.Data)
	switch {
	case err == nil:
		m.out(n, e)
	case p.drop:
		n.stats.Drop++
	default:
		return &letter{v1alpha1.ReasonSchemaFailed, err}
	}
	return nil
}

// decodeJSON decodes JSON with whole numbers as int64 or uint64.
func decodeJSON(b []byte) (any, error) {
	var v any
	if err := jsonlimit.Check(b, &v); err != nil { // else a small text could become a large value
		return nil, fmt.Errorf("JSON: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	if d.More() {
		return nil, errors.New("JSON: there is more after the first value")
	}
	return numbers(v)
}
