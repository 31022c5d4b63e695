package sources

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// The types of events that sources make of what is no CloudEvent.
const (
	TypeMQTT = "io.edgekit.mqtt.message"
	TypeTwin = "io.edgekit.twin.reported"
	TypeHTTP = "io.edgekit.http.request"
	TypeLine = "io.edgekit.file.line"
	TypeLog  = "io.edgekit.container.log"
)

// Open makes the source of a spec. It is a pipeline.SourceOpener. An error names the field and
// the remedy.
func Open(spec *v1alpha1.Source, env pipeline.Env) (pipeline.Source, error) {
	if env.Logger == nil {
		env.Logger = slog.New(slog.DiscardHandler)
	}
	if env.Clock == nil {
		env.Clock = pipeline.SystemClock{}
	}
	c := common{env: env, spec: spec, name: env.Ref.String() + "/" + string(spec.Name)}
	c.origin = (&url.URL{Path: path.Join("/", env.Node, c.name)}).EscapedPath()
	fail := func(text string) (pipeline.Source, error) {
		return nil, fmt.Errorf("bus/pipeline/sources: source %s: %s", spec.Name, text)
	}
	switch {
	case spec.MQTT != nil:
		if env.Broker == nil {
			return fail("mqtt: this program has no broker")
		}
		if err := bus.ValidateFilter(spec.MQTT.Topic); err != nil {
			return fail("mqtt.topic: " + err.Error())
		}
		return &mqttSource{common: c}, nil
	case spec.Twin != nil:
		if env.Twins == nil {
			return fail("twin: this program has no twins")
		}
		return &twinSource{c}, nil
	case spec.HTTP != nil:
		if env.HTTP == nil {
			return fail("http: this program has no port for pipelines")
		}
		return &httpSource{c}, nil
	case spec.File != nil:
		return openFile(c)
	case spec.ContainerLogs != nil:
		if env.Logs == nil {
			return fail("containerLogs: this program has no logs of containers")
		}
		return &logSource{c}, nil
	}
	return fail("it has no kind: set mqtt, twin, http, file or containerLogs")
}

// common is what all sources have.
type common struct {
	env    pipeline.Env
	spec   *v1alpha1.Source
	name   string // NAMESPACE/PIPELINE/SOURCE
	origin string // the CloudEvents attribute source
}

// mqttSource emits the messages of a subscription. Data is the payload.
type mqttSource struct {
	common
	count atomic.Uint64
}

func (s *mqttSource) Run(ctx context.Context, emit pipeline.Emit) error {
	sub := pipeline.Subscription{Filter: s.spec.MQTT.Topic, QoS: bus.AtLeastOnce}
	if q := s.spec.MQTT.QoS; q != nil && *q == 0 {
		sub.QoS = bus.AtMostOnce
	}
	unique := rand.Text()[:16] + "-"
	err := s.env.Broker.Consume(ctx, s.name, sub, func(ctx context.Context, m bus.Message, ack func()) error {
		e := pipeline.Event{Source: s.origin, Type: TypeMQTT, Subject: m.Topic, Time: s.env.Clock.Now(), Data: append([]byte{}, m.Payload...)}
		if e.ID = m.Property("event_id"); e.ID == "" {
			e.ID = unique + strconv.FormatUint(s.count.Add(1), 10)
		} else {
			e.Resend = true // it may come again after a kill
		}
		if m.ContentType != "" {
			e.Extensions = map[string]string{"contenttype": m.ContentType}
		}
		return emit(ctx, []pipeline.Event{e}, ack)
	})
	return s.ended(ctx, "mqtt", err)
}

// ended is the error of a Run: none if ctx has ended.
func (c *common) ended(ctx context.Context, kind string, err error) error {
	if ctx.Err() != nil || err == nil {
		return nil
	}
	return fmt.Errorf("bus/pipeline/sources: %s: %w", kind, err)
}

// twinSource emits the reported values of devices.
type twinSource struct{ common }

func (s *twinSource) Run(ctx context.Context, emit pipeline.Emit) error {
	err := s.env.Twins.Watch(ctx, *s.spec.Twin, func(ctx context.Context, v pipeline.TwinValue) error {
		subject := v.Device + "/" + v.Property
		e := pipeline.Event{
			ID: subject + "@" + v.Version, Source: s.origin, Type: TypeTwin, Subject: subject, Time: v.Time, Resend: true,
			Data: map[string]any{"device": v.Device, "property": v.Property, "value": v.Value},
		}
		if e.Time.IsZero() {
			e.Time = s.env.Clock.Now()
		}
		if v.Version == "" {
			e.ID, e.Resend = subject+"@"+e.Time.UTC().Format(time.RFC3339Nano), false
		}
		return emit(ctx, []pipeline.Event{e}, nil)
	})
	return s.ended(ctx, "twin", err)
}

// logSource emits the lines of containers. Data is the text.
type logSource struct{ common }

func (s *logSource) Run(ctx context.Context, emit pipeline.Emit) error {
	which := *s.spec.ContainerLogs
	if which.Namespace == "" {
		which.Namespace = s.env.Ref.Namespace
	}
	logs := s.env.Logs
	if p, ok := logs.(interface {
		At(folder string) pipeline.ContainerLogs
	}); ok {
		logs = p.At(s.env.State)
	}
	err := logs.Follow(ctx, s.name, which, func(ctx context.Context, l pipeline.LogLine, done func()) error {
		return emit(ctx, []pipeline.Event{{
			ID: l.ID, Source: s.origin, Type: TypeLog, Subject: l.Namespace + "/" + l.Pod + "/" + l.Container, Time: l.Time, Resend: l.ID != "",
			Data: []byte(l.Text), Extensions: map[string]string{"namespace": l.Namespace, "pod": l.Pod, "container": l.Container, "stream": l.Stream},
		}}, done)
	})
	return s.ended(ctx, "containerLogs", err)
}

// errStopped says that a source ends since its pipeline does.
var errStopped = errors.New("the pipeline has ended")
