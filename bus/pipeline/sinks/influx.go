package sinks

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/outbound"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// influxLines makes line protocol. Tags and fields are sorted by their names, as the server
// likes it.
type influxLines struct {
	env          pipeline.Env
	measurement  *pipeline.Template
	tags, fields []influxPart
}

type influxPart struct {
	name    string
	program pipeline.Program
}

func openInflux(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	u, err := outbound.ParseURL("influx.url", spec.Influx.URL, "https", "http")
	if err != nil {
		return nil, specError(spec, err)
	}
	if p := u.Query().Get("precision"); p != "" && p != "ns" && p != "nanosecond" {
		return nil, specError(spec, fmt.Errorf("influx.url has precision=%.20s: times are sent in nanoseconds; leave it out or use ns", p))
	}
	client, err := outbound.NewClient(env, spec, u, nil)
	if err != nil {
		return nil, specError(spec, err)
	}
	client.TokenScheme = "Token"
	lines := &influxLines{env: env}
	if lines.measurement, err = template(env, "influx.measurement", spec.Influx.Measurement); err != nil {
		return nil, specError(spec, err)
	}
	if lines.tags, err = influxParts(env, "influx.tags", spec.Influx.Tags); err != nil {
		return nil, specError(spec, err)
	}
	if lines.fields, err = influxParts(env, "influx.fields", spec.Influx.Fields); err != nil {
		return nil, specError(spec, err)
	}
	if len(lines.fields) == 0 {
		return nil, specError(spec, errors.New("influx.fields is empty: a point has one field or more"))
	}
	return &httpSink{kind: "influx", client: client, content: "text/plain; charset=utf-8", body: lines.body}, nil
}

func influxParts(env pipeline.Env, field string, texts map[string]v1alpha1.Expression) ([]influxPart, error) {
	var out []influxPart
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if name == "" || name == "time" || strings.HasPrefix(name, "_") || strings.ContainsAny(name, "\n\r") {
			return nil, fmt.Errorf("%s has %.80q: InfluxDB keeps that name for itself; use another", field, name)
		}
		p, err := compile(env, field+"."+name, texts[name], pipeline.Any)
		if err != nil {
			return nil, err
		}
		out = append(out, influxPart{name, p})
	}
	return out, nil
}

// body makes one line for each event; one that cannot be a point is refused with its index.
func (l *influxLines) body(events []pipeline.Event) ([]byte, error) {
	var b []byte
	var err error
	for i := range events {
		if b, err = l.line(b, &events[i]); err != nil {
			return nil, refused(i, err)
		}
	}
	return b, nil
}

func (l *influxLines) line(b []byte, e *pipeline.Event) ([]byte, error) {
	vars := &pipeline.Vars{Event: e, Node: l.env.Node, Now: l.env.Clock.Now()}
	name, err := l.measurement.Render(vars)
	if err != nil {
		return nil, fmt.Errorf("influx.measurement: %w", err)
	}
	if name == "" || strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#") {
		return nil, fmt.Errorf("influx.measurement results in %.80q, which is no name of a measurement", name)
	}
	if b, err = influxEscape(b, name, ", "); err != nil {
		return nil, fmt.Errorf("influx.measurement: %w", err)
	}
	for _, tag := range l.tags {
		v, err := tag.program.Eval(vars)
		if err != nil {
			return nil, fmt.Errorf("influx.tags.%s: %w", tag.name, err)
		}
		text, ok := influxText(v)
		if !ok {
			return nil, fmt.Errorf("influx.tags.%s results in a %T: use a text, a number or a bool", tag.name, v)
		}
		if text == "" {
			continue // a tag has no empty value
		}
		if b, err = influxEscape(append(b, ','), tag.name, ",= "); err != nil {
			return nil, err
		}
		if b, err = influxEscape(append(b, '='), text, ",= "); err != nil {
			return nil, fmt.Errorf("influx.tags.%s: %w", tag.name, err)
		}
	}
	before, separator := len(b), byte(' ')
	for _, field := range l.fields {
		v, err := field.program.Eval(vars)
		if err != nil {
			return nil, fmt.Errorf("influx.fields.%s: %w", field.name, err)
		}
		if v == nil {
			continue
		}
		if b, err = influxEscape(append(b, separator), field.name, ",= "); err != nil {
			return nil, err
		}
		if b, err = influxValue(append(b, '='), v); err != nil {
			return nil, fmt.Errorf("influx.fields.%s: %w", field.name, err)
		}
		separator = ','
	}
	if len(b) == before {
		return nil, errors.New("influx.fields: all are null: a point has one field or more")
	}
	if !e.Time.IsZero() {
		if y := e.Time.Year(); y < 1678 || y > 2261 {
			return nil, fmt.Errorf("the event's time %s is none of InfluxDB's", e.Time)
		}
		b = strconv.AppendInt(append(b, ' '), e.Time.UnixNano(), 10)
	}
	return append(b, '\n'), nil
}

// influxEscape appends text with backslashes before special characters. Line protocol has no
// form for a line break outside of fields.
func influxEscape(b []byte, text, special string) ([]byte, error) {
	if strings.ContainsAny(text, "\n\r") {
		return nil, errors.New("line protocol has no form for a line break here")
	}
	if strings.HasSuffix(text, `\`) {
		return nil, errors.New("line protocol has no form for a backslash at the end")
	}
	for i := range len(text) {
		if strings.IndexByte(special, text[i]) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, text[i])
	}
	return b, nil
}

func influxText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	}
	return "", false
}

func influxValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		b = append(b, '"')
		for i := range len(v) {
			if v[i] == '"' || v[i] == '\\' {
				b = append(b, '\\')
			}
			b = append(b, v[i])
		}
		return append(b, '"'), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return append(strconv.AppendInt(b, v, 10), 'i'), nil
	case uint64:
		if v <= math.MaxInt64 {
			return append(strconv.AppendUint(b, v, 10), 'i'), nil
		}
		return append(strconv.AppendUint(b, v, 10), 'u'), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("the number is NaN or infinite")
		}
		return strconv.AppendFloat(b, v, 'g', -1, 64), nil
	}
	return nil, fmt.Errorf("the result is a %T: use a text, a number or a bool", v)
}
