package client

import (
	"math"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
)

// writeProperties returns the MQTT 5 properties of a message; nil if it has none.
func writeProperties(m *bus.Message) *paho.PublishProperties {
	if len(m.Properties) == 0 && m.ResponseTopic == "" && m.Correlation == nil && m.ContentType == "" && m.Expiry == 0 {
		return nil
	}
	p := &paho.PublishProperties{ResponseTopic: m.ResponseTopic, CorrelationData: m.Correlation, ContentType: m.ContentType}
	for _, u := range m.Properties {
		p.User.Add(u.Key, u.Value)
	}
	if m.Expiry > 0 { // in whole seconds, 1 at least
		p.MessageExpiry = paho.Uint32(uint32(min((m.Expiry+time.Second-1)/time.Second, math.MaxUint32)))
	}
	return p
}

// readProperties sets what the properties of a received message say.
func readProperties(m *bus.Message, p *paho.PublishProperties) {
	if p == nil {
		return
	}
	m.ResponseTopic, m.Correlation, m.ContentType = p.ResponseTopic, p.CorrelationData, p.ContentType
	for _, u := range p.User {
		m.Properties = append(m.Properties, bus.Property{Key: u.Key, Value: u.Value})
	}
	if p.MessageExpiry != nil {
		m.Expiry = time.Duration(*p.MessageExpiry) * time.Second
	}
}
