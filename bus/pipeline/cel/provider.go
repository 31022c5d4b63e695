package cel

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// eventName is the type of the variable event.
const eventName = "edgekit.Event"

var eventType = types.NewObjectType(eventName)

// eventFields are the fields of an event. They are read from the Event itself: there is no map
// for an evaluation.
var eventFields = map[string]*types.FieldType{
	"id":         field(types.StringType, func(e *pipeline.Event) any { return e.ID }, func(e *pipeline.Event) bool { return e.ID != "" }),
	"source":     field(types.StringType, func(e *pipeline.Event) any { return e.Source }, func(e *pipeline.Event) bool { return e.Source != "" }),
	"type":       field(types.StringType, func(e *pipeline.Event) any { return e.Type }, func(e *pipeline.Event) bool { return e.Type != "" }),
	"subject":    field(types.StringType, func(e *pipeline.Event) any { return e.Subject }, func(e *pipeline.Event) bool { return e.Subject != "" }),
	"time":       field(types.TimestampType, func(e *pipeline.Event) any { return e.Time }, func(e *pipeline.Event) bool { return !e.Time.IsZero() }),
	"data":       field(types.DynType, func(e *pipeline.Event) any { return e.Data }, func(e *pipeline.Event) bool { return e.Data != nil }),
	"extensions": field(types.NewMapType(types.StringType, types.StringType), extensions, func(e *pipeline.Event) bool { return len(e.Extensions) > 0 }),
}

// noExtensions stands for the map of an event without any.
var noExtensions = map[string]string{}

func extensions(e *pipeline.Event) any {
	if e.Extensions == nil {
		return noExtensions
	}
	return e.Extensions
}

func field(t *types.Type, value func(*pipeline.Event) any, set func(*pipeline.Event) bool) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			e, ok := target.(*pipeline.Event)
			return ok && set(e)
		},
		GetFrom: func(target any) (any, error) {
			e, ok := target.(*pipeline.Event)
			if !ok {
				return nil, fmt.Errorf("a field of an event was read from %T", target)
			}
			return value(e), nil
		},
	}
}

// provider knows the type of events besides those that p knows.
type provider struct{ types.Provider }

// FindStructType implements types.Provider.
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if name == eventName {
		return types.NewTypeTypeWithParam(eventType), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if name != eventName {
		return p.Provider.FindStructFieldNames(name)
	}
	names := make([]string, 0, len(eventFields))
	for n := range eventFields {
		names = append(names, n)
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name == eventName {
		f, ok := eventFields[field]
		return f, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

// NewValue implements types.Provider: expressions do not make events.
func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if name == eventName {
		return types.NewErr("an expression cannot make an event: make a map")
	}
	return p.Provider.NewValue(name, fields)
}

// adapter makes values of events besides those that a knows.
type adapter struct{ types.Adapter }

// NativeToValue implements types.Adapter. An event as a whole is a value of its own, whose
// fields are read as they are asked for.
func (a adapter) NativeToValue(v any) ref.Val {
	if e, ok := v.(*pipeline.Event); ok {
		return eventValue{e}
	}
	return a.Adapter.NativeToValue(v)
}

// eventTypes adds the type of events to the environment.
func eventTypes() cel.EnvOption {
	return func(e *cel.Env) (*cel.Env, error) {
		e, err := cel.CustomTypeProvider(provider{e.CELTypeProvider()})(e)
		if err != nil {
			return nil, err
		}
		return cel.CustomTypeAdapter(adapter{e.CELTypeAdapter()})(e)
	}
}
