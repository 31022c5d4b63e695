package cel

import (
	"fmt"
	"reflect"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// eventValue is an event as a value of CEL.
type eventValue struct{ *pipeline.Event }

func (v eventValue) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("an event cannot be converted to %v", t)
}

func (v eventValue) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return eventType
	}
	return types.NewErr("an event cannot be converted to %s", t.TypeName())
}

func (v eventValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(eventValue)
	return types.Bool(ok && (o.Event == v.Event || o.ID == v.ID && o.Source == v.Source))
}

func (v eventValue) Type() ref.Type { return eventType }

func (v eventValue) Value() any { return v.Event }

// maxResult is how deep a result may be nested.
const maxResult = 64

// result makes plain Go values of a result: see Program.Eval of package pipeline. left is how
// many bytes it may still have: a value in it may be the same one many times.
type result struct{ left int }

func (r *result) native(v ref.Val, depth int) (any, error) {
	if depth > maxResult {
		return nil, fmt.Errorf("the result is nested more than %d levels deep", maxResult)
	}
	if r.left -= 8; r.left < 0 {
		return nil, fmt.Errorf("the result is larger than an event may be, %d bytes", pipeline.MaxEvent)
	}
	switch v := v.(type) {
	case types.Bool:
		return bool(v), nil
	case types.Double:
		return float64(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.String:
		r.left -= len(v)
		return string(v), nil
	case types.Bytes:
		r.left -= len(v)
		return []byte(v), nil
	case types.Null:
		return nil, nil
	case types.Timestamp:
		if depth == 0 {
			return v.Time, nil
		}
		return v.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return v.Duration.String(), nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return r.native(v.GetValue(), depth)
	case traits.Mapper:
		return r.object(v, depth)
	case traits.Lister:
		return r.list(v, depth)
	}
	return nil, fmt.Errorf("the result is of type %s, which is not data: use its fields", v.Type().TypeName())
}

func (r *result) list(l traits.Lister, depth int) (any, error) {
	n, _ := l.Size().(types.Int)
	list := make([]any, 0, min(max(int(n), 0), r.left/8))
	for it := l.Iterator(); it.HasNext() == types.True; {
		e, err := r.native(it.Next(), depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func (r *result) object(m traits.Mapper, depth int) (any, error) {
	if data, ok := m.Value().(map[string]any); ok {
		return data, nil // of the event, which nobody changes
	}
	n, _ := m.Size().(types.Int)
	out := make(map[string]any, min(max(int(n), 0), r.left/8))
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		name, ok := k.(types.String)
		if !ok {
			return nil, fmt.Errorf("the result is a map with a key of type %s: keys must be strings", k.Type().TypeName())
		}
		e, err := r.native(m.Get(k), depth+1)
		if err != nil {
			return nil, err
		}
		out[string(name)] = e
	}
	return out, nil
}

// convert brings a result to the type that was asked for.
func convert(v any, want pipeline.Type) (any, error) {
	switch want {
	case pipeline.Bool:
		if _, ok := v.(bool); ok {
			return v, nil
		}
	case pipeline.String:
		if _, ok := v.(string); ok {
			return v, nil
		}
	case pipeline.Number:
		switch v.(type) {
		case float64, int64, uint64:
			return v, nil
		}
	case pipeline.Time:
		return toTime(v)
	case pipeline.Object:
		if _, ok := v.(map[string]any); ok {
			return v, nil
		}
	default:
		if t, ok := v.(time.Time); ok {
			return t, nil
		}
		return v, nil
	}
	return nil, fmt.Errorf("the result is %s, %s is wanted", kind(v), article(want))
}

// toTime makes a time of what pipeline.Timestamp knows, within the years 1 to 9999: others
// cannot be written as in RFC 3339.
func toTime(v any) (any, error) {
	switch v.(type) {
	case time.Time, string, int64, uint64, float64:
	default:
		return nil, fmt.Errorf("the result is %s: a timestamp, a text as in RFC 3339 or a number of milliseconds since 1970 is wanted", kind(v))
	}
	t, err := pipeline.Timestamp(v)
	if err != nil {
		return nil, fmt.Errorf("the result: %w", err)
	}
	if y := t.Year(); y < 1 || y > 9999 {
		return nil, fmt.Errorf("the result is out of range: the year %d is not within 1 and 9999", y)
	}
	return t, nil
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case int64, uint64, float64:
		return "a number"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case time.Time:
		return "a timestamp"
	case []any:
		return "a list"
	}
	return "a map"
}

func article(t pipeline.Type) string {
	if t == pipeline.Object {
		return "a map"
	}
	return "a " + t.String()
}
