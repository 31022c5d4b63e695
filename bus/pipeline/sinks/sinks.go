package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Open makes the sink of a spec, for the kinds cloud, twin, mqtt, http, influx and file with
// lines. It is a pipeline.SinkOpener. An error names the field and the remedy.
func Open(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	if env.Logger == nil {
		env.Logger = slog.New(slog.DiscardHandler)
	}
	if env.Clock == nil {
		env.Clock = pipeline.SystemClock{}
	}
	switch {
	case spec.Cloud != nil:
		return openCloud(spec, env)
	case spec.Twin != nil:
		return openTwin(spec, env)
	case spec.MQTT != nil:
		return openMQTT(spec, env)
	case spec.HTTP != nil:
		return openHTTP(spec, env)
	case spec.Influx != nil:
		return openInflux(spec, env)
	case spec.File != nil && (spec.File.Format == "" || spec.File.Format == formatLines):
		return openFile(spec, env)
	}
	return nil, fmt.Errorf("bus/pipeline/sinks: sink %s: this program has no sink of its kind: cloud, twin, mqtt, http, influx and file with lines are there; nats, kafka, otlp and parquet need a program with bus/pipeline/extra, such as edgepipe", spec.Name)
}

// The formats of bodies and payloads.
const (
	formatCloudEvents = "cloudevents"
	formatData        = "data"
	formatLines       = "lines"
)

// sendTimeout bounds what one Send gives to another part of the program at once: a part that
// hangs is tried again.
const sendTimeout = 30 * time.Second

// bounded calls f for one event of a Send. A bound for all of them would end a batch that takes
// longer, which would then begin anew and end again.
func bounded(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return f(ctx)
}

// specError says which field of a sink is wrong.
func specError(spec *v1alpha1.Sink, err error) error {
	return fmt.Errorf("bus/pipeline/sinks: sink %s: %w", spec.Name, err)
}

// compile compiles an expression of a sink.
func compile(env pipeline.Env, field string, text v1alpha1.Expression, want pipeline.Type) (pipeline.Program, error) {
	if env.Expressions == nil {
		return nil, errors.New(field + ": this program has no expressions")
	}
	p, err := env.Expressions.Compile(string(text), pipeline.Types{Result: want})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return p, nil
}

// template compiles a text with expressions in it.
func template(env pipeline.Env, field string, text v1alpha1.Template) (*pipeline.Template, error) {
	if env.Expressions == nil {
		return nil, errors.New(field + ": this program has no expressions")
	}
	t, err := pipeline.CompileTemplate(env.Expressions, string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return t, nil
}

// refused is the error of the event at an index.
func refused(index int, err error) error { return &pipeline.RefusedError{Index: index, Err: err} }

// cloudSink hands events to the program's way to the cloud.
type cloudSink struct {
	env  pipeline.Env
	name string
	url  string
}

func openCloud(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	if env.Cloud == nil {
		return nil, specError(spec, errors.New("cloud: this program has no link to a cloud: use http"))
	}
	return &cloudSink{env: env, name: string(spec.Name), url: string(spec.Cloud.URL)}, nil
}

func (s *cloudSink) Send(ctx context.Context, events []pipeline.Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if err := s.env.Cloud.Send(ctx, s.env.Ref, s.name, s.url, events); err != nil {
		return fmt.Errorf("bus/pipeline/sinks: cloud: %w", err)
	}
	return nil
}

func (s *cloudSink) Close() error { return nil }

// twinSink sets desired values.
type twinSink struct {
	env           pipeline.Env
	device, value pipeline.Program
	property      string
}

func openTwin(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	if env.Twins == nil {
		return nil, specError(spec, errors.New("twin: this program has no twins"))
	}
	device, err := compile(env, "twin.device", spec.Twin.Device, pipeline.String)
	if err != nil {
		return nil, specError(spec, err)
	}
	value, err := compile(env, "twin.value", spec.Twin.Value, pipeline.Any)
	if err != nil {
		return nil, specError(spec, err)
	}
	return &twinSink{env: env, device: device, value: value, property: spec.Twin.Property}, nil
}

func (s *twinSink) Send(ctx context.Context, events []pipeline.Event) error {
	for i := range events {
		vars := &pipeline.Vars{Event: &events[i], Node: s.env.Node, Now: s.env.Clock.Now()}
		device, err := s.device.Eval(vars)
		if err != nil {
			return refused(i, fmt.Errorf("twin.device: %w", err))
		}
		name, ok := device.(string)
		if !ok || name == "" {
			return refused(i, errors.New("twin.device results in no name of a device"))
		}
		value, err := s.value.Eval(vars)
		if err != nil {
			return refused(i, fmt.Errorf("twin.value: %w", err))
		}
		err = bounded(ctx, func(ctx context.Context) error { return s.env.Twins.SetDesired(ctx, name, s.property, value) })
		if errors.Is(err, pipeline.ErrRefused) {
			return refused(i, err)
		}
		if err != nil {
			return fmt.Errorf("bus/pipeline/sinks: twin: %w", err)
		}
	}
	return nil
}

func (s *twinSink) Close() error { return nil }
