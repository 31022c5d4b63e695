package sinks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// mqttSink publishes at the node's broker.
type mqttSink struct {
	env     pipeline.Env
	topic   *pipeline.Template
	qos     bus.QoS
	retain  bool
	payload func([]byte, *pipeline.Event) ([]byte, error)
	content string
}

func openMQTT(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	m := spec.MQTT
	if env.Broker == nil {
		return nil, specError(spec, errors.New("mqtt: this program has no broker"))
	}
	topic, err := template(env, "mqtt.topic", m.Topic)
	if err != nil {
		return nil, specError(spec, err)
	}
	s := &mqttSink{env: env, topic: topic, qos: bus.AtLeastOnce, retain: m.Retain, payload: appendData, content: "application/json"}
	if m.QoS != nil {
		if *m.QoS < 0 || *m.QoS > 1 {
			return nil, specError(spec, fmt.Errorf("mqtt.qos is %d: use 0 or 1", *m.QoS))
		}
		s.qos = bus.QoS(*m.QoS) //nolint:gosec // checked above
	}
	switch m.Format {
	case "", formatData:
	case formatCloudEvents:
		s.payload, s.content = appendCloudEvent, cloudevents.ContentType
	default:
		return nil, specError(spec, fmt.Errorf("mqtt.format is %.40q: use data or cloudevents", m.Format))
	}
	return s, nil
}

func (s *mqttSink) Send(ctx context.Context, events []pipeline.Event) error {
	for i := range events {
		e := &events[i]
		topic, err := s.topic.Render(&pipeline.Vars{Event: e, Node: s.env.Node, Now: s.env.Clock.Now()})
		if err == nil && strings.HasPrefix(topic, "$") {
			err = errors.New("topics that begin with $ are the broker's and the twins': use a sink of kind twin for those")
		}
		if err == nil {
			err = s.comesBack(topic)
		}
		if err != nil {
			return refused(i, fmt.Errorf("mqtt.topic: %w", err))
		}
		payload, err := s.payload(nil, e)
		if err != nil {
			return refused(i, err)
		}
		m := bus.Message{Topic: topic, Payload: payload, QoS: s.qos, Retain: s.retain, ContentType: s.content, Properties: []bus.Property{{Key: "event_id", Value: e.ID}}}
		if e.Resend {
			m.Properties = append(m.Properties, bus.Property{Key: "resend", Value: "true"})
		}
		if err := m.Validate(); err != nil {
			return refused(i, err)
		}
		if err := bounded(ctx, func(ctx context.Context) error { return s.env.Broker.Publish(ctx, m) }); err != nil {
			if _, invalid := errors.AsType[*bus.InvalidError](err); invalid {
				return refused(i, err)
			}
			return fmt.Errorf("bus/pipeline/sinks: mqtt: %w", err)
		}
	}
	return nil
}

// comesBack refuses a topic to which a source subscribes that feeds the sink: its messages would go
// round without end. Compile finds topics of which that is certain.
func (s *mqttSink) comesBack(topic string) error {
	for _, source := range s.env.Upstream {
		if source.MQTT != nil && bus.Match(bus.Unshare(source.MQTT.Topic), topic) {
			return fmt.Errorf("%.100q comes in again at source %s and from there to this sink, without end: use a topic that %.100q does not match", topic, source.Name, source.MQTT.Topic)
		}
	}
	return nil
}

func (s *mqttSink) Close() error { return nil }
